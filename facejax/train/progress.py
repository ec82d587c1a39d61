"""How long a run takes: the stages ahead, measured speed, time left, the progress bar."""

import math
import time
from collections.abc import Iterator

from facejax.train.system import Stage, System


def stage_images(system: System, start: int = 0, probes: int = 2000) -> dict[Stage, int]:
    """{stage: images} from `start` to the end of the run, in order of first appearance.

    The plan is probed at about `probes` places: approximate where stages are shorter than that.

    Args:
      system: whose plan.
      start: images seen.
      probes: how many places to look at.
    """
    found: dict[Stage, int] = {}
    for stage, _, images in _probed(system, start, probes):
        found[stage] = found.get(stage, 0) + images
    return found


def stage_starts(system: System) -> dict[Stage, int]:
    """{stage: images seen at a step of it}, in order of first appearance; see `stage_images`."""
    found: dict[Stage, int] = {}
    for stage, position, _ in _probed(system, 0, 2000):
        found.setdefault(stage, position)
    return found


def _probed(system: System, start: int, probes: int) -> Iterator[tuple[Stage, int, int]]:
    """(stage, images seen, images until the next probe) along a run."""
    if system.total_images < 1:
        raise ValueError(
            f"the plan of the run has {system.total_images} images, wanted at least one: give the "
            "lengths of its stages (config.schedule.*_kimg)"
        )
    stride = max(1, math.ceil((system.total_images - start) / probes))
    position = start
    while position < system.total_images:
        stage = system.plan(position).stage
        images = min(max(stride, stage.batch_size), system.total_images - position)
        yield stage, position, images
        position += images


def _size(stage: Stage) -> float:
    """Work per image relative to other stages, known up to a factor."""
    resolution = dict(stage.static).get("resolution", 1)
    # Pixels grow with the square; channels shrink as networks grow: in between.
    return float(resolution) ** 1.5 if isinstance(resolution, int | float) else 1.0


class Stopwatch:
    """Seconds spent training per stage, without compilation, pictures and checkpoints."""

    def __init__(self):
        self._measured: dict[Stage, tuple[float, int]] = {}
        self._excluded = 0.0
        self._started = time.monotonic()

    def exclude(self, seconds: float) -> None:
        """Takes time that was not training out of the current lap."""
        self._excluded += seconds

    def lap(self, stage: Stage, images: int) -> float:
        """Ends a lap in which `images` images of one stage were seen; returns its seconds."""
        now = time.monotonic()
        seconds = max(now - self._started - self._excluded, 1e-9)
        self._started, self._excluded = now, 0.0
        old_seconds, old_images = self._measured.get(stage, (0.0, 0))
        self._measured[stage] = (old_seconds + seconds, old_images + images)
        return seconds

    def seconds_left(self, ahead: dict[Stage, int]) -> float | None:
        """An estimate over stages of different cost; None before the first lap.

        A stage not measured yet is scaled from the measured one that is nearest in size.

        Args:
          ahead: {stage: images} still to come.
        """
        if not self._measured:
            return None
        total = 0.0
        for stage, images in ahead.items():
            nearest = min(
                self._measured, key=lambda s: (s != stage, abs(math.log(_size(s) / _size(stage))))
            )
            seconds, seen = self._measured[nearest]
            total += images * seconds / seen * _size(stage) / _size(nearest)
        return total


def format_duration(seconds: float) -> str:
    """'2d 03h', '1h 05m', '3m 20s', '12s'."""
    seconds = int(round(seconds))
    minutes, s = divmod(seconds, 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days}d {h:02d}h"
    if hours:
        return f"{hours}h {m:02d}m"
    return f"{minutes}m {s:02d}s" if minutes else f"{s}s"
