"""Is a figure worth printing? Units, orders, ranges and numbers of samples, checked before it is.

What cannot be right is a ValueError that says what was measured and what to do; what only weakens a
figure is a sentence for the log. All on the host.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

MM_PER_UNIT = {"mm": 1.0, "cm": 10.0, "dm": 100.0, "m": 1000.0}
# Both ranges are wide, since a wrong unit is at least ten times off. Outer corners of the eyes:
# some 90 mm in adults (biocular width: Farkas, Anthropometry of the Head and Face, 1994), less in
# children. The longest side of a mesh: a face has 100 to 300 mm, a head with shoulders 600.
EYES_MM = (45.0, 140.0)
EXTENT_MM = (80.0, 790.0)
# Seven points of the NoW benchmark, mm: the mean face of the procedural model (128 x 128), centred.
SEVEN_POINTS_MM = np.array(
    [
        [-44.3, 27.3, -12.1],
        [-18.5, 25.0, 1.1],
        [18.7, 25.0, 1.1],
        [44.5, 27.3, -12.1],
        [-0.8, -20.0, 15.6],
        [-25.6, -42.3, 3.3],
        [25.8, -42.3, 3.3],
    ]
)
SEVEN_NAMES = (
    "outer and inner corner of the right eye, inner and outer corner of the left eye, base of the "
    "nose, right and left mouth corner; right and left are the person's"
)
_SIDES_SWAPPED = [3, 2, 1, 0, 4, 6, 5]
# 3000 random people of that model with strong expressions leave 0.05 of the spread (median), at
# most 0.21; the next best order of their points 0.30 and more, and 2.1 times what their own leaves.
_MISFIT, _BETTER = 0.35, 0.6
_LEAST_PX = 5.0  # of a face in a picture
_CLEAR = 0.2  # of a face's diagonal lie between eyes and mouth; in upright ones some 0.35
FRECHET_RULE = "a covariance needs more samples than it has dimensions"


def _similarity(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Misfit and scale of the best similarity without reflection (Umeyama 1991).

    Returns:
      What is left of the spread of the target, 0 .. 1, and the scale; [...] each.
    """
    a, b = (p - p.mean(axis=-2, keepdims=True) for p in (source, target))
    u, singular, vt = np.linalg.svd(np.swapaxes(b, -1, -2) @ a)
    singular[..., 2] *= np.sign(np.linalg.det(u) * np.linalg.det(vt))
    own, other = ((p * p).sum(axis=(-2, -1)) for p in (a, b))
    total = singular.sum(axis=-1)
    explained = total**2 / np.maximum(own * other, 1e-300)
    return np.sqrt(np.maximum(1.0 - explained, 0.0)), total / np.maximum(own, 1e-300)


def check_finite(rows: np.ndarray, what: str) -> None:
    """Refuses rows with NaN or infinity.

    Args:
      rows: [N, ...].
      what: the rows, for the message ('vertices of scan.obj').

    Raises:
      ValueError: naming the first such row.
    """
    rows = np.asarray(rows)
    broken = np.flatnonzero(~np.isfinite(rows).reshape(len(rows), -1).all(axis=1))
    if len(broken):
        raise ValueError(
            f"{what}: number {broken[0]} (counted from 0) is not finite, {len(broken)} of "
            f"{len(rows)} are not; no figure of them means anything"
        )


def check_extent(vertices_mm: np.ndarray, what: str, flag: str, unit: str = "mm") -> None:
    """Refuses a surface whose size is not that of a face or a head.

    Args:
      vertices_mm: [V, 3], mm if the unit was right.
      what: the surface, for the message.
      flag: that tells the unit, such as '--unit'; '' where the file tells it.
      unit: that the file was taken to be in.

    Raises:
      ValueError: with the measured size and the unit that would fit.
    """
    size = float(np.ptp(vertices_mm, axis=0).max()) if len(vertices_mm) else 0.0
    low, high = EXTENT_MM
    if not low <= size <= high:
        raise ValueError(
            f"{what}: its longest side is {size:.4g} mm, wanted that of a face (100 to 300 mm) or "
            f"of a head.{_advice(size, flag, unit)}"
        )


