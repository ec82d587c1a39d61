"""Calibrates the spreads of the local sliders on ICT-FaceKit, whose identities come from scans.

Region by region, the heads shall vary as much as ICT's, in millimetres and without rigid motion.
The variance of a region is linear in the squared spreads, so all regions and sliders are solved at
once, each slider between limits. Only the resulting numbers are kept (`spreads`); ICT's data are
read here and nowhere else.
"""

import os
from collections.abc import Callable

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.optimize import lsq_linear
from scipy.spatial import cKDTree

from data_prep.head.build import HEADS, SEED, Heads, without_rigid
from data_prep.head.cage import SKIN
from data_prep.head.population import ACTIVE, ACTIVE_ASYMMETRY, Sliders, list_sliders
from data_prep.head.source import Source
from facejax.host.arrays import read_npz
from facejax.host.files import atomic_path
from facejax.morphable.ict import RAW_KEYS
from facejax.morphable.procedural.build import MM_PER_CM

# wanted share of ICT's spread; it is a study of young adults, ours are 18 to 80
WANTED = {
    "eyes": 1.10, "nose": 1.10, "mouth": 1.10, "chin": 1.05, "cheek": 1.10, "forehead": 1.06,
    "ears": 1.00, "head": 1.00, "neck": 1.00,
}  # fmt: skip
LOW, HIGH, USUAL = 0.08, 0.65, 0.40  # of the spread of a slider where it is not at rest
_HIGH_OF = {
    "head": 0.16, "forehead": 0.30, "eyebrows": 0.50, "asym": 0.28, "neck": 0.50, "ears": 0.50,
    "mouth": 0.55, "nose": 0.50,
}  # fmt: skip
_STIFFNESS = 0.004  # of the wish for the usual spread
_ROUNDS = 3
_FAR_MM = 6.0  # farther apart, vertices of the two heads do not correspond
_FACE_REGIONS = 2  # ICT's first regions: face and back of the head


class Ict:
    """Mean and identity offsets of ICT-FaceKit, mm, and which of our vertices each one matches.

    Args:
      path: the converted .npz.
      heads: ours.
    """

    def __init__(self, path: str | os.PathLike, heads: Heads):
        raw = read_npz(path, RAW_KEYS)
        self.p = MM_PER_CM * raw["neutral"].astype(np.float64)
        modes = MM_PER_CM * raw["id_offsets"].astype(np.float32)
        p = heads.anatomy.mean
        points = heads.anatomy.refinement(p)[heads.landmarks]
        skin = heads.cage.vertices_of(SKIN)
        marks = raw["landmarks68"]
        moved = self._onto(points, marks)
        distance, index = cKDTree(p[skin]).query(moved)
        self.vertex = skin[index]
        self.used = (raw["region"] <= _FACE_REGIONS) & (distance < _FAR_MM)
        self.face = self.used & (raw["region"] == 0)
        fixed = np.flatnonzero(self.used & (heads.masks["face"][self.vertex] > 0.5))
        self.modes = without_rigid(modes, self.p, fixed)

    def _onto(self, points, marks):
        """ICT's mean brought to our landmarks: similarity, then a smooth spline."""
        a, b = self.p[marks], points
        u, s, vt = np.linalg.svd((a - a.mean(axis=0)).T @ (b - b.mean(axis=0)))
        flip = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
        scale = np.trace(np.diag(s) @ flip) / ((a - a.mean(axis=0)) ** 2).sum()
        moved = scale * (self.p - a.mean(axis=0)) @ (u @ flip @ vt) + b.mean(axis=0)
        return moved + RBFInterpolator(moved[marks], b - moved[marks], smoothing=5.0)(moved)

    def spread(self, region: np.ndarray) -> float:
        """Root mean square deviation, mm, of the vertices that match a region [V] bool of ours."""
        inside = self.used & region[self.vertex]
        return float(np.sqrt((self.modes[:, inside] ** 2).sum(axis=(0, 2)).mean()))


