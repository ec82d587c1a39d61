"""Progressive growing: level of detail, batch size, learning rate as functions of images seen.

Source: Karras et al. 2018, appendix A, with TBGAN's numbers. `lod` is the level of detail: log2 of
the final resolution minus log2 of the current one; its fraction is the share of the previous stage.
"""

import dataclasses
import math
from collections.abc import Mapping

# thousand images between reports, published (Karras et al., 'tick_kimg_dict')
TICK_KIMG = {4: 160, 8: 140, 16: 120, 32: 100, 64: 80, 128: 60, 256: 40, 512: 20, 1024: 10}
TICK_KIMG_BASE = 160


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The whole course of a run.

    Attributes:
      resolution: final, pixels.
      initial_resolution: of the first stage.
      training_kimg, transition_kimg: thousand images of stable training and of fading in, for every
        stage; `stage_kimg` overrides both per resolution with (transition, training).
      total_kimg: length of the run.
      minibatch_base, minibatch: batch size, by resolution where given.
      max_minibatch_per_device: upper limits by resolution.
      num_devices: batches are multiples of it.
      lr_base, lr: learning rate of both networks, by resolution where given.
      lr_decay_fraction, lr_final: over this last share of the run the rate falls exponentially to
        lr_final times itself; 0 keeps it.
      reset_optimizer: new optimiser state whenever a fade starts or ends.
    """

    resolution: int
    initial_resolution: int = 4
    training_kimg: float = 1000.0
    transition_kimg: float = 1000.0
    stage_kimg: Mapping[int, tuple[float, float]] = dataclasses.field(default_factory=dict)
    total_kimg: float = 15000.0
    minibatch_base: int = 16
    minibatch: Mapping[int, int] = dataclasses.field(default_factory=dict)
    max_minibatch_per_device: Mapping[int, int] = dataclasses.field(default_factory=dict)
    num_devices: int = 1
    lr_base: float = 0.001
    lr: Mapping[int, float] = dataclasses.field(default_factory=dict)
    lr_decay_fraction: float = 0.0
    lr_final: float = 1.0
    reset_optimizer: bool = True

    def __post_init__(self):
        first, last = self.initial_resolution, self.resolution
        if first < 4 or first & (first - 1) or first > last:
            raise ValueError(
                f"initial_resolution must be a power of two between 4 and the final {last}, "
                f"found {first}"
            )

    @property
    def stages(self) -> list[int]:
        """Resolutions in training order."""
        first = self.initial_resolution.bit_length() - 1
        return [2**r for r in range(first, self.resolution.bit_length())]

    def _lengths(self, resolution: int) -> tuple[float, float]:
        fade, train = self.stage_kimg.get(resolution, (self.transition_kimg, self.training_kimg))
        return (0.0 if resolution == self.initial_resolution else fade), train

    def lod(self, images: int) -> float:
        """Level of detail after that many images; 0 at the final resolution."""
        kimg = images / 1000.0
        lod = float(len(self.stages) - 1)
        for resolution in self.stages:
            fade, train = self._lengths(resolution)
            if resolution != self.initial_resolution:
                if kimg < fade:
                    return lod - kimg / fade
                kimg -= fade
                lod -= 1.0
            if kimg < train or resolution == self.resolution:
                return lod
            kimg -= train
        return lod

    def position(self, images: int) -> tuple[int, float]:
        """(resolution, alpha) after that many images; alpha is the share of the previous stage."""
        lod = self.lod(images)
        return self.resolution >> math.floor(lod), lod - math.floor(lod)

    def segment(self, images: int) -> str:
        """A name that changes exactly when the optimiser state is to be made anew."""
        lod = self.lod(images)
        return f"lod{math.floor(lod)}-{math.ceil(lod)}" if self.reset_optimizer else "all"

    def batch_size(self, resolution: int) -> int:
        """Global batch size of a stage."""
        n = self.minibatch.get(resolution, self.minibatch_base)
        n -= n % self.num_devices
        limit = self.max_minibatch_per_device.get(resolution)
        return n if limit is None else min(n, limit * self.num_devices)

    def learning_rate(self, images: int) -> float:
        """Learning rate of both networks after that many images."""
        rate = self.lr.get(self.position(images)[0], self.lr_base)
        left = 1.0 - images / (1000.0 * self.total_kimg)
        if self.lr_decay_fraction and left < self.lr_decay_fraction:
            rate *= self.lr_final ** min(1.0, 1.0 - left / self.lr_decay_fraction)
        return rate

    def stage_images(self) -> dict[int, int]:
        """Images trained at each resolution within total_kimg, fade included."""
        out, left = {}, self.total_kimg
        for resolution in self.stages:
            length = sum(self._lengths(resolution))
            take = left if resolution == self.resolution else min(left, length)
            if take > 0:
                out[resolution] = round(1000 * take)
            left -= take
        return out

    def check(self) -> str | None:
        """A warning where the run ends before the final resolution is fully faded in, else None."""
        end = self.lod(round(1000 * self.total_kimg))
        if end <= 0:
            return None
        need = sum(sum(self._lengths(r)) for r in self.stages[:-1])
        need += self._lengths(self.resolution)[0]
        return (
            f"the run ends after {self.total_kimg:g} kimg at {self.resolution >> math.ceil(end)} "
            f"pixels (level of detail {end:g}): its {self.resolution}-pixel layers are never fully "
            f"trained. Set schedule.total_kimg above {need:g} or shorten the stages."
        )


def tick_kimg(resolution: int) -> int:
    """Thousand images between the original's progress reports at a resolution."""
    return TICK_KIMG.get(resolution, TICK_KIMG_BASE)


# Published presets (TBGAN's config.py): GPUs, base batch, batches, learning rates, total kimg.
PUBLISHED = {
    "v1-1gpu": dict(
        num_devices=1, minibatch_base=16, minibatch={256: 14, 512: 6, 1024: 3},
        training_kimg=800.0, transition_kimg=800.0, total_kimg=19000.0,
    ),
    "v2-1gpu": dict(
        num_devices=1, minibatch_base=4,
        minibatch={4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4},
        lr={1024: 0.0015}, total_kimg=12000.0,
    ),
    "v2-2gpus": dict(
        num_devices=2, minibatch_base=8,
        minibatch={4: 256, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4},
        lr={512: 0.0015, 1024: 0.002}, total_kimg=12000.0,
    ),
    "v2-4gpus": dict(
        num_devices=4, minibatch_base=16,
        minibatch={4: 512, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16},
        lr={256: 0.0015, 512: 0.002, 1024: 0.003}, total_kimg=16000.0,
    ),
    "v2-8gpus": dict(
        num_devices=8, minibatch_base=32, minibatch={4: 512, 8: 256, 16: 128, 32: 64, 64: 32},
        lr={128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003}, total_kimg=12000.0,
    ),
}  # fmt: skip

# Caps of the original's 'fp32' and 'fp16' lines.
MAX_MINIBATCH = {"fp32": {256: 16, 512: 8, 1024: 4}, "fp16": {512: 16, 1024: 8}}
