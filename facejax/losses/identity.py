"""Softmax over people with a margin: what trains identity embeddings."""

import jax
import jax.numpy as jnp
import numpy as np

MARGINS = ("cosface", "arcface")


def margin_logits(cosine: jax.Array, labels: jax.Array, margin: float, kind: str) -> jax.Array:
    """Cosines with a margin taken from that of the true class.

    CosFace (Wang et al. 2018, arXiv 1801.09414, eq. 4) subtracts the margin from the cosine,
    ArcFace (Deng et al. 2019, arXiv 1801.07698, eq. 3) adds it to the angle, which stays below pi.

    Args:
      cosine: [B, N].
      labels: [B] int32.
      margin: of the cosine, or radians.
      kind: one of MARGINS.

    Returns:
      [B, N], without the scale.

    Raises:
      ValueError: another kind.
    """
    if kind not in MARGINS:
        raise ValueError(f"found the margin {kind!r}, wanted one of {MARGINS}")
    if kind == "cosface":
        hard = cosine - margin
    else:
        inside = jnp.clip(cosine, -1 + 1e-6, 1 - 1e-6)
        hard = jnp.cos(jnp.minimum(jnp.arccos(inside) + margin, np.pi))
    own = jax.nn.one_hot(labels, cosine.shape[-1], dtype=cosine.dtype)
    return jnp.where(own > 0, hard, cosine)