def find_regions(heads: Heads) -> dict[str, np.ndarray]:
    """Regions of the skin, [V] bool each, by landmarks."""
    p, masks = heads.anatomy.mean, heads.masks
    q = heads.anatomy.refinement(p)[heads.landmarks]
    skin = np.zeros(len(p), bool)
    skin[heads.cage.vertices_of(SKIN)] = True
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    eye, lip, chin = q[36:48].mean(axis=0), q[48:60].mean(axis=0), q[8]
    front = skin & (z > eye[2] - 25)
    out = dict(ears=skin & (masks["ears"] > 0.5))
    beside = np.abs(x - np.abs(q[36:48, 0]).mean()) < 20
    out["eyes"] = front & beside & (y > eye[1] - 14) & (y < eye[1] + 24)
    out["nose"] = front & (x < 17) & (y < eye[1] - 4) & (y > q[33, 1] - 4) & ~out["eyes"]
    out["mouth"] = front & (x < 30) & (y < q[33, 1] - 4) & (y > lip[1] - 14)
    out["chin"] = skin & (z > eye[2] - 60) & (y <= lip[1] - 14) & (y > chin[1] - 6) & (x < 55)
    out["forehead"] = front & (y > eye[1] + 24) & (x < 60)
    done = np.any(list(out.values()), axis=0)
    out["cheek"] = front & ~done & (y < eye[1]) & (y > lip[1] - 14)
    out["head"] = skin & ~front & (y > q[33, 1]) & ~out["ears"]
    out["neck"] = skin & (y < chin[1] - 10)
    return out


