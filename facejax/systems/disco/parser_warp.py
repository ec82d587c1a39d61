"""How the published hair parser looks at a face: aligned by five points, and squeezed by tanh.

The face is brought to a template of 512 pixels; coordinates then go through tanh, so that the whole
plane fits the parser's picture and the face fills most of it (Lin et al. 2019, arXiv 1906.01342,
section 3.1: RoI tanh-warping). The shipped tables of that grid equal `_stretched` to 6e-5.
"""

import jax
import jax.numpy as jnp
import numpy as np

from facejax.image.warp import sample_zero_outside

SIZE = 512
_HALF = SIZE / 2
_TEMPLATE = np.array(  # eyes, nose tip, mouth corners; y down
    [[196, 226], [316, 226], [256, 286], [220, 360.4], [292, 360.4]], np.float32
)
_EYES = (slice(36, 42), slice(42, 48))
_POINTS = (30, 48, 54)
_MOST = 0.999  # the plane's edge lies at infinity
_RIDGE = 1e-5


def _five(landmarks):
    """[B, 5, 2] of [B, 68, 2]; an eye is the mean of its six points here."""
    eyes = [landmarks[:, ids].mean(axis=1) for ids in _EYES]
    return jnp.stack([*eyes, *(landmarks[:, k] for k in _POINTS)], axis=1)


def similarity(landmarks: jax.Array, size: int) -> jax.Array:
    """Template to picture, [B, 2, 3] acting on (x, y, 1), by least squares; y down.

    Args:
      landmarks: [B, 68, 2] pixels of the picture, y UP; no gradient flows into them.
      size: side of the picture.
    """
    points = jax.lax.stop_gradient(_five(landmarks))
    x, y = _TEMPLATE.T
    zeros, ones = np.zeros(5, np.float32), np.ones(5, np.float32)
    rows = np.concatenate(
        [np.stack([x, y, ones, zeros], axis=1), np.stack([y, -x, zeros, ones], axis=1)]
    )
    target = jnp.concatenate([points[..., 0], size - points[..., 1]], axis=1)
    normal = (rows.T @ rows + _RIDGE * np.eye(4)).astype(np.float64)
    solve = np.linalg.solve(normal, rows.T.astype(np.float64)).astype(np.float32)
    c, s, tx, ty = jnp.moveaxis(jnp.einsum("ij,bj->bi", solve, target, precision="highest"), 1, 0)
    return jnp.stack([jnp.stack([c, s, tx], axis=-1), jnp.stack([-s, c, ty], axis=-1)], axis=-2)


def _stretched() -> np.ndarray:
    """[SIZE] template coordinates of the parser's rows or columns."""
    return (np.arctanh(np.clip(np.arange(SIZE) / _HALF - 1, -_MOST, _MOST)) + 1) * _HALF


def to_parser(image: jax.Array, matrix: jax.Array) -> jax.Array:
    """The picture as the parser sees it, zero beyond its border.

    Args:
      image: [B, H, W, C].
      matrix: of `similarity`.

    Returns:
      [B, 512, 512, C].
    """
    grid = _stretched().astype(np.float32)
    y, x = np.meshgrid(grid, grid, indexing="ij")
    points = jnp.asarray(np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3))
    source = jnp.einsum("bij,nj->bni", matrix, points, precision="highest")
    found = sample_zero_outside(image, source)
    return found.reshape(len(image), SIZE, SIZE, image.shape[-1])


def from_parser(parsed: jax.Array, matrix: jax.Array, size: int) -> jax.Array:
    """What the parser found, back in the picture.

    Args:
      parsed: [B, 512, 512, C].
      matrix: of `similarity`.
      size: side of the picture.

    Returns:
      [B, size, size, C], zero where the parser saw nothing.
    """
    y, x = np.meshgrid(*(np.arange(size, dtype=np.float32),) * 2, indexing="ij")
    points = jnp.asarray(np.stack([x, y], axis=-1).reshape(1, -1, 2))
    turn = jnp.linalg.inv(matrix[:, :, :2])
    shifted = points - matrix[:, None, :, 2]
    template = jnp.einsum("bij,bnj->bni", turn, shifted, precision="highest")
    source = (jnp.tanh(template / _HALF - 1) + 1) * _HALF
    found = sample_zero_outside(parsed, source)
    return found.reshape(len(parsed), size, size, parsed.shape[-1])
