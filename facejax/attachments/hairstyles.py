"""The hairstyles: how each is combed, cut and layered on the mean head. Host, numpy.

A style is a row of `STYLES`; `cut` makes its strands for one parting (subject's right, middle,
left) and with or without a fringe. At run time the cuts of a style are blended
(`facejax.attachments.wardrobe`), so strand i has the same root in all of them.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from facejax.attachments.head import Cloud, HeadSurface, smoothstep, unit_vectors
from facejax.attachments.strands import (
    NODES,
    ROWS,
    Growth,
    Strands,
    grow,
    ribbons,
    surface_samples,
)

PARTINGS = (-1, 0, 1)  # subject's right, middle, left


@dataclasses.dataclass(frozen=True)
class HairStyle:
    """One style; lengths in mm on a head of unit size.

    Attributes:
      name: of the style.
      shape: function of `_Cut` that makes its strands, or None for no strands.
      nodes: of a strand, 4, 8 or 16.
      parted: the parting changes it; fringed: the fringe does.
      half_width: of a ribbon at its widest.
      cap: thickness of the closed shell under the strands, on top; cap_side: share of it on the
        sides; cap_ramp: it is reached so far behind
        the hairline; cap_bump: standard deviation of the shell's bumps.
      curl: radius of curls at coefficient 0; cycles: turns along a strand.
      volume: how far coefficient 1 lifts the tips.
      bare: receding hair that the style begins with, in [0, 1]; 1 leaves the sides only.
    """

    name: str
    shape: Callable[["_Cut"], Strands] | None
    nodes: int = 4
    parted: bool = False
    fringed: bool = False
    half_width: float = 6.0
    cap: float = 2.0
    cap_side: float = 0.3
    cap_ramp: float = 10.0
    cap_bump: float = 0.3
    curl: float = 0.0
    cycles: float = 2.0
    volume: float = 8.0
    bare: float = 0.0


@dataclasses.dataclass(frozen=True)
class _Cut:
    """What a shape function is given."""

    head: HeadSurface
    body: Cloud
    nodes: int
    part: int
    fringe: bool
    seed: int

    @property
    def num(self) -> int:
        return ROWS * NODES // self.nodes

    @property
    def crown(self) -> np.ndarray:
        """The whorl from which hair grows."""
        u = self.head.unit
        return np.array([8 * u, self.head.top_y - 6 * u, self.head.center[2] - 48 * u])

    def rng(self, salt: int = 0) -> np.random.Generator:
        return np.random.default_rng([self.seed, salt])

    def roots(self, num: int, least_mm: float = 1.0) -> np.ndarray:
        """Points of the scalp, the same for every cut of a style."""
        return _scalp_points(self.head, num, self.seed, least_mm)

    def top(self, p: np.ndarray) -> np.ndarray:
        """[...] 1 on top of the head, 0 on the sides and the back."""
        u = self.head.unit
        level = smoothstep(p[..., 1] - self.head.brow_y, 28 * u, 58 * u)
        return level * smoothstep(p[..., 2] - self.head.center[2], -75 * u, -35 * u)

    def faded(self, p: np.ndarray) -> np.ndarray:
        """[...] share of the length that hair near the hairline is cut to."""
        return 0.4 + 0.6 * smoothstep(self.head.above_hairline(p), 0.0, 26.0 * self.head.unit)

    def in_fringe(self, p: np.ndarray) -> np.ndarray:
        """[...] bool, roots whose hair falls over the forehead where there is a fringe."""
        u = self.head.unit
        front = np.abs(np.degrees(self.head.azimuth(p))) < 46
        return front & (self.head.above_hairline(p) < 50 * u) & (p[..., 2] > self.head.center[2])

    # fields of directions

    def whorl(self, p: np.ndarray) -> np.ndarray:
        return unit_vectors(p - self.crown)

    def backward(self, p: np.ndarray) -> np.ndarray:
        q = unit_vectors(p - self.head.center)
        return unit_vectors(np.stack([0.25 * q[:, 0], -0.35 + 0 * q[:, 0], -1 + 0 * q[:, 0]], 1))

    def parted(self, p: np.ndarray) -> np.ndarray:
        """Away from the parting in front, from the whorl at the back."""
        u = self.head.unit
        line = 27.0 * u * self.part
        side = np.where(p[:, 0] > line, 1.0, -1.0)
        away = np.stack([side, -0.35 + 0 * side, -0.4 + 0 * side], axis=1)
        behind = smoothstep(self.head.center[2] - p[:, 2], 15 * u, 50 * u)[:, None]
        return unit_vectors((1 - behind) * unit_vectors(away) + behind * self.whorl(p))

    def forward(self, p: np.ndarray) -> np.ndarray:
        x = 0.006 * (p[:, 0] - self.head.center[0]) / self.head.unit
        return unit_vectors(np.stack([x, -0.2 + 0 * x, 1 + 0 * x], axis=1))

    # growing

    def grown(self, roots: np.ndarray, growth: Growth, salt: int = 2) -> Strands:
        return grow(self.head, self.body, roots, growth, self.nodes, self.rng(salt))

    def with_fringe(self, roots: np.ndarray, strands: Strands, lift: tuple = (1.0, 7.0)) -> Strands:
        """Replaces the strands at the forehead by a fringe that ends above the eyes."""
        chosen = np.flatnonzero(self.in_fringe(roots))
        if not self.fringe or not len(chosen):
            return strands
        u, rng = self.head.unit, self.rng(3)
        num = len(chosen)
        growth = Growth(
            comb=self.forward,
            length_mm=np.full(num, 105.0 * u),
            lowest_y=self.head.brow_y + u * rng.normal(1.0, 3.0, num),
            lift_mm=u * rng.uniform(*lift, num),
            gravity=1.0,
            clear_face=False,
            hug=0.5,
            rise=0.25,
            clump=0.3,
        )
        new = grow(self.head, self.body, roots[chosen], growth, self.nodes, rng)
        out = [a.copy() for a in (strands.nodes, strands.side, strands.out)]
        for old, now in zip(out, (new.nodes, new.side, new.out), strict=True):
            old[chosen] = now
        return Strands(*out)


@functools.lru_cache(maxsize=1)
def _scalp_points(head, num, seed, least_mm):
    rng = np.random.default_rng([seed, 1])
    return surface_samples(head, num, rng, lambda p: head.above_hairline(p) > least_mm)


_FREE = -1e9


def _cropped(top_mm, side_mm, comb="whorl", *, lift=(1.0, 6.0), top_lift=8.0, rise=0.35, **more):
    """Short hair: longer on top than on the sides."""

    def shape(cut: _Cut) -> Strands:
        u, rng = cut.head.unit, cut.rng()
        roots = cut.roots(cut.num)
        on_top = cut.top(roots)
        length = u * (side_mm + (top_mm - side_mm) * on_top) * rng.uniform(0.8, 1.15, cut.num)
        # cut shorter toward the neck and the ears
        length *= on_top + (1 - on_top) * cut.faded(roots)
        growth = Growth(
            comb=getattr(cut, comb),
            length_mm=length,
            lowest_y=np.full(cut.num, _FREE),
            lift_mm=u
            * (0.6 + rng.uniform(*lift, cut.num) + top_lift * on_top * rng.random(cut.num)),
            rise=rise * (0.3 + on_top),
            **{"gravity": 0.25, "jitter_mm": 1.5 * u} | more,
        )
        return cut.with_fringe(roots, cut.grown(roots, growth))

    return shape


def _quiff(cut: _Cut) -> Strands:
    """Sides short and down, the front combed up and back."""
    u, rng = cut.head.unit, cut.rng()
    roots = cut.roots(cut.num)
    on_top = cut.top(roots)
    front = smoothstep(roots[:, 2] - cut.head.center[2], 10 * u, 75 * u) * on_top

    def comb(p):
        up = smoothstep(p[:, 2] - cut.head.center[2], 20 * u, 80 * u) * cut.top(p)
        aim = np.stack([0 * up, 0.6 * up, -1 + 0 * up], axis=1)
        share = cut.top(p)[:, None]
        return unit_vectors(share * aim + (1 - share) * cut.whorl(p))

    growth = Growth(
        comb=comb,
        length_mm=u
        * (14 * cut.faded(roots) + 36 * on_top + 18 * front)
        * rng.uniform(0.85, 1.1, cut.num),
        lowest_y=np.full(cut.num, _FREE),
        lift_mm=u * (1.5 + 4 * rng.random(cut.num) + front * rng.uniform(6, 17, cut.num)),
        gravity=0.15,
        rise=0.2 + 0.55 * front,
        inertia=0.6,
        hug=0.25,
        clump=0.5,
    )
    return cut.grown(roots, growth)


def _curls(hull_mm, curl_mm, side_share=1.0):
    """Tufts all over a hull at some height above the scalp, pointing every way."""

    def shape(cut: _Cut) -> Strands:
        u, rng = cut.head.unit, cut.rng()
        roots = cut.roots(cut.num, 0.5)
        _, normal = cut.body.height(roots)
        share = side_share + (1 - side_share) * cut.top(roots)
        edge = np.sqrt(smoothstep(cut.head.above_hairline(roots), 0.0, hull_mm * u))
        base = (
            roots + normal * (u * hull_mm * share * edge * rng.uniform(0.75, 1.0, cut.num))[:, None]
        )
        aim = unit_vectors(_random(rng, cut.num) + 0.15 * normal + [0, -0.3, 0])
        aim = aim - np.minimum((aim * normal).sum(1, keepdims=True), 0) * normal
        bend = unit_vectors(_random(rng, cut.num))
        t = np.linspace(0, 1, cut.nodes)[None, :, None]
        length = (u * curl_mm * rng.uniform(0.6, 1.2, cut.num) * (0.5 + 0.5 * edge))[:, None, None]
        arc = (t - 0.5) * aim[:, None] + 0.9 * t * (1 - t) * bend[:, None]
        arc = arc - 0.9 * (t - 0.5) ** 2 * normal[:, None]  # both ends dive into the hull
        nodes = base[:, None] + length * arc
        flat = cut.body.push_out(nodes.reshape(-1, 3), 1.0)
        return ribbons(cut.body, flat.reshape(nodes.shape), rng, tilt=0.7)

    return shape


def _random(rng, num):
    return unit_vectors(rng.normal(size=(num, 3)))


def _long(level, spread_mm, *, lift=(1.0, 12.0), gravity=0.9, inertia=0.55):
    """Parted hair that falls to a level: 0 the chin, 1 the bottom of the neck."""

    def shape(cut: _Cut) -> Strands:
        head, u, rng = cut.head, cut.head.unit, cut.rng()
        roots = cut.roots(cut.num)
        hem = head.chin_y - 75 * u * level
        growth = Growth(
            comb=cut.parted,
            length_mm=np.full(cut.num, head.top_y - hem + 60 * u),
            lowest_y=hem + u * rng.normal(0, spread_mm, cut.num),
            lift_mm=u * rng.uniform(*lift, cut.num),
            gravity=gravity,
            inertia=inertia,
            rise=0.5,
            jitter_mm=3.0 * u,
        )
        return cut.with_fringe(roots, cut.grown(roots, growth), (1.0, 9.0))

    return shape


def _tied(finish):
    """Hair combed back to a tie; `finish` makes what hangs or winds from there."""

    def shape(cut: _Cut) -> Strands:
        head, u, rng = cut.head, cut.head.unit, cut.rng()
        tail = ROWS // 4
        roots = cut.roots(cut.num - tail)
        tie = head.rays(unit_vectors(np.array([[0.0, 0.22, -1.0]])))[0]
        _, away = cut.body.height(tie[None])
        tie = tie + 9 * u * away[0]
        growth = Growth(
            comb=lambda p: unit_vectors(tie - p),
            length_mm=np.full(len(roots), 260.0 * u),
            lowest_y=np.full(len(roots), _FREE),
            lift_mm=u * rng.uniform(1.0, 5.0, len(roots)),
            gravity=0.0,
            inertia=0.3,
            hug=0.9,
            rise=0.0,
            goal=tie,
            clump=0.0,
            jitter_mm=0.0,
            tilt=0.15,
        )
        pulled = cut.with_fringe(roots, cut.grown(roots, growth))
        return pulled + finish(cut, tie, away[0], tail)

    return shape


def _tail(cut, tie, away, num):
    u, rng = cut.head.unit, cut.rng(4)
    ring = tie + u * 7 * _random(rng, num)
    growth = Growth(
        comb=lambda p: np.broadcast_to(away - [0, 1.0, 0], p.shape),
        length_mm=u * rng.uniform(170, 250, num),
        lowest_y=np.full(num, _FREE),
        lift_mm=u * rng.uniform(4.0, 22.0, num),
        gravity=1.6,
        inertia=0.6,
        hug=0.0,
        rise=0.4,
        clear_face=False,
        clump=0.35,
        jitter_mm=6.0 * u,
    )
    return cut.grown(ring, growth, 5)


def _bun(cut, tie, away, num):
    u, rng = cut.head.unit, cut.rng(4)
    center = tie + 17 * u * away
    first, other = _random(rng, num), _random(rng, num)
    other = unit_vectors(other - (first * other).sum(1, keepdims=True) * first)
    angle = np.linspace(0, 1.6 * np.pi, cut.nodes)[None, :, None]
    ball = np.cos(angle) * first[:, None] + np.sin(angle) * other[:, None]
    radius = (u * rng.uniform(23, 29, num))[:, None, None]
    nodes = center + radius * ball * [1.1, 1.0, 0.9]
    away = _random(rng, 400)
    hull = Cloud(center + 20 * u * away, away)
    return ribbons(hull, nodes, rng, tilt=0.3)


STYLES = (
    HairStyle("bald", None, cap=0.0, bare=1.0),
    HairStyle("buzz", None, cap=1.0, cap_ramp=4.0, cap_bump=0.1),
    HairStyle("crop", _cropped(28, 15), fringed=True, half_width=5.0, cap=3.0),
    HairStyle(
        "side part",
        _cropped(58, 16, "parted", top_lift=11.0, hug=0.25, clump=0.5),
        nodes=8, parted=True, fringed=True, half_width=6.0, cap=4.0,
    ),
    HairStyle(
        "slicked back",
        _cropped(95, 26, "backward", lift=(0.5, 4.0), top_lift=4.0, rise=0.1, hug=0.5,
                 gravity=0.5, clump=0.2, tilt=0.25),
        nodes=8, half_width=5.5, cap=3.0,
    ),
    HairStyle("quiff", _quiff, nodes=8, half_width=5.5, cap=3.0),
    HairStyle(
        "short curly", _curls(16, 30, 0.6),
        half_width=5.5, cap=11.0, cap_side=0.6, cap_ramp=22.0, cap_bump=2.0, curl=3.0, cycles=1.0,
    ),
    HairStyle(
        "afro", _curls(47, 38),
        half_width=9.0, cap=38.0, cap_side=1.0, cap_ramp=38.0, cap_bump=3.0, curl=4.0, cycles=1.2,
        volume=25.0,
    ),
    HairStyle("receding", _cropped(20, 15), half_width=4.2, cap=2.0, cap_ramp=16.0, bare=0.22),
    HairStyle("horseshoe", _cropped(18, 17), half_width=4.2, cap=2.0, cap_ramp=12.0, bare=1.0),
    HairStyle(
        "messy",
        _cropped(70, 45, "parted", lift=(1.0, 10.0), top_lift=12.0, rise=0.5, gravity=0.5,
                 hug=0.2, clump=0.6, jitter_mm=4.0),
        nodes=8, parted=True, fringed=True, half_width=6.0, cap=5.0, curl=3.0, cycles=1.0,
    ),
    HairStyle("bob", _long(0.0, 4.0), nodes=16, parted=True, fringed=True, half_width=8.0,
              cap=5.0),
    HairStyle("shoulder length", _long(0.9, 9.0), nodes=16, parted=True, fringed=True,
              half_width=9.5, cap=5.0),
    HairStyle("long straight", _long(2.4, 16.0), nodes=16, parted=True, fringed=True,
              half_width=10.0, cap=5.0),
    HairStyle(
        "long wavy", _long(2.2, 16.0, lift=(2.0, 20.0)),
        nodes=16, parted=True, fringed=True, half_width=9.0, cap=7.0, curl=6.0, cycles=2.0,
        volume=14.0,
    ),
    HairStyle(
        "long curly", _long(1.5, 16.0, lift=(3.0, 24.0), gravity=0.7),
        nodes=16, parted=True, fringed=True, half_width=9.0, cap=10.0, cap_bump=2.0, curl=9.0,
        cycles=2.8, volume=20.0,
    ),
    HairStyle("ponytail", _tied(_tail), nodes=16, fringed=True, half_width=8.0, cap=3.5),
    HairStyle("bun", _tied(_bun), nodes=16, fringed=True, half_width=8.0, cap=3.5),
)  # fmt: skip
HAIR_NAMES = tuple(style.name for style in STYLES)


def make_cut(
    head: HeadSurface, body: Cloud, number: int, part: int = 0, fringe: bool = False
) -> Strands | None:
    """The strands of one style, [S, m, ...] with S m = ROWS NODES; None for a style without any.

    Args:
      head: the mean head.
      body: what hair may not enter: the head and the shoulders.
      number: of the style.
      part: one of PARTINGS.
      fringe: with a fringe.
    """
    style = STYLES[number]
    if style.shape is None:
        return None
    return style.shape(_Cut(head, body, style.nodes, part, fringe, number))
