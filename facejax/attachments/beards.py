"""The beards: where each grows and how it falls, on the mean head. Host, numpy."""

import dataclasses

import numpy as np

from facejax.attachments.head import HeadSurface, unit_vectors
from facejax.attachments.strands import NODES, Growth, Strands, grow, surface_samples

BEARD_ROWS = 110
BEARD_NODES = 4  # of a strand


@dataclasses.dataclass(frozen=True)
class BeardStyle:
    """One beard; lengths in mm on a head of unit size.

    Attributes:
      name: of the style.
      zones: where it grows: 'moustache', 'chin', 'cheeks'.
      length: of its strands; at the chin `chin_length`.
      half_width: of a strand at its widest.
      lift: the highest layer above the skin.
      curl: radius of curls at coefficient 0.
    """

    name: str
    zones: tuple[str, ...]
    length: float = 10.0
    chin_length: float = 10.0
    half_width: float = 2.6
    lift: float = 3.0
    curl: float = 0.0


BEARDS = (
    BeardStyle("none", ()),
    BeardStyle("moustache", ("moustache",), 12.0, 12.0, 2.4, 2.5),
    BeardStyle("goatee", ("moustache", "chin"), 12.0, 20.0, 3.0, 4.0),
    BeardStyle("short", ("moustache", "chin", "cheeks"), 14.0, 15.0, 4.8, 2.5),
    BeardStyle("full", ("moustache", "chin", "cheeks"), 18.0, 32.0, 5.0, 7.0, 0.6),
    BeardStyle("long", ("moustache", "chin", "cheeks"), 26.0, 95.0, 5.0, 14.0, 1.5),
)
BEARD_NAMES = tuple(beard.name for beard in BEARDS)


class BeardZones:
    """Signed distances (about mm, positive inside) to the zones where beards grow.

    Args:
      head: the mean head.
      lips: [V] mask or None.
    """

    def __init__(self, head: HeadSurface, lips: np.ndarray | None):
        lm = head.landmarks
        self.head = head
        self.mouth_x = np.abs(lm[[48, 54], 0]).mean()
        self.mouth_y = lm[[48, 54], 1].mean()
        self.nose_y = lm[33, 1]
        self.upper_y = lm[[50, 52], 1].mean()
        self.lower_y = lm[57, 1]
        self.chin_y = lm[8, 1]
        self.ear_x = np.abs(lm[[0, 16], 0]).mean()
        self.ear_z = head.center[2]
        if lips is None or not (lips > 0.5).any():
            self._lips = lm[48:60]
        else:
            self._lips = head.points[lips > 0.5]

    def __call__(self, zones: tuple[str, ...], p: np.ndarray) -> np.ndarray:
        """[...] mm inside the union of zones, negative outside; p [N, 3] near the skin."""
        from scipy.spatial import cKDTree

        u = self.head.unit
        x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
        front = z - (self.ear_z + 14 * u)
        inside = np.full(len(p), -1e3)
        if "moustache" in zones:
            droop = self.upper_y - 6 * u * np.clip(x / self.mouth_x, 0, 1.2) ** 2
            band = np.minimum(self.nose_y - 1.5 * u - 0.12 * x - y, y - droop + 5 * u)
            inside = np.maximum(inside, np.minimum(band, self.mouth_x + 3 * u - x))
        under = y - (self.chin_y - 26 * u)
        if "chin" in zones:
            goatee = np.minimum(self.mouth_x - 1 * u - x, self.mouth_y + 1 * u - y)
            inside = np.maximum(inside, np.minimum(goatee, under))
        if "cheeks" in zones:
            share = np.clip((x - self.mouth_x) / (self.ear_x - self.mouth_x), 0, 1)
            line = self.mouth_y + 2 * u + (self.nose_y + 16 * u - self.mouth_y) * share**1.4
            inside = np.maximum(inside, np.minimum(line - y, under))
        from_lips = cKDTree(self._lips).query(p)[0] - 2.5 * u
        return np.minimum(np.minimum(inside, front), from_lips)


def make_beard(head: HeadSurface, lips: np.ndarray | None, number: int) -> Strands | None:
    """Strands of one beard, [S, BEARD_NODES, ...]; None for the style without any.

    Args:
      head: the mean head.
      lips: [V] mask, or None.
      number: of the style.
    """
    style = BEARDS[number]
    if not style.zones:
        return None
    u, rng = head.unit, np.random.default_rng([7, number])
    zones = BeardZones(head, lips)
    grows = lambda p: zones(style.zones, p)  # noqa: E731
    num = BEARD_ROWS * NODES // BEARD_NODES
    roots = surface_samples(head, num, rng, lambda p: grows(p) > 0)
    lower = np.clip((zones.mouth_y - roots[:, 1]) / (zones.mouth_y - zones.chin_y), 0, 1)
    at_chin = lower * np.clip(1.5 - np.abs(roots[:, 0]) / (1.8 * zones.mouth_x), 0, 1)
    length = style.length + (style.chin_length - style.length) * at_chin
    edge = np.clip(grows(roots) / (8 * u), 0.45, 1)

    def comb(p):
        above = (p[:, 1] > zones.mouth_y) & (np.abs(p[:, 0]) < zones.mouth_x + 5 * u)
        side = np.sign(p[:, 0]) * np.where(above, 1.1, 0.12)
        forward = np.full(len(p), 0.3)
        return unit_vectors(np.stack([side, np.full(len(p), -1.0), forward], axis=1))

    growth = Growth(
        comb=comb,
        length_mm=u * length * edge * rng.uniform(0.8, 1.15, num),
        lowest_y=np.full(num, -1e9),
        lift_mm=u * (0.4 + style.lift * rng.random(num) * edge),
        grows=grows,
        gravity=0.5,
        rise=0.35,
        clear_face=False,
        clump=0.3,
        jitter_mm=0.8 * u,
    )
    return grow(head, head.cloud, roots, growth, BEARD_NODES, rng)
