"""Deterministic noise and scattered points on surfaces (numpy, on the host)."""

import functools

import numpy as np

_VOXELS = 96
_VOXELS_PER_WAVE = 4.0


@functools.lru_cache(maxsize=1)
def _volume() -> np.ndarray:
    """[96, 96, 96] float32: smooth periodic noise of unit variance, about 4 voxels per wave."""
    from scipy import ndimage

    white = np.random.default_rng(7).standard_normal((_VOXELS,) * 3).astype(np.float32)
    smooth = ndimage.gaussian_filter(white, 1.0, mode="wrap")
    return (smooth - smooth.mean()) / smooth.std()


def noise(points: np.ndarray, seed: int, wavelength: float | np.ndarray) -> np.ndarray:
    """Smooth noise of about unit variance, [N] float32.

    Args:
      points: [N, 3].
      seed: turns and shifts the noise.
      wavelength: of one wave, in the unit of the points; or [3], one per axis.
    """
    from scipy import ndimage
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=rng).as_matrix().astype(np.float32)
    scaled = points.astype(np.float32) * np.float32(_VOXELS_PER_WAVE) / np.float32(wavelength)
    at = (scaled @ turn.T + rng.uniform(0, _VOXELS, 3).astype(np.float32)).T
    values = ndimage.map_coordinates(_volume(), at, order=1, mode="grid-wrap")
    return values * np.float32(1.25)  # what linear interpolation takes from the variance


def rank(values: np.ndarray) -> np.ndarray:
    """Standard normal values to uniform ones in (0, 1)."""
    from scipy.special import ndtr

    return ndtr(values).astype(np.float32)


def scatter(
    vertices: np.ndarray, triangles: np.ndarray, weight: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """Points [count, 3] on a surface, uniform over its area times a weight per vertex.

    Args:
      vertices: [V, 3].
      triangles: [F, 3].
      weight: [V], not negative; where all of it is 0 there are no points.
      count: how many.
      seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    corners = vertices[triangles]
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    share = area * weight[triangles].mean(axis=1)
    if share.sum() <= 0:
        return np.zeros((0, 3))
    chosen = rng.choice(len(triangles), count, p=share / share.sum())
    a, b = np.sqrt(rng.random(count)), rng.random(count)
    bary = np.stack([1 - a, a * (1 - b), a * b], axis=1)
    return np.einsum("nk,nkc->nc", bary, corners[chosen])
