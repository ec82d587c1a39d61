"""Cuts MakeHuman's base mesh to the cage of a head with neck, eyes, teeth, tongue and lashes.

The skin is the UV island of the head, which ends at the jaw in front, completed by the quads of the
torso above a tilted plane. The eyeballs are spheres of our own, and a narrow strip behind the edge
of the lids closes the gap to them, in place of the original's eye sockets.
"""

import dataclasses

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, diags_array, eye_array, vstack
from scipy.sparse.csgraph import connected_components

from data_prep.head.source import NUM_VERTICES, BaseMesh

PARTS = ("skin", "mouth", "lid", "eye", "upper_teeth", "lower_teeth", "tongue", "lash")
SKIN, MOUTH, LID, EYE, UPPER_TEETH, LOWER_TEETH, TONGUE, LASH = range(len(PARTS))
EYE_RADIUS_MM = 12.2  # Bekerman, Gottlieb, Vaiman 2014: 24.2 mm across
# angles from the optical axis of the rings of an eyeball; the third is the edge of the iris
EYE_RINGS_DEG = (9.0, 18.0, 29.0, 41.0, 54.0, 68.0, 83.0, 100.0)
EYE_SIDES = 20  # vertices of a ring
LASH_LENGTH = 0.45  # without transparency lashes of full length are broad strips
# the cut of the neck: mm height at z = 0, and its rise towards the back
NECK_HEIGHT, NECK_RISE, NECK_HALF_WIDTH = 578.0, 0.30, 100.0
_GROUPS = {
    "helper-upper-teeth": UPPER_TEETH, "helper-lower-teeth": LOWER_TEETH, "helper-tongue": TONGUE,
    "helper-l-eyelashes-1": LASH, "helper-l-eyelashes-2": LASH, "helper-r-eyelashes-1": LASH,
    "helper-r-eyelashes-2": LASH,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Cage:
    """Quads of the head, and where its vertices come from.

    Attributes:
      quads: [Q, 4] vertex ids.
      part: [Q] index into `PARTS`.
      corner_uv: [Q, 4, 2] the base mesh's own coordinates, v up; 0 where there are none (the eyes,
        the strips behind the lids, and the neck, `neck`).
      island: [Q] number of the UV island in the base mesh, or below 0.
      neck: [Q] bool, quads of the torso.
      matrix: scipy.sparse [V, vertices of the base mesh], rows sum to 1: the cage, but for the
        shape of the eyes, which lie in the mean of the edge of their lids.
      lids: edge of the lids of the subject's left and right eye, [N] vertex ids in order.
      strips: the same vertices behind the edge, [N] each.
      eyes: ids of the eyeballs, left and right: the pole, then ring after ring.
      lips: vertex ids of the seam between lips and mouth.
      rim: vertex ids at the lower end of the neck.
      lash_roots: [V] for the vertices of lashes the vertex of a lid's edge that they follow, else
        the vertex itself.
    """

    quads: np.ndarray
    part: np.ndarray
    corner_uv: np.ndarray
    island: np.ndarray
    neck: np.ndarray
    matrix: csr_matrix
    lids: tuple[np.ndarray, np.ndarray]
    strips: tuple[np.ndarray, np.ndarray]
    eyes: tuple[np.ndarray, np.ndarray]
    lips: np.ndarray
    rim: np.ndarray
    lash_roots: np.ndarray

    @property
    def num_vertices(self) -> int:
        """V."""
        return self.matrix.shape[0]

    def vertices_of(self, *parts: int) -> np.ndarray:
        """Sorted vertex ids of parts; those on a seam belong to both sides."""
        return np.unique(self.quads[np.isin(self.part, parts)])


def uv_islands(mesh: BaseMesh) -> np.ndarray:
    """[Q] number of the connected island in texture space of each quad."""
    rows, columns = np.repeat(mesh.quads_uv[:, 0], 3), mesh.quads_uv[:, 1:].ravel()
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(mesh.uv),) * 2)
    return connected_components(graph, directed=False)[1][mesh.quads_uv[:, 0]]


