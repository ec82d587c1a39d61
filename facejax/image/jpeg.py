"""The losses of JPEG compression, without its files: quantised cosine transforms of 8 x 8 blocks.

ITU-T T.81 (baseline), with the example tables of its Annex K and the quality scale of the
Independent JPEG Group's library (jcparam.c, `jpeg_quality_scaling`).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

_LUMINANCE = """
16 11 10 16 24 40 51 61   12 12 14 19 26 58 60 55    14 13 16 24 40 57 69 56
14 17 22 29 51 87 80 62   18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92
49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99"""
_CHROMINANCE = """
17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99
47 66 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99
99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99"""
_TABLES = tuple(np.array(t.split(), np.float32) for t in (_LUMINANCE, _CHROMINANCE))
# JFIF's Y, Cb, Cr of R, G, B, centred on 0
_YCC = np.array(
    [
        [0.299, 0.587, 0.114],
        [-0.168735892, -0.331264108, 0.5],
        [0.5, -0.418687589, -0.081312411],
    ],
    np.float32,
)
_RGB = np.linalg.inv(_YCC.astype(np.float64)).astype(np.float32)


def _block_transform() -> np.ndarray:
    """[64, 64] orthogonal: the 2-D cosine transform of a block that is read row by row."""
    k, n = np.indices((8, 8))
    dct = np.sqrt(np.where(k == 0, 1, 2) / 8) * np.cos(np.pi * (2 * n + 1) * k / 16)
    return np.kron(dct, dct).astype(np.float32)


_DCT = _block_transform()


def quantisation(quality: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Steps of luminance and chrominance coefficients, [..., 64] each, row by row.

    Args:
      quality: [...] 1 to 100, need not be whole.
    """
    quality = jnp.asarray(quality, jnp.float32)[..., None]
    percent = jnp.where(quality < 50, 5000.0 / jnp.maximum(quality, 1.0), 200.0 - 2.0 * quality)

    def steps(table):
        table = jnp.asarray(table).reshape((1,) * (quality.ndim - 1) + (64,))
        return jnp.clip(jnp.floor(table * percent / 100.0 + 0.5), 1.0, 255.0)

    return steps(_TABLES[0]), steps(_TABLES[1])


@functools.partial(jax.jit, static_argnames=("subsample",))
def jpeg(image: jax.Array, quality: jax.Array, subsample: bool = True) -> jax.Array:
    """A picture after compression and decompression; no useful gradient.

    Args:
      image: [..., H, W, 3] sRGB in [0, 1].
      quality: [...] 1 to 100.
      subsample: colour at half the resolution along both axes, averaged, and enlarged by
        the library's "fancy" weights (4:2:0).

    Returns:
      [..., H, W, 3] in [0, 1], not rounded to bytes.
    """
    height, width = image.shape[-3:-1]
    multiple = 16 if subsample else 8
    pad = [(0, 0)] * (image.ndim - 3) + [(0, -height % multiple), (0, -width % multiple)]
    channels = [jnp.pad(image[..., c], pad, mode="edge") for c in range(3)]
    ycc = [sum(255.0 * float(w) * c for w, c in zip(row, channels, strict=True)) for row in _YCC]
    luminance, chrominance = quantisation(quality)
    light = _squeezed(ycc[0] - 128.0, luminance) + 128.0
    colors = []
    for plane in ycc[1:]:
        if subsample:
            plane = _halved(plane)
        plane = _squeezed(plane, chrominance)
        if subsample:
            plane = _doubled(_doubled(plane, -2), -1)
        colors.append(plane)
    ycc = [light, *colors]
    rgb = [sum(float(w) * c for w, c in zip(row, ycc, strict=True)) for row in _RGB]
    return jnp.clip(jnp.stack(rgb, axis=-1)[..., :height, :width, :] / 255.0, 0.0, 1.0)


def _halved(plane):
    *batch, height, width = plane.shape
    return plane.reshape(*batch, height // 2, 2, width // 2, 2).mean(axis=(-3, -1))


def _doubled(plane, axis):
    """Twice as long along an axis; the nearer sample counts three times as much as the other."""
    plane = jnp.moveaxis(plane, axis, -1)
    before = jnp.concatenate([plane[..., :1], plane[..., :-1]], axis=-1)
    after = jnp.concatenate([plane[..., 1:], plane[..., -1:]], axis=-1)
    pair = jnp.stack([0.75 * plane + 0.25 * before, 0.75 * plane + 0.25 * after], axis=-1)
    return jnp.moveaxis(pair.reshape(*plane.shape[:-1], -1), -1, axis)


def _squeezed(plane, steps):
    """A plane whose blocks lost what the steps [..., 64] do not keep."""
    *batch, height, width = plane.shape
    blocks = plane.reshape(*batch, height // 8, 8, width // 8, 8).swapaxes(-3, -2)
    blocks = blocks.reshape(*batch, -1, 64)
    steps = steps[..., None, :]
    kept = steps * jnp.round(jnp.matmul(blocks, _DCT.T, precision="highest") / steps)
    blocks = jnp.matmul(kept, _DCT, precision="highest")
    blocks = blocks.reshape(*batch, height // 8, width // 8, 8, 8).swapaxes(-3, -2)
    return blocks.reshape(*batch, height, width)
