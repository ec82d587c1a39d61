"""Random affine maps and mirroring of crops with their landmarks, on the host or on the device.

sicxu/Deep3DFaceRecon_pytorch, util/preprocess.py and data/flist_dataset.py: shift, scale, rotation
and mirroring about pixel (112, 112) of a 224 px crop; the mirrored face's landmarks change places.
"""

import jax
import jax.numpy as jnp
import numpy as np

from facejax.image.sample import sample_bicubic

SHIFT_PX, SCALE_DELTA, ROTATION_DEG = 10, 0.1, 10.0  # for crops of 224 px

_MIRRORED = (  # every group is reversed
    range(17), range(17, 27), range(31, 36), (36, 37, 38, 39, 42, 43, 44, 45), (40, 41, 46, 47),
    range(48, 55), range(55, 60), range(60, 65), range(65, 68),
)  # fmt: skip


def _mirror_68() -> np.ndarray:
    ids = np.arange(68)
    for group in _MIRRORED:
        ids[list(group)] = list(group)[::-1]
    return ids


MIRROR_68 = _mirror_68()  # MIRROR_68[k]: the landmark that takes place k in the mirrored photo


def affine_matrix(shift, scale, rotation_rad, flip, size: int = 224):
    """T(c) S R T(shift) F T(-c) with c the middle of the crop, [..., 3, 3]; y down.

    A numpy `shift` gives numpy float64, a jax one float32.

    Args:
      shift: [..., 2] pixels.
      scale: [...].
      rotation_rad: [...] radians; positive turns x toward y, which runs down.
      flip: [...] bool, mirrors first.
      size: side of the crop.
    """
    xp, dtype = (np, np.float64) if isinstance(shift, np.ndarray) else (jnp, jnp.float32)
    shift, scale, angle = (xp.asarray(a, dtype) for a in (shift, scale, rotation_rad))
    center = float(size // 2)
    sign = xp.where(xp.asarray(flip), -1.0, 1.0).astype(dtype)
    c, s = scale * xp.cos(angle), scale * xp.sin(angle)
    x, y = shift[..., 0] - sign * center, shift[..., 1] - center
    zero, one = xp.zeros_like(x), xp.ones_like(x)
    rows = (
        (c * sign, -s * one, c * x - s * y + center),
        (s * sign, c * one, s * x + c * y + center),
        (zero, zero, one),
    )
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)


def random_affine(
    key: jax.Array,
    batch: tuple = (),
    size: int = 224,
    shift_px: int = SHIFT_PX,
    scale_delta: float = SCALE_DELTA,
    rotation_deg: float = ROTATION_DEG,
    flip: bool = True,
) -> tuple[jax.Array, jax.Array]:
    """Affine maps as the original draws them: whole-pixel shifts, uniform scale and angle.

    Args:
      key: jax key.
      batch: leading dims.
      size: side of the crop; shifts are scaled with it.
      shift_px: largest shift for crops of 224 px.
      scale_delta: scales are in [1 - delta, 1 + delta].
      rotation_deg: largest angle.
      flip: mirror half of them.

    Returns:
      (matrices [..., 3, 3] for y-down pixels, flips [...] bool).
    """
    keys = jax.random.split(key, 4)
    reach = int(round(shift_px * size / 224))
    shift = jax.random.randint(keys[0], (*batch, 2), -reach, reach + 1)
    scale = 1.0 + scale_delta * jax.random.uniform(keys[1], batch, minval=-1.0)
    angle = jax.random.uniform(keys[2], batch, minval=-1.0) * np.float32(np.radians(rotation_deg))
    flips = jax.random.bernoulli(keys[3], 0.5, batch) & flip
    return affine_matrix(shift, scale, angle, flips, size), flips


def transform_landmarks(landmarks, matrix, flip, size: int = 224):
    """Landmarks of the warped crop.

    Args:
      landmarks: [..., 68, 2] crop pixels, y UP.
      matrix: [..., 3, 3], from `affine_matrix` (y down).
      flip: [...] bool: whether it mirrors; then the points change places.
      size: side of the crop.

    Returns:
      [..., 68, 2], y UP; numpy for numpy, jax for jax.
    """
    xp = np if isinstance(landmarks, np.ndarray) else jnp
    x, y = landmarks[..., 0], size - 1 - landmarks[..., 1]
    (a, b, c), (d, e, f) = ([matrix[..., i, j, None] for j in range(3)] for i in range(2))
    moved = xp.stack([a * x + b * y + c, size - 1 - (d * x + e * y + f)], axis=-1)
    flip = xp.asarray(flip)[..., None, None]
    return xp.where(flip, xp.take(moved, MIRROR_68, axis=-2), moved)


def warp_on_host(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The warped crop by Pillow (bicubic, black outside), as the original makes it.

    Args:
      image: [S, S, 3] or [S, S] uint8.
      matrix: [3, 3] float64.
    """
    from PIL import Image

    inverse = np.linalg.inv(np.asarray(matrix, np.float64)).reshape(-1)[:6]
    picture = Image.fromarray(image)
    return np.asarray(
        picture.transform(
            picture.size, Image.Transform.AFFINE, inverse, resample=Image.Resampling.BICUBIC
        )
    )


def warp(image: jax.Array, matrix: jax.Array) -> jax.Array:
    """The warped crops on the device: bicubic, black outside; what `warp_on_host` does in uint8.

    Args:
      image: [..., S, S, C] float.
      matrix: [..., 3, 3].

    Returns:
      [..., S, S, C]; like every bicubic result it can leave the range of the image a little.
    """
    height, width = image.shape[-3:-1]
    inverse = jnp.linalg.inv(jnp.asarray(matrix, jnp.float32))
    x, y = jnp.meshgrid(jnp.arange(width) + 0.5, jnp.arange(height) + 0.5)
    points = jnp.stack([x, y, jnp.ones_like(x)], axis=-1).reshape(-1, 3)
    uv = jnp.einsum("...ij,nj->...ni", inverse[..., :2, :], points, precision="highest")
    uv = uv / jnp.array([width, height], jnp.float32).reshape((1,) * (uv.ndim - 1) + (2,))
    inside = ((uv >= 0) & (uv < 1)).all(axis=-1, keepdims=True)
    out = jnp.where(inside, sample_bicubic(image, uv), 0.0)
    return out.reshape(image.shape)
