"""Which stage of a Deep3D run an image belongs to, and how much the photo counts there."""

import math

_PHOTO_STEPS = 5  # in which the photo comes to count fully for the albedo


def stage_of(schedule, images_seen: int) -> tuple[str, int, int]:
    """(name, first image, image after its end) of the stage that an image belongs to.

    'warmup' and 'rnet' share one course of the learning rate, so both have the bounds of the two.

    Args:
      schedule: `config.schedule`.
      images_seen: before the step.
    """
    ends = [schedule.warmup_kimg, schedule.rnet_kimg, schedule.graph_kimg]
    warmup, rnet, total = (round(1000 * sum(ends[: k + 1])) for k in range(3))
    if images_seen >= rnet:
        return "graph", rnet, total
    return "warmup" if images_seen < warmup else "rnet", 0, rnet


def photo_share(schedule, images: int, length: int) -> float:
    """How much the photo counts for the albedo: from 0 to 1 in steps of a fifth.

    As in 3D-Face-GCNs, where it is a fifth of the epoch, up to 1.

    Args:
      schedule: with rendered_share.
      images: seen in the stage, before the step.
      length: of the stage, in images.
    """
    done = images / max(length, 1) / max(schedule.rendered_share, 1e-9)
    return min(1.0, math.floor(_PHOTO_STEPS * done + 1e-9) / _PHOTO_STEPS)
