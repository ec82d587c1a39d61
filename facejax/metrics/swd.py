"""Sliced Wasserstein distance between Laplacian-pyramid patches (arXiv 1710.10196, section 5).

All randomness is an argument: draw `SWDDraws` from a key, or fill it with given numbers to replay.
For sets too large for memory, gather `patch_descriptors` batch by batch and call
`sliced_wasserstein` on the concatenation.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facejax.image.pyramid import laplacian_pyramid

PATCH = 7  # side of a descriptor's neighbourhood, in pixels
MIN_SIZE = 16  # coarsest pyramid level


class SWDDraws(NamedTuple):
    """The random numbers of one distance; one entry per pyramid level, fine to coarse.

    Attributes:
      centers_a: arrays [N_a, P, 2] int32, patch centres (x, y) in [3, size - 3).
      centers_b: arrays [N_b, P, 2] int32.
      directions: arrays [R, 49 C, K] float32, R repeats of K directions of any length.
    """

    centers_a: tuple
    centers_b: tuple
    directions: tuple


def num_levels(size: tuple[int, int]) -> int:
    """Levels of the pyramid: size, size / 2, ... down to 16 (one level for smaller images)."""
    return max(int(np.log2(min(size))) - int(np.log2(MIN_SIZE)), 0) + 1


def draw(
    key: jax.Array,
    num_a: int,
    num_b: int,
    size: tuple[int, int],
    channels: int = 3,
    patches: int = 128,
    directions: int = 128,
    repeats: int = 4,
) -> SWDDraws:
    """Draws patch centres and directions; the defaults are the published ones.

    Args:
      key: a jax.random key.
      num_a: number of images in the first set.
      num_b: number of images in the second set.
      size: (height, width) of the images.
      channels: C.
      patches: patches per image and level.
      directions: directions per repeat.
      repeats: number of repeats, averaged.
    """
    half = PATCH // 2
    if min(size) < PATCH:
        raise ValueError(f"patches of {PATCH}x{PATCH} do not fit into {size[0]}x{size[1]} pixels")
    levels = []
    for level in range(num_levels(size)):
        height, width = size[0] >> level, size[1] >> level
        keys = jax.random.split(jax.random.fold_in(key, level), 3)
        low, high = jnp.array([half, half]), jnp.array([width - half, height - half])
        low, high = low.reshape(1, 1, 2), high.reshape(1, 1, 2)
        levels.append(
            (
                jax.random.randint(keys[0], (num_a, patches, 2), low, high),
                jax.random.randint(keys[1], (num_b, patches, 2), low, high),
                jax.random.normal(keys[2], (repeats, channels * PATCH**2, directions)),
            )
        )
    return SWDDraws(*zip(*levels, strict=True))


@jax.jit
def patch_descriptors(image: jax.Array, centers: jax.Array) -> jax.Array:
    """Neighbourhoods of 7x7 pixels around given centres.

    Args:
      image: [N, H, W, C], one pyramid level.
      centers: [N, P, 2] int32, (x, y).

    Returns:
      [N, P, 49 C]: channel first, then x offset, then y offset.
    """
    offset = np.arange(PATCH) - PATCH // 2
    col = centers[..., 0, None, None] + offset[None, None, :, None]  # [N, P, x, 1]
    row = centers[..., 1, None, None] + offset[None, None, None, :]  # [N, P, 1, y]
    index = jnp.arange(len(image)).reshape(-1, 1, 1, 1)
    patches = image[index, row, col]  # [N, P, x, y, C]
    return jnp.moveaxis(patches, -1, 2).reshape(*centers.shape[:2], -1)


@functools.partial(jax.jit, static_argnames="channels")
def normalize_descriptors(descriptors: jax.Array, channels: int = 3) -> jax.Array:
    """Each channel shifted and scaled to mean 0 and deviation 1 over the whole set.

    Args:
      descriptors: [..., 49 C] of all images of a set.
      channels: C.

    Returns:
      [M, 49 C], M the number of patches in all.
    """
    values = descriptors.reshape(-1, channels, PATCH**2)
    size = jnp.sqrt(_mean(values**2))
    values = values - _mean(values)
    deviation = jnp.sqrt(_mean(values**2))
    varies = deviation > 1e-6 * size  # less is rounding: a constant channel becomes zero
    values = jnp.where(varies, values / jnp.where(varies, deviation, 1.0), 0.0)
    return values.reshape(len(values), -1)


@jax.jit
def sliced_wasserstein(a: jax.Array, b: jax.Array, directions: jax.Array) -> jax.Array:
    """Mean over directions of the Wasserstein-1 distance between two projected point sets, scalar.

    Args:
      a: [M, D] points.
      b: [M, D] points, as many.
      directions: [R, D, K], any length; R repeats are averaged.
    """
    if a.shape != b.shape:
        raise ValueError(
            f"the two sets have {a.shape} and {b.shape} descriptors; use the same number of "
            "images and patches for both"
        )
    directions = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
    distances = []
    for repeat in directions:
        points = [
            jnp.sort(jnp.matmul(x, repeat, precision=jax.lax.Precision.HIGHEST), axis=0)
            for x in (a, b)
        ]
        distances.append(_pairwise_sum(jnp.abs(points[0] - points[1])).mean() / len(a))
    return jnp.stack(distances).mean()


def swd(images_a: jax.Array, images_b: jax.Array, draws: SWDDraws) -> jax.Array:
    """Sliced Wasserstein distances of two sets of images, times 1000.

    Args:
      images_a: [N, H, W, C] in [0, 255], usually the real ones. (The scale cancels.)
      images_b: [N, H, W, C] in [0, 255].
      draws: from `draw`.

    Returns:
      [L + 1]: one distance per level, fine to coarse, and their mean. Zero for equal sets with
      equal draws; the floor to compare with is that of two disjoint sets of real images.
    """
    channels = images_a.shape[-1]
    levels = len(draws.directions)
    pyramids = [
        laplacian_pyramid(jnp.asarray(x, jnp.float32), levels) for x in (images_a, images_b)
    ]
    distances = []
    for level in range(levels):
        a, b = (
            normalize_descriptors(patch_descriptors(p[level], c[level]), channels)
            for p, c in zip(pyramids, draws[:2], strict=True)
        )
        distances.append(1e3 * sliced_wasserstein(a, b, draws.directions[level]))
    return jnp.stack([*distances, jnp.stack(distances).mean()])


def _mean(values: jax.Array) -> jax.Array:
    """Mean per channel, [1, C, 1], of [M, C, 49]."""
    return _pairwise_sum(values.mean(axis=2))[None, :, None] / len(values)


def _pairwise_sum(values: jax.Array) -> jax.Array:
    """Sum over the first axis by halves: float32 stays accurate over millions of patches."""
    while len(values) > 1:
        values = jnp.pad(values, [(0, len(values) % 2)] + [(0, 0)] * (values.ndim - 1))
        half = len(values) // 2
        values = values[:half] + values[half:]
    return values[0]