def build_cage(mesh: BaseMesh, adult: np.ndarray) -> Cage:
    """The cage of the head.

    Args:
      mesh: the base mesh.
      adult: [V, 3] mm, an average adult in its topology: the base mesh itself is nobody.
    """
    island = uv_islands(mesh)
    body = mesh.group == "body"
    part = _parts(mesh, adult, island, body)
    height = adult[:, 1] - (NECK_HEIGHT - NECK_RISE * adult[:, 2])
    neck = _neck_quads(mesh.quads, body & (part < 0), part == SKIN, height, adult)
    part[neck] = SKIN
    sockets = body & (part < 0) & ~np.isin(island, island[neck])

    kept = part >= 0
    used, quads = np.unique(mesh.quads[kept], return_inverse=True)
    quads = quads.reshape(-1, 4)
    corner_uv = np.where(neck[kept][:, None, None], 0.0, mesh.uv[mesh.quads_uv[kept]])
    part, island, neck = part[kept], island[kept], neck[kept]
    p = adult[used]
    matrix = coo_matrix(
        (np.ones(len(used)), (np.arange(len(used)), used)), shape=(len(used), NUM_VERTICES)
    ).tocsr()
    slide, rim = _cut_neck(quads[neck], height[used])
    matrix = slide @ matrix

    skin = np.unique(quads[part == SKIN])
    lips = np.intersect1d(skin, quads[part == MOUTH])
    edge = np.intersect1d(skin, np.searchsorted(used, np.intersect1d(mesh.quads[sockets], used)))
    lids = tuple(_in_order(quads[part == SKIN], edge[side * p[edge, 0] > 0], p) for side in (1, -1))
    shorten, roots = _shorten_lashes(np.unique(quads[part == LASH]), np.concatenate(lids), p)
    matrix = shorten @ matrix
    blocks = [(quads, part, corner_uv, island, neck)]
    rows, strips, eyes, count = [matrix], [], [], len(used)
    for number, lid in enumerate(lids):
        strip = count + np.arange(len(lid))
        eye = count + len(lid) + np.arange(1 + len(EYE_RINGS_DEG) * EYE_SIDES)
        count = eye[-1] + 1
        middle = csr_matrix(np.full((len(eye), len(lid)), 1 / len(lid))) @ matrix[lid]
        rows += [matrix[lid], middle]
        strips.append(strip)
        eyes.append(eye)
        for new, kind in ((_strip_quads(lid, strip), LID), (eye_quads(eye), EYE)):
            zeros = np.zeros(len(new))
            blocks.append(
                (new, zeros.astype(int) + kind, np.zeros((len(new), 4, 2)),
                 zeros.astype(int) - 1 - number, zeros > 0)
            )  # fmt: skip
    quads, part, corner_uv, island, neck = (np.concatenate(b) for b in zip(*blocks, strict=True))
    return Cage(
        quads, part, corner_uv, island, neck, vstack(rows).tocsr(), lids, tuple(strips),
        tuple(eyes), lips, rim, np.concatenate([roots, np.arange(len(used), count)]),
    )  # fmt: skip


def _parts(mesh, adult, island, body):
    """[Q] index into `PARTS`, -1 for what is not kept, without the neck."""
    part = np.full(len(mesh.quads), -1)
    for group, number in _GROUPS.items():
        part[mesh.group == group] = number
    centers = adult[mesh.quads].mean(axis=1)
    crown = np.flatnonzero(body)[centers[body, 1].argmax()]
    part[body & (island == island[crown])] = SKIN
    tongue = centers[part == TONGUE].mean(axis=0)
    rest = [i for i in np.unique(island[body]) if i != island[crown]]
    distance = [np.linalg.norm(centers[body & (island == i)].mean(axis=0) - tongue) for i in rest]
    part[body & (island == rest[int(np.argmin(distance))])] = MOUTH
    return part


