"""Which stage of a Deep3D run an image belongs to, and how learning rates and weights go there."""

import math

LR_DECAYS = ("cosine", "linear", "step", "exponential")
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


def lr_factor(schedule, images: int, length: int, batch_size: int) -> float:
    """What the learning rate is multiplied by.

    Args:
      schedule: with ramp_kimg, lr_decay, lr_final and lr_step.
      images: seen in the stage, before the step.
      length: of the stage, in images.
      batch_size: of the step.

    Raises:
      ValueError: an unknown lr_decay.
    """
    ramp = min(1.0, (images + batch_size) / max(1000 * schedule.ramp_kimg, 1.0))
    done, final, late = images / max(length, 1), schedule.lr_final, schedule.lr_step
    if schedule.lr_decay == "step":
        return ramp * (final if done >= late else 1.0)
    if schedule.lr_decay == "linear":
        return ramp * (1 - (1 - final) * max(0.0, done - late) / max(1 - late, 1e-9))
    if schedule.lr_decay == "exponential":
        return ramp * final**done
    if schedule.lr_decay == "cosine":
        return ramp * (final + (1 - final) * (1 + math.cos(math.pi * done)) / 2)
    raise ValueError(
        f"schedule.lr_decay is {schedule.lr_decay!r}, wanted one of {LR_DECAYS}; 'plateau' is not "
        "among them: the rate is a function of the images seen"
    )


def photo_share(schedule, images: int, length: int) -> float:
    """How much the photo counts for the albedo: from 0 to 1 in steps of a fifth.

    As in 3D-Face-GCNs, where it is a fifth of the epoch, up to 1.

    Args:
      schedule: with rendered_share.
      images, length: see `lr_factor`.
    """
    done = images / max(length, 1) / max(schedule.rendered_share, 1e-9)
    return min(1.0, math.floor(_PHOTO_STEPS * done + 1e-9) / _PHOTO_STEPS)
