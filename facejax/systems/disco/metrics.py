"""Figures of a generator, each beside the same figure of real pictures.

The regressor that measures is the one that the generator was trained against: figures of agreement
say whether training did its work, not what an independent eye would see.
"""

from typing import Any

import jax
import numpy as np

from facejax.metrics.disentangle import SPREADS, disentanglement
from facejax.metrics.distribution import distribution_figures
from facejax.nn.batching import in_batches
from facejax.recon.decoder import num_coefficients
from facejax.systems.disco.factors import Factors, from_recon
from facejax.systems.disco.generate import Generator, draw_subjects

_BATCH = 16
_LEAST_SIZE = 32  # of pictures whose distribution is measured
_MEASURED = ("id", "exp", "rot", "gamma")


class Measurer:
    """What the frozen networks see in pictures.

    Args:
      system: a `DiscoSystem`.
      params: see `facejax.train.system.System`.
    """

    def __init__(self, system, params):
        self._system = system

        def measure(params, image):
            marks, coeffs = system.regress(params, image)
            found = from_recon(coeffs)
            identity = found.id
            if system.recognizer:
                ratio = image.shape[1] / system.regressor.size
                identity = system.recognize(params, image, marks * ratio)
                length = np.float32(1e-12) + (identity**2).sum(-1, keepdims=True) ** 0.5
                identity = identity / length
            return tuple(found._replace(id=identity))

        self._measure = jax.jit(measure)
        self._params = params

    def __call__(self, images: np.ndarray) -> Factors:
        """Properties [..., n] of pictures [..., r, r, 3] in [0, 1], by factor.

        Identity is the recogniser's unit embedding, or shape and albedo where there is none.
        """
        batch = images.shape[:-3]
        flat = images.reshape(-1, *images.shape[-3:])
        found = in_batches(lambda x: self._measure(self._params, x), flat, _BATCH)
        return Factors(*(x.reshape(*batch, -1) for x in found))


def agreement(found: Factors, asked: Factors) -> dict[str, float]:
    """How well measured properties follow what was asked for.

    Args:
      found, asked: [N, n] by factor.

    Returns:
      Median errors of pitch and yaw in degrees, and the correlation of the light's first four
      bands.
    """
    if len(found.rot) < 2:
        raise ValueError(f"found {len(found.rot)} picture(s), wanted at least 2")
    error = np.rad2deg(np.abs(found.rot - asked.rot))
    light = [x.gamma.reshape(-1, 3, 9)[:, :, :4].reshape(-1) for x in (found, asked)]
    return {
        "pitch_deg": float(np.median(error[:, 0])),
        "yaw_deg": float(np.median(error[:, 1])),
        # a regressor that nobody trained finds the same light everywhere
        "light_correlation": float(np.corrcoef(*light)[0, 1])
        if min(map(np.std, light))
        else np.nan,
    }


def evaluate(system, params) -> dict[str, Any]:
    """Agreement, disentanglement and, from 32 pixels on, distance of distributions; JSON-able.

    Args:
      system: a `DiscoSystem`.
      params: of a checkpoint.
    """
    c = system.config.evaluate
    maker, measure = Generator(system, params), Measurer(system, params)
    latents, noise = draw_subjects(system.sizes, "all", c.num_faces, 1, c.seed)
    asked = Factors(*(x[:, 0] for x in maker.decode(latents)))
    fakes = maker.pictures(asked, noise[:, 0])
    photographs = system.held_out(2 * c.num_faces)
    index = np.arange(len(photographs))
    size = system.net.resolution

    def drawn(some):
        return photographs.batch(some, resolution=size)["image"]

    reals = np.clip((in_batches(drawn, index, _BATCH) + 1) / 2, 0, 1)
    known = from_recon(photographs.coefficients(index[: c.num_faces]))
    seen = measure(reals)
    first = Factors(*(x[: c.num_faces] for x in seen))
    out: dict[str, Any] = {
        "pictures": c.num_faces,
        "coefficients": num_coefficients(system.model),
        "agreement": {"fake": agreement(measure(fakes), asked), "real": agreement(first, known)},
    }
    sets = {}
    for factor in _MEASURED:
        latents, noise = draw_subjects(system.sizes, factor, c.sets, c.set_size, c.seed)
        images = maker.pictures(maker.decode(latents), noise)
        sets[factor] = measure(images)._asdict()
    real = seen._asdict()
    out["disentanglement"] = {kind: disentanglement(sets, real, kind) for kind in SPREADS}
    if size >= _LEAST_SIZE:
        out |= distribution_figures(fakes, reals, jax.random.key(c.seed))
    return out