def _neck_quads(quads, torso, skin, height, p):
    """[Q] bool: the connected quads below the head that reach above the cut."""
    near = torso & (height[quads] > 0).any(axis=1)
    near &= (np.abs(p[quads, 0]) < NECK_HALF_WIDTH).all(axis=1)
    ids = np.flatnonzero(near)
    columns = quads[ids].ravel()
    graph = coo_matrix((np.ones(len(columns)), (np.repeat(np.arange(len(ids)), 4), columns)))
    piece = connected_components(graph @ graph.T, directed=False)[1]
    touching = np.isin(quads[ids], quads[skin]).any(axis=1)
    neck = np.zeros(len(quads), bool)
    neck[ids[piece == np.bincount(piece[touching]).argmax()]] = True
    return neck


def _cut_neck(quads, height):
    """Sparse [V, V] that slides what hangs below the cut up its edge onto it, and the rim's ids."""
    num = len(height)
    edges = np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2)
    edges = np.concatenate([edges, edges[:, ::-1]])
    low = np.unique(edges[height[edges[:, 0]] < 0, 0])
    matrix = eye_array(num).tolil()
    for i in low:
        near = edges[edges[:, 0] == i, 1]
        if not (height[near] > 0).any():  # a corner of the staircase: across its quad
            near = quads[(quads == i).any(axis=1)].ravel()
        k = near[height[near].argmax()]
        weight = height[k] / (height[k] - height[i])
        matrix[i, i], matrix[i, k] = weight, 1 - weight
    return matrix.tocsr(), low


def _in_order(quads, ring, p):
    """A closed ring of edges, counter-clockwise from the front, beginning at the outer corner."""
    edges = np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2)
    edges = edges[np.isin(edges, ring).all(axis=1)]
    pairs, count = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
    near = {int(i): [] for i in ring}
    for a, b in pairs[count == 1]:  # an edge of the skin's border belongs to one quad
        near[int(a)].append(int(b))
        near[int(b)].append(int(a))
    start = int(ring[np.abs(p[ring, 0]).argmax()])
    up = np.sign(p[start, 0])
    order = [start, max(near[start], key=lambda i: up * p[i, 1])]
    while len(order) < len(ring):
        a, b = near[order[-1]]
        order.append(b if a == order[-2] else a)
    return np.array(order)


def _shorten_lashes(lash, edge, p):
    """Sparse [V, V] that pulls lashes to `LASH_LENGTH`, and [V] the vertex that each follows."""
    from scipy.spatial import cKDTree

    roots = np.arange(len(p))
    roots[lash] = edge[cKDTree(p[edge]).query(p[lash])[1]]
    keep = np.ones(len(p))
    keep[lash] = LASH_LENGTH
    pull = coo_matrix((1 - keep, (np.arange(len(p)), roots)), shape=(len(p),) * 2)
    return (diags_array(keep) + pull).tocsr(), roots


def _strip_quads(lid, strip):
    """Quads behind the edge of the lids; the skin has its vertices in the other direction."""
    a, b = lid, np.roll(lid, -1)
    return np.stack([a, b, np.roll(strip, -1), strip], axis=1)


def eye_quads(ids: np.ndarray) -> np.ndarray:
    """Quads of an eyeball [Q, 4]: a fan around the pole, and rings; `ids` [N] are its vertices."""
    ring = ids[1:].reshape(-1, EYE_SIDES)
    after = np.roll(ring, -1, axis=1)
    pole = np.full(EYE_SIDES // 2, ids[0])
    first = np.append(ring[0], ring[0, 0])
    fan = np.stack([pole, first[:-1:2], first[1::2], first[2::2]], axis=1)
    rest = [
        np.stack([ring[k], ring[k + 1], after[k + 1], after[k]], axis=1)
        for k in range(len(ring) - 1)
    ]
    return np.concatenate([fan, *rest])


def eye_directions() -> np.ndarray:
    """[N, 3] unit vectors from the middle of an eyeball to its vertices, the pole along +z."""
    polar = np.deg2rad(np.repeat(EYE_RINGS_DEG, EYE_SIDES))
    around = np.tile(2 * np.pi * np.arange(EYE_SIDES) / EYE_SIDES, len(EYE_RINGS_DEG))
    rings = np.stack(
        [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=1
    )
    return np.concatenate([[[0.0, 0.0, 1.0]], rings])
