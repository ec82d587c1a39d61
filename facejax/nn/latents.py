"""Latent codes and label inputs of generators (numpy: they are made on the host)."""

from collections.abc import Sequence

import numpy as np


def smooth_latent_path(noise: np.ndarray, sigma_frames: float) -> np.ndarray:
    """A closed, smooth walk through latent space.

    Gaussian noise is blurred along the frame axis, which wraps, so that a video of it loops; then
    the whole array is divided by its root mean square, which restores unit variance.

    Args:
      noise: [F, ...] normal draws, one per frame (and grid cell, and latent component).
      sigma_frames: standard deviation of the blur, in frames; the kernel ends at four of them.

    Returns:
      [F, ...] float32 with mean square one.

    Source: the interpolation utility of arXiv 1710.10196's code.
    """
    if not sigma_frames >= 0:
        raise ValueError(f"sigma_frames must be >= 0, found {sigma_frames}")
    noise = np.asarray(noise)
    num_frames = len(noise)
    radius = int(4.0 * sigma_frames + 0.5)
    offset = np.arange(-radius, radius + 1)
    taps = np.exp(-0.5 * (offset / max(sigma_frames, 1e-12)) ** 2)
    taps /= taps.sum()
    frame = np.arange(num_frames)
    circulant = np.zeros((num_frames, num_frames))
    for k, tap in zip(offset, taps, strict=True):
        circulant[frame, (frame + k) % num_frames] += tap
    path = np.tensordot(circulant, noise.astype(np.float64), axes=1)
    return (path / np.sqrt(np.mean(path**2))).astype(np.float32)


def softmax_labels(logits: np.ndarray, scale: Sequence[float] | float = 1.0) -> np.ndarray:
    """Class probabilities [..., K] of logits [..., K], times an amplification per class.

    Args:
      logits: any real numbers.
      scale: one number, or K numbers. Above one it conditions more strongly than training did.

    Returns:
      [..., K] of the dtype of `logits`.
    """
    shifted = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True) * np.asarray(scale, shifted.dtype)