def region_grams(heads: Heads, regions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """[K, K] per region: mean over its vertices of the products of the targets' offsets, mm^2."""
    flat = {k: heads.offsets[:, r].reshape(len(heads.offsets), -1) for k, r in regions.items()}
    return {k: f.astype(np.float64) @ f.T / (f.shape[1] / 3) for k, f in flat.items()}


def spreads_of(grams: dict[str, np.ndarray], weights: np.ndarray) -> dict[str, float]:
    """Root mean square deviation per region, mm, of heads with these weights [n, K]."""
    covariance = np.cov(weights.T)
    return {k: float(np.sqrt((covariance * gram).sum())) for k, gram in grams.items()}


def explained(heads: Heads, ict: Ict, counts: tuple[int, ...]) -> dict[int, tuple[float, float]]:
    """How well identities of ICT are explained, by numbers of components.

    Returns:
      count -> (what is left, the coefficients' root mean square); key 0: (what there is, 0); mm.
    """
    rng = np.random.default_rng(1)
    face = np.flatnonzero(ict.face)[::4]
    target = np.tensordot(rng.standard_normal((60, len(ict.modes))), ict.modes[:, face], 1)
    target = target.reshape(60, -1)
    out = {0: (float(np.sqrt(3 * (target**2).mean())), 0.0)}
    identity = heads.components(max(counts)).identity[:, ict.vertex[face]]
    for count in counts:
        basis = identity[:count].reshape(count, -1)
        share = np.linalg.solve(basis @ basis.T + 4.0 * np.eye(count), basis @ target.T).T
        left = float(np.sqrt(3 * ((target - share @ basis) ** 2).mean()))
        out[count] = (left, float(np.sqrt((share**2).mean())))
    return out


def calibrate(
    source: Source, path: str | os.PathLike, log: Callable[[str], None]
) -> dict[str, float]:
    """Spreads of the local sliders by name, to be put into `spreads`.

    Args:
      source: MakeHuman's files.
      path: ICT-FaceKit, the converted .npz.
      log: takes lines of a report.
    """
    names = [s.name for s in list_sliders(source.targets())]
    start = {n: _limits(n)[1] / 2 for n in names}
    heads = Heads(source, start)  # their mean and targets hardly depend on the spreads
    ict, regions = Ict(path, heads), find_regions(heads)
    grams = region_grams(heads, regions)
    wanted = {k: ict.spread(r) for k, r in regions.items()}
    goal = {k: (WANTED[k] * v) ** 2 for k, v in wanted.items()}
    aim = dict(goal)
    for _ in range(_ROUNDS):
        spreads = _solve(heads, grams, aim, wanted)
        sliders = Sliders(heads.sliders.names, spreads)
        found = spreads_of(grams, sliders.draw(np.random.default_rng(SEED), HEADS)[0])
        # what the linear estimate leaves out: clipping, one-sided sliders
        aim = {k: aim[k] + 0.8 * (goal[k] - found[k] ** 2) for k in aim}
    heads = Heads(source, spreads)
    report(heads, path, log)
    return spreads


def report(heads: Heads, path: str | os.PathLike, log: Callable[[str], None]) -> None:
    """Compares a population with ICT's.

    Args:
      heads: the population.
      path: ICT-FaceKit, the converted .npz.
      log: takes the lines.
    """
    ict, regions = Ict(path, heads), find_regions(heads)
    grams = region_grams(heads, regions)
    macros = heads.weights.copy()
    macros[:, heads.sliders.num_macros :] = 0
    found, alone = spreads_of(grams, heads.weights), spreads_of(grams, macros)
    log(f"{HEADS} heads; mm, ICT / macros alone / all / share of ICT's")
    for k, region in regions.items():
        wanted = ict.spread(region)
        log(f"  {k:9s}{wanted:7.2f}{alone[k]:7.2f}{found[k]:7.2f}{found[k] / wanted:7.2f}")
    for count, (left, size) in explained(heads, ict, (40, 70, 80)).items():
        log(f"  ICT's identities, {count} components: {left:.2f} mm left; coefficients {size:.2f}")


def _limits(name):
    return LOW, _HIGH_OF.get(name.split("/")[0], HIGH)


def _solve(heads, grams, aim, wanted):
    """Squared spreads by bounded least squares."""
    sliders = heads.sliders
    macros = sliders.num_macros
    covariance = np.cov(heads.weights[:, :macros].T)
    columns, low, high = [], [], []
    for slider in sliders.local:
        active = ACTIVE_ASYMMETRY if slider.name.startswith("asym/") else ACTIVE
        sides = [
            [sliders.index[t] for t in end] for end in (slider.positive, slider.negative) if end
        ]
        share = active if len(sides) == 2 else active - 2 / np.pi * active**2
        columns.append(
            [share * np.mean([g[np.ix_(s, s)].sum() for s in sides]) for g in grams.values()]
        )
        low.append(_limits(slider.name)[0] ** 2)
        high.append(_limits(slider.name)[1] ** 2)
    rest = [aim[k] - (covariance * g[:macros, :macros]).sum() for k, g in grams.items()]
    scale = np.array([1 / wanted[k] ** 2 for k in grams])
    matrix = np.concatenate(
        [np.array(columns).T * scale[:, None], np.sqrt(_STIFFNESS) * np.eye(len(low))]
    )
    right = np.concatenate([rest * scale, np.full(len(low), np.sqrt(_STIFFNESS) * USUAL**2)])
    squares = lsq_linear(matrix, right, (low, high)).x
    return {
        s.name: round(float(np.sqrt(v)), 2) for s, v in zip(sliders.local, squares, strict=True)
    }


def write_spreads(path: os.PathLike, spreads: dict[str, float]) -> None:
    """Writes spreads as the module `data_prep/head/spreads.py`."""
    lines = [
        '"""Spreads of the local sliders where they are not at rest, calibrated on ICT-FaceKit.',
        "",
        "python data_prep/build_head.py SOURCE --calibrate=ICT.npz --out=data_prep/head/spreads.py",
        '"""',
        "",
        "SPREADS = {",
        *(f'    "{name}": {value:.2f},' for name, value in sorted(spreads.items())),
        "}",
    ]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