def check_eyes(seven_mm: np.ndarray, what: str, flag: str, unit: str = "mm") -> None:
    """Refuses landmarks whose eyes are not a person's distance apart.

    Args:
      seven_mm: [7, 3], mm if the unit was right.
      what: the landmarks, for the message.
      flag, unit: see `check_extent`.

    Raises:
      ValueError: with the measured distance and the unit that would fit.
    """
    eyes = float(np.linalg.norm(seven_mm[0] - seven_mm[3]))
    if not EYES_MM[0] <= eyes <= EYES_MM[1]:
        raise ValueError(
            f"{what}: the outer corners of the eyes are {eyes:.4g} mm apart, wanted "
            f"{EYES_MM[0]:g} to {EYES_MM[1]:g}.{_advice(2 * eyes, flag, unit)}"
        )


def _advice(size_mm: float, flag: str, unit: str) -> str:
    """What unit would make a face of a size that was measured in another."""
    stored = size_mm / MM_PER_UNIT[unit]
    units = [u for u, factor in MM_PER_UNIT.items() if 100 <= stored * factor <= 500]
    if units and flag:
        return f" The file seems to be in {units[0]}: say {flag}={units[0]}"
    if flag:
        return f" Say its unit by {flag} ({', '.join(MM_PER_UNIT)})"
    return " This kind of file is in metres: write it again in them"


def check_seven_points(seven: np.ndarray, what: str) -> None:
    """Refuses seven landmarks that are in another order, mirrored, or no face's.

    The points are fitted to a mean face by a similarity without reflection, in all 5040 orders.

    Args:
      seven: [7, 3], any unit and frame.
      what: the landmarks, for the message.

    Raises:
      ValueError: naming the order that fits.
    """
    check_finite(seven, what)
    if not np.ptp(seven, axis=0).any():
        raise ValueError(f"{what}: all points lie on one spot; wanted {SEVEN_NAMES}")
    orders = np.array(list(itertools.permutations(range(7))))  # the first is the given one
    misfit, _ = _similarity(seven[orders], np.broadcast_to(SEVEN_POINTS_MM, (len(orders), 7, 3)))
    best = int(misfit.argmin())
    best = best if misfit[best] < _BETTER * misfit[0] else 0
    if misfit[best] > _MISFIT:
        raise ValueError(
            f"{what}: these points fit no face (a similarity leaves {misfit[0]:.0%} of their "
            f"spread); wanted {SEVEN_NAMES}"
        )
    order = orders[best].tolist()
    if order == _SIDES_SWAPPED:
        raise ValueError(
            f"{what}: right and left are swapped, or the axes are left-handed (a mirrored mesh); "
            f"wanted {SEVEN_NAMES}, and a right-handed frame"
        )
    if best:
        raise ValueError(
            f"{what}: wrong order; what is wanted seem to be the points "
            f"{' '.join(str(k + 1) for k in order)}: {SEVEN_NAMES}"
        )


def check_on_surface(points: np.ndarray, vertices: np.ndarray, what: str, mesh: str) -> None:
    """Refuses landmarks that do not lie on their mesh: another unit, frame or file.

    Args:
      points: [K, 3].
      vertices: [V, 3] of the mesh, in the unit and frame of the points.
      what: the landmarks, for the message.
      mesh: the mesh, for the message.

    Raises:
      ValueError: with the distance, and the factor that would put them there.
    """
    from scipy.spatial import cKDTree

    tree, span = cKDTree(vertices), np.linalg.norm(np.ptp(points, axis=0))

    def off(factor):
        """Median distance in shares of the points' spread."""
        distance, _ = tree.query(factor * points)
        return float(np.median(distance) / max(factor * span, 1e-300))

    if off(1.0) <= 0.15:
        return
    factors = [f for f in (1e-3, 1e-2, 1e-1, 1e1, 1e2, 1e3) if off(f) <= 0.15]
    size = np.linalg.norm(np.ptp(vertices, axis=0))
    why = (
        f"times {factors[0]:g} they would: they are in another unit than the mesh"
        if factors
        else "they are of another mesh, or in another frame or unit"
    )
    raise ValueError(
        f"{what}: the points do not lie on {mesh}: they are {off(1.0) * span:.4g} away from it "
        f"(median), they span {span:.4g} and the mesh {size:.4g}; {why}"
    )


