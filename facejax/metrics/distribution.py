"""How alike two sets of pictures are, each distance beside the same one of two real sets."""

import logging
from typing import Any

import jax
import numpy as np

from facejax.metrics import plausibility
from facejax.metrics.features import FeatureExtractor, RandomConvFeatures, extract
from facejax.metrics.frechet import frechet_distance, inception_score, kernel_distance
from facejax.metrics.ssim import ms_ssim_within
from facejax.metrics.swd import draw, swd

_log = logging.getLogger(__name__)
_SWD_IMAGES = 128  # per set: 128 patches each are 16,384 descriptors


def distribution_figures(
    fake: np.ndarray, real: np.ndarray, key: jax.Array, extractor: FeatureExtractor | None = None
) -> dict[str, dict[str, float]]:
    """SWD, MS-SSIM and Frechet distance; KID and inception score with a classifier.

    Definitions: Karras et al. 2018 for SWD and MS-SSIM, `facejax.metrics.frechet` for the others.

    Args:
      fake: [N, H, W, 3] generated pictures in [0, 1], at least 32 pixels a side.
      real: [2N, H, W, 3] real ones; the second half is compared with the first for the floor.
      key: of the SWD's draws.
      extractor: for the Frechet distance; the embedded random one by default. One with
        `probabilities`, as Inception-v3, also scores.

    Returns:
      {measure: {'fake': x, 'floor' or 'real': y}}. What weakens the figures is logged: too few
      pictures, copies among them.

    Raises:
      ValueError: pictures that are not finite or not in [0, 1], or other numbers of them.
    """
    extractor = extractor or RandomConvFeatures()
    half = len(fake)
    if half < 2 or len(real) != 2 * half:
        raise ValueError(
            f"found {half} generated and {len(real)} real pictures, wanted at least 2 and twice as "
            "many real ones"
        )
    plausibility.check_pictures(fake, "generated pictures")
    plausibility.check_pictures(real, "real pictures")
    sets = {"fake": fake, "real": real[:half], "floor": real[half:]}
    n = min(half, _SWD_IMAGES)
    draws = draw(key, n, n, fake.shape[1:3])
    distance = jax.jit(swd)
    features = {k: extract(extractor, v) for k, v in sets.items()}
    dims = features["fake"].shape[1]
    for remark in plausibility.sample_remarks({"generated": fake, "real": real}, dims):
        _log.warning("%s", remark)
    out = {
        "swd_x1e3": {
            k: float(distance(sets["real"][:n] * 255, sets[k][:n] * 255, draws)[-1])
            for k in ("fake", "floor")
        },
        "ms_ssim": {k: float(ms_ssim_within(sets[k])) for k in ("fake", "real")},
        f"frechet_{extractor.name}": {
            k: frechet_distance(features["real"], features[k]) for k in ("fake", "floor")
        },
    }
    if hasattr(extractor, "probabilities"):  # a classifier: what its features are named for
        out |= _classifier_figures(extractor, features)
    return out


def _classifier_figures(extractor, features: dict[str, np.ndarray]) -> dict[str, Any]:
    """Kernel distance (KID on Inception's features) and inception score."""
    splits = min(10, len(features["fake"]))
    scores = {
        k: inception_score(extractor.probabilities(features[k]), splits)[0]
        for k in ("fake", "real")
    }
    distances = {k: kernel_distance(features["real"], features[k]) for k in ("fake", "floor")}
    return {f"kernel_{extractor.name}": distances, "inception_score": scores}
