"""Prepared photos that are not trained on: loss terms while training, figures after it."""

from typing import Any

import jax
import numpy as np

from facejax.recon.decoder import split
from facejax.systems.deep3d import losses

_NUM, _BATCH = 256, 32


class Validation:
    """The losses of the networks as they are used: running statistics, no augmentation.

    Args:
      system: a `Deep3DSystem` with `data.val_path`.
    """

    def __init__(self, system):
        self._system = system
        self._run = jax.jit(self.terms)

    def terms(self, params: dict[str, Any], batch: dict[str, Any]) -> dict[str, jax.Array]:
        """Loss terms of one batch, their weighted sum, and the graph network's landmarks.

        Args:
          params: what a checkpoint holds, see `Deep3DSystem.predict`.
          batch: 'image', 'landmarks' and 'mask', as `PhotoFolder.batch` has them.
        """
        system, cfg = self._system, self._system.loss
        out = system.predict(params, batch["image"])
        face, coeffs = out.face, split(out.coeffs, params["face_model"])
        terms = system.rnet_terms(params, face, coeffs, batch)
        found = {f"rnet/{k}": v for k, v in terms.items()}
        found["rnet/loss"] = losses.weighted_sum(terms, cfg)
        if out.refined is not None:
            marks, size = batch["landmarks"], system.camera.size
            refined = losses.landmark_terms(out.refined, marks, size, cfg.landmark_focus)
            found |= {f"graph/{k}": v for k, v in refined.items()}
        return found

    def __call__(self, params: dict[str, Any]) -> dict[str, float]:
        """Means over the first 256 photos, of whole batches.

        Args:
          params: what a checkpoint holds, see `Deep3DSystem.predict`.
        """
        source = self._system.val_source
        num = min(_NUM, len(source))
        size = min(_BATCH, num)
        found = []
        for start in range(0, num - size + 1, size):
            batch = source.batch(np.arange(start, start + size))
            found.append(jax.device_get(self._run(params, batch)))
        return {k: float(np.mean([f[k] for f in found])) for k in found[0]}