def check_correspondence(first: np.ndarray, second: np.ndarray, names: Sequence[str]) -> None:
    """Refuses two lists of vertices that are not those of one topology in one unit.

    Args:
      first: [V, 3].
      second: [V, 3].
      names: of both, for the message.

    Raises:
      ValueError: one is mirrored, much larger, or in another order.
    """
    misfit, scale = (float(x) for x in _similarity(first, second))
    mirrored, _ = _similarity(first * [-1.0, 1.0, 1.0], second)
    sizes = [float(np.linalg.norm(np.ptp(p, axis=0))) for p in (first, second)]
    both = f"{names[0]} and {names[1]}"
    if mirrored < _BETTER * misfit and misfit > 0.05:
        raise ValueError(f"{both} are mirror images: one has left-handed axes; turn one axis round")
    if misfit > _MISFIT:
        raise ValueError(
            f"vertex k of {names[0]} is not vertex k of {names[1]}: the best similarity leaves "
            f"{misfit:.0%} of their spread; compare with --landmarks instead"
        )
    if not 0.5 < scale < 2.0:
        raise ValueError(
            f"{both} differ {max(scale, 1 / max(scale, 1e-300)):.4g} times in size (boxes of "
            f"{sizes[0]:.4g} and {sizes[1]:.4g} mm across): one is in another unit; say --unit, "
            "--face_unit"
        )


def check_landmark_sets(predicted: np.ndarray, target: np.ndarray) -> None:
    """Refuses 68 landmarks in pictures from which no error can be computed.

    Args:
      predicted: [..., 68, 2] pixels.
      target: [..., 68, 2] pixels, same y direction.

    Raises:
      ValueError: values that are not finite, or most faces of one set upside down against the
        other.
    """
    predicted, target = (np.asarray(p, np.float64).reshape(-1, 68, 2) for p in (predicted, target))
    check_finite(predicted, "predicted landmarks of faces")
    check_finite(target, "true landmarks of faces")
    ways = [np.sign(u) * (np.abs(u) > _CLEAR) for u in (_upright(predicted), _upright(target))]
    opposed = np.count_nonzero(ways[0] * ways[1] < 0)
    if opposed > len(target) / 2:
        raise ValueError(
            f"{opposed} of {len(target)} predicted faces stand upside down against the true ones: "
            "their y run in opposite directions"
        )


def check_in_picture(points: np.ndarray, size: tuple[int, int], name: str) -> None:
    """Refuses landmarks most of which lie outside their picture: those of another, or no pixels.

    Args:
      points: [K, 2] pixels, y down.
      size: (height, width).
      name: of the picture, for the message.

    Raises:
      ValueError: fewer than half of the points are inside, or all within a few pixels.
    """
    height, width = size
    span = float(np.ptp(points, axis=0).max())
    if span < _LEAST_PX:
        raise ValueError(
            f"{name}: its {len(points)} landmarks span {span:.3g} pixels; wanted pixels of this "
            "picture, not shares of its size"
        )
    inside = ((points >= 0) & (points <= [width, height])).all(axis=1)
    if inside.mean() < 0.5:
        low, high = points.min(axis=0), points.max(axis=0)
        raise ValueError(
            f"{name}: {inside.sum()} of {len(points)} landmarks lie in the picture of "
            f"{width}x{height}; they reach from ({low[0]:.4g}, {low[1]:.4g}) to ({high[0]:.4g}, "
            f"{high[1]:.4g}); wanted pixels of this picture"
        )


def _upright(points: np.ndarray) -> np.ndarray:
    """[N]: how far the mouth of [N, 68, 2] lies from the eyes in +y, in shares of the size."""
    drop = points[:, 48:68, 1].mean(axis=1) - points[:, 36:48, 1].mean(axis=1)
    return drop / np.maximum(np.linalg.norm(np.ptp(points, axis=1), axis=1), 1e-300)


