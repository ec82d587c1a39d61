"""What changes along a run, as functions of the images seen; called by `System.plan`."""

import dataclasses
import math
from collections.abc import Mapping

# thousand images between reports of progressive GANs, published (Karras et al., 'tick_kimg_dict')
_TICK_KIMG = {4: 160, 8: 140, 16: 120, 32: 100, 64: 80, 128: 60, 256: 40, 512: 20, 1024: 10}
_TICK_KIMG_BASE = 160
LR_DECAYS = ("constant", "cosine", "linear", "step", "exponential")


def tick_kimg(resolution: int) -> int:
    """Thousand images between the original programs' progress reports at a resolution."""
    return _TICK_KIMG.get(resolution, _TICK_KIMG_BASE)


@dataclasses.dataclass(frozen=True)
class EmaSchedule:
    """Decay of a moving average of parameters.

    The half life in images, with its ramp, is that of Karras et al. 2020 (arXiv 2006.06676).

    Attributes:
      decay: per step; used when half_life_kimg is 0.
      half_life_kimg: thousand images after which a step's weight has halved.
      ramp: the half life is at most this share of the images seen, 0 for no such bound: the first
        steps are forgotten fast.
      least_images: but it is not bounded to less than so many images.
    """

    decay: float = 0.999
    half_life_kimg: float = 0.0
    ramp: float = 0.0
    least_images: float = 1.0

    def at(self, images: int, batch_size: int) -> float:
        """Decay of the step after `images` images."""
        if not self.half_life_kimg:
            return self.decay
        half_life = 1000.0 * self.half_life_kimg
        if self.ramp:
            half_life = min(half_life, max(self.ramp * images, self.least_images))
        return 0.5 ** (batch_size / half_life) if half_life else 0.0


@dataclasses.dataclass(frozen=True)
class LrDecay:
    """What a learning rate is multiplied by over a stage: a rise from zero, then a decay.

    Attributes:
      kind: 'constant'; 'cosine': half a wave from 1 to `final`; 'linear': falls to it after a share
        `start`; 'step': jumps to it there; 'exponential': final ** share.
      final: value at the end of the stage.
      start: share of the stage, in [0, 1].
      ramp_kimg: length of the linear rise, thousand images.

    Raises:
      ValueError: an unknown kind.
    """

    kind: str = "cosine"
    final: float = 0.0
    start: float = 0.0
    ramp_kimg: float = 0.0

    def __post_init__(self):
        if self.kind not in LR_DECAYS:
            raise ValueError(
                f"schedule.lr_decay is {self.kind!r}, wanted one of {LR_DECAYS}; 'plateau' is not "
                "among them: the rate is a function of the images seen"
            )

    def at(self, images: int, length: int, batch_size: int) -> float:
        """The factor of one step.

        Args:
          images: seen in the stage, before the step.
          length: of the stage, in images; the factor stays as it is after it.
          batch_size: of the step.
        """
        ramp = min(1.0, (images + batch_size) / max(1000 * self.ramp_kimg, 1.0))
        return ramp * self._decay(min(images / max(length, 1), 1.0))

    def _decay(self, done: float) -> float:
        if self.kind == "cosine":
            return self.final + (1 - self.final) * (1 + math.cos(math.pi * done)) / 2
        if self.kind == "linear":
            left = max(1 - self.start, 1e-9)
            return 1 - (1 - self.final) * max(0.0, done - self.start) / left
        if self.kind == "step":
            return self.final if done >= self.start else 1.0
        return self.final**done if self.kind == "exponential" else 1.0


@dataclasses.dataclass(frozen=True)
class ProgressiveSchedule:
    """Progressive growing: stages, batch sizes and learning rates as functions of images seen.

    Karras et al. 2018, appendix A. `lod` is the level of detail: log2 of the final resolution minus
    log2 of the current one; its fraction is the share of the previous stage.

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

    @classmethod
    def from_config(cls, config, resolution: int) -> "ProgressiveSchedule":
        """The schedule of a config's section, whose tables have the keys 'res16', for 16 pixels.

        Args:
          config: mapping of the attributes' names, without 'resolution'.
          resolution: final.
        """
        fields = dict(config)
        for name in ("minibatch", "max_minibatch_per_device", "lr", "stage_kimg"):
            fields[name] = {int(k.removeprefix("res")): v for k, v in dict(fields[name]).items()}
        fields["stage_kimg"] = {k: tuple(v) for k, v in fields["stage_kimg"].items()}
        return cls(resolution=resolution, **fields)

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
