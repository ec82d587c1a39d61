"""A population of heads from MakeHuman's sliders.

Everything is linear in the weights of the targets, so heads are never formed: `Sliders.draw` gives
weights, and `statistics` works on their covariance. Macro targets (age, sex, ancestry, weight,
muscles) follow the attributes of `facejax.morphable.makehuman.people`; local sliders are at rest in
half of the heads, and normal with the spreads of `spreads` in the others.
"""

import re
from collections.abc import Container
from typing import NamedTuple

import numpy as np

from data_prep.head.source import LOCAL
from facejax.morphable.makehuman.people import ANCESTRIES, age_shares, sample_attributes

ACTIVE = 0.5  # share of heads in which a local slider is not at rest
ACTIVE_ASYMMETRY = 0.25
LIMIT = 0.95  # of a slider; its ends are caricatures
SIDE_NOISE = 0.12  # of one side's value, in spreads
MUSCLE_STD, WEIGHT_STD = 0.15, 0.20  # about the middle
_OPPOSITES = (
    ("decr", "incr"), ("down", "up"), ("backward", "forward"), ("in", "out"),
    ("concave", "convex"), ("compress", "uncompress"),
)  # fmt: skip
# expressions, poses, other sizes of the whole head, and what is not of the head
_NOT_IDENTITY = re.compile(
    r"head-(trans|angle|age|scale-(vert|horiz|depth))|neck-trans|asymm-|mouth-trans-(in|out)|"
    r"nose-trans-(in|out)|mouth-angles|mouth-laugh|lip-ext|lip-middle|asym-mouth|eyebrows-angle|"
    r"neck-height|ear-shape-pointed"
)


class Slider(NamedTuple):
    """A local slider: a value in [-1, 1] that turns one of two targets on.

    Attributes:
      name: 'REGION/NAME' without side and direction; both sides of the face share it.
      positive: targets of positive values, one or, for both sides, two.
      negative: of negative values; () where there is only one direction.
    """

    name: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]


def list_sliders(targets: Container[str]) -> list[Slider]:
    """The local sliders that targets make, by name."""
    ends = {}
    for target in sorted(t for t in targets if t.split("/")[0] in LOCAL):
        if _NOT_IDENTITY.search(target):
            continue
        name, sign = target, 1
        for low, high in _OPPOSITES:
            for end, value in ((low, -1), (high, 1)):
                other = low if value == 1 else high
                if target.endswith("-" + end) and target[: -len(end)] + other in targets:
                    name, sign = f"{target[: -len(end)]}{low}-{high}", value
        name = re.sub(r"/[lr]-", "/", name)
        ends.setdefault(name, {1: [], -1: []})[sign].append(target)
    return [Slider(name, tuple(v[1]), tuple(v[-1])) for name, v in sorted(ends.items())]


class Sliders:
    """All targets that make identities, and random weights of them.

    Args:
      targets: names of all targets.
      spreads: standard deviation of each local slider where it is not at rest.

    Attributes:
      names: [K] targets, macros first.
      num_macros: how many of them are macros.
      local: the local sliders.
    """

    def __init__(self, targets: Container[str], spreads: dict[str, float]):
        self.local = list_sliders(targets)
        macros = sorted(t for t in targets if t.startswith("macro/") and "-baby" not in t)
        local = [t for s in self.local for t in (*s.positive, *s.negative)]
        self.names = [*macros, *local]
        self.num_macros = len(macros)
        self.index = {name: k for k, name in enumerate(self.names)}
        missing = sorted({s.name for s in self.local} - set(spreads))
        if missing:
            raise ValueError(f"found no spreads for the sliders {missing}; calibrate again")
        self.spreads = spreads

    def draw(self, rng: np.random.Generator, num: int) -> tuple[np.ndarray, tuple]:
        """Weights [num, K] float64 of the targets, and the attributes (see `sample_attributes`)."""
        attributes = sample_attributes(rng, num)
        weights = np.zeros((num, len(self.names)))
        self._macros(weights, rng, *attributes)
        for slider in self.local:
            self._local(weights, rng, slider)
        return weights, attributes

    def _macros(self, weights, rng, age_years, masculinity, ancestry):
        num = len(weights)
        sexes = dict(male=masculinity, female=1 - masculinity)
        ages = age_shares(age_years)
        peoples = dict(zip(ANCESTRIES, ancestry.T, strict=True))
        builds = []
        for name, std in (("muscle", MUSCLE_STD), ("weight", WEIGHT_STD)):
            x = np.clip(0.5 + std * rng.standard_normal(num), 0.05, LIMIT)
            low, high = np.maximum(0, 1 - 2 * x), np.maximum(0, 2 * x - 1)
            builds.append({f"min{name}": low, f"average{name}": 1 - low - high, f"max{name}": high})
        for sex, is_sex in sexes.items():
            for age, is_age in ages.items():
                for people, is_people in peoples.items():
                    name = f"macro/{people}-{sex}-{age}"
                    weights[:, self.index[name]] = is_sex * is_age * is_people
                for muscle, is_muscle in builds[0].items():
                    for weight, is_weight in builds[1].items():
                        name = f"macro/universal-{sex}-{age}-{muscle}-{weight}"
                        weights[:, self.index[name]] = is_sex * is_age * is_muscle * is_weight

    def _local(self, weights, rng, slider):
        num, spread = len(weights), self.spreads[slider.name]
        asymmetry = slider.name.startswith("asym/")
        active = rng.random(num) < (ACTIVE_ASYMMETRY if asymmetry else ACTIVE)
        value = active * spread * rng.standard_normal(num)
        noise = SIDE_NOISE * spread * rng.standard_normal((num, 2))
        sides = max(len(slider.positive), len(slider.negative))
        for side in range(sides):
            one = np.clip(value + (active * noise[:, side] if sides > 1 else 0), -LIMIT, LIMIT)
            if not slider.negative:
                one = np.abs(one)
            weights[:, self.index[slider.positive[side]]] = np.maximum(one, 0)
            if slider.negative:
                weights[:, self.index[slider.negative[side]]] = np.maximum(-one, 0)