def check_radians(angles: np.ndarray, what: str) -> None:
    """Refuses angles that must be degrees.

    Args:
      angles: [...] that should be radians.
      what: for the message.

    Raises:
      ValueError: not finite, or beyond a full turn.
    """
    angles = np.asarray(angles, np.float64)
    if not np.isfinite(angles).all():
        raise ValueError(f"{what}: found values that are not finite, wanted radians")
    most = float(np.abs(angles).max(initial=0.0))
    if most > 2 * math.pi + 1e-6:
        raise ValueError(
            f"{what}: found angles up to {most:.4g}, wanted radians (at most {2 * math.pi:.4g}): "
            "these look like degrees"
        )


def check_pictures(pictures: np.ndarray, what: str) -> None:
    """Refuses pictures that are not in [0, 1].

    Args:
      pictures: [N, H, W, C].
      what: for the message.

    Raises:
      ValueError: not finite, or of another range.
    """
    pictures = np.asarray(pictures)
    if not len(pictures):
        raise ValueError(f"{what}: found no pictures")
    check_finite(pictures, what)
    low, high = float(pictures.min()), float(pictures.max())
    if low < -1e-3 or high > 1 + 1e-3:
        looks = "0 .. 255" if high > 2 else "-1 .. 1" if high <= 1 + 1e-3 else "wider"
        raise ValueError(
            f"{what}: found values from {low:.4g} to {high:.4g} (a range of {looks}), wanted "
            "pictures in [0, 1]"
        )


def duplicates(rows: np.ndarray) -> int:
    """How many rows are exact copies of an earlier one.

    Args:
      rows: [N, ...].
    """
    rows = np.ascontiguousarray(rows)
    return len(rows) - len({row.tobytes() for row in rows})


def copies_remark(rows: np.ndarray, what: str) -> list[str]:
    """A sentence for the log where some rows are copies of others; else nothing.

    Args:
      rows: [N, ...].
      what: the rows, for the sentence.
    """
    copies = duplicates(rows)
    text = f"{copies} of the {len(rows)} {what} are copies of others: figures of them are biased"
    return [text] if copies else []


def shared_rows(first: np.ndarray, second: np.ndarray) -> int:
    """How many rows of the second table stand in the first one too, to the last bit.

    Args:
      first: [N, C].
      second: [M, C] of the same dtype.
    """
    known = {row.tobytes() for row in np.ascontiguousarray(first)}
    return sum(row.tobytes() in known for row in np.ascontiguousarray(second))


def sample_remarks(samples: dict[str, np.ndarray], dims: int) -> list[str]:
    """What makes distances between distributions weak: too few samples, or copies among them.

    Args:
      samples: name -> [N, ...].
      dims: of the features whose covariance is taken.

    Returns:
      Sentences for the log; empty where nothing is to be said.
    """
    remarks = []
    least = min(len(s) for s in samples.values())
    if least <= dims:
        remarks.append(
            f"Frechet distances of {least} samples in {dims} dimensions are far too large "
            f"({FRECHET_RULE}; published ones take 10,000 to 50,000): compare them only with others"
            " of as many samples"
        )
    for name, rows in samples.items():
        remarks += copies_remark(rows, f"{name} samples")
    return remarks


@dataclasses.dataclass(frozen=True)
class Reported:
    """Figures that can be written.

    Attributes:
      figures: the nested figures, None instead of what is not a finite number.
      lost: names of those, 'a/b/c'.
    """

    figures: dict[str, Any]
    lost: tuple[str, ...]


def reported(figures: dict[str, Any]) -> Reported:
    """Figures without NaN and infinity, which JSON does not know and tables would show as numbers.

    Args:
      figures: nested dicts of numbers, texts, lists and None.
    """
    lost: list[str] = []

    def clean(value, name):
        if isinstance(value, dict):
            return {k: clean(v, f"{name}/{k}" if name else str(k)) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [clean(v, f"{name}/{k}") for k, v in enumerate(value)]
        if isinstance(value, float | np.floating) and not math.isfinite(value):
            lost.append(name)
            return None
        return value

    return Reported(clean(figures, ""), tuple(lost))
