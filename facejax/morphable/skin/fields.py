"""Everything about the skin of a model that no coefficient changes, per texel (numpy, cached).

Fields are computed on a fine grid of at least 1024 x 1024 texels and averaged down, so that maps of
all sizes up to that show the same face; larger ones get finer detail. Fields that thresholds would
be taken of (how many freckles, how dense the hair) are stored as a few levels of cover instead, so
that `paint` is linear in them and small maps are the averages of large ones.
"""

import dataclasses
import hashlib

import jax
import numpy as np
from flax import struct

from facejax.host.arrays import read_npz
from facejax.host.cache import cached
from facejax.morphable.model import MorphableModel
from facejax.morphable.skin import strokes
from facejax.morphable.skin.anatomy import PARTS, Face, Head, bump, make_head, smoothstep
from facejax.morphable.skin.noise import noise, rank, scatter
from facejax.morphable.skin.occlusion import ambient_occlusion
from facejax.morphable.storage import write_arrays
from facejax.morphable.texels import nearest_covered, texel_triangles

VERSION = 2  # raise it with every change of the result: cached canvases of others are ignored
IRIS_MM = 5.9  # radius of the iris in canonical millimetres
FINE = 1024
# fields of either sign are stored as value / limit in 8 bits; all others lie in [0, 1]
LIMITS = {"blotch": 4.0, "mottle": 4.0, "pores": 4.0, "strand": 4.0, "hair_depth": 40.0}
RELIEFS = (
    "pores", "lips", "moles", "hair", "forehead_lines", "eye_lines", "fold_lines", "neck_lines",
)  # fmt: skip
LIMITS |= {f"{name}_{axis}": 0.8 for name in RELIEFS for axis in "xy"}


@struct.dataclass
class Patch:
    """Fields of the few texels that show one thing.

    Attributes:
      ids: [N] int32, flat texel numbers, none twice.
      cover: [N], share of the texel that shows it.
      fields: [K, N] float32, one row for each of `names`.
      names: static.
    """

    ids: jax.Array
    cover: jax.Array
    fields: jax.Array
    names: tuple[str, ...] = struct.field(pytree_node=False)

    def __getitem__(self, name: str) -> jax.Array:
        return self.fields[self.names.index(name)]


@struct.dataclass
class Canvas:
    """The texels of one model at one size; a pytree, to be passed to jitted functions.

    Attributes:
      fields: [K, T, T] uint8, one for each of `names`; read them with `canvas[name]`.
      occlusion: [T, T] in [0, 1]: 1 where the mean face at rest is open to all sides.
      patches: 'brow', 'eye', 'inside' (mouth, teeth, tongue, rims of the lids, strips of lashes) -
        those that the model has.
      names, size: static.
    """

    fields: jax.Array
    occlusion: jax.Array
    patches: dict[str, Patch]
    names: tuple[str, ...] = struct.field(pytree_node=False)
    size: int = struct.field(pytree_node=False)

    def __getitem__(self, name: str) -> jax.Array:
        """One field, [T, T] float32."""
        stored = self.fields[self.names.index(name)].astype("float32")
        if name in LIMITS:
            return (stored - 128.0) * np.float32(LIMITS[name] / 127)
        return stored * np.float32(1 / 255)


def canvas(model: MorphableModel, size: int = 512) -> Canvas:
    """The canvas of a face model; takes seconds once, then comes from the user's cache.

    Args:
      model: any model with a UV layout; what its masks and parts do not allow is left out.
      size: T, texels on a side.

    Raises:
      ValueError: no UV layout, or a size that cannot work.
    """
    if model.topology.mesh.uv is None:
        raise ValueError(
            f"the model {model.topology.name!r} has no UV layout, painted skin needs one; load a "
            "model with textures, or colour vertices with its albedo basis"
        )
    if not 32 <= size <= 8192:
        raise ValueError(f"found size={size}, wanted 32 .. 8192 texels on a side; 512 is usual")
    key = f"{VERSION} {model.topology.digest} {size}"
    digest = hashlib.blake2b(key.encode(), digest_size=10).hexdigest()
    arrays = cached(
        f"skin-{digest}.npz",
        f"the painted skin of the {model.topology.name} face model",
        lambda: build_canvas(model, size),
        read_npz,
        write_arrays,
    )
    return jax.device_put(_from_arrays(arrays, size))


def _from_arrays(arrays: dict, size: int) -> Canvas:
    patches = {
        str(name): Patch(
            arrays[f"{name}_ids"],
            arrays[f"{name}_cover"],
            arrays[f"{name}_fields"],
            tuple(map(str, arrays[f"{name}_names"])),
        )
        for name in arrays["patches"]
    }
    names = tuple(map(str, arrays["names"]))
    return Canvas(arrays["fields"], arrays["occlusion"], patches, names, size)


def build_canvas(model: MorphableModel, size: int) -> dict[str, np.ndarray]:
    """The arrays of a canvas, made without the cache."""
    head = make_head(model)
    texels = _Texels(model, head, size)
    fields = _skin_fields(head, texels)
    names = sorted(fields)
    occlusion = texels.average(texels.vertex_values(ambient_occlusion(head, texels.points)))
    arrays = dict(
        names=np.array(names),
        fields=np.stack([_stored(name, texels.average(fields[name])) for name in names]),
        occlusion=occlusion.astype(np.float32),
    )
    patches = dict(
        brow=_brow_patch(head, texels), eye=_eye_patch(head, texels), inside=_inside(head, texels)
    )
    patches = {name: patch for name, patch in patches.items() if patch is not None}
    for name, patch in patches.items():
        arrays |= {f"{name}_{f.name}": getattr(patch, f.name) for f in dataclasses.fields(patch)}
        arrays[f"{name}_names"] = np.array(patch.names)
    return arrays | dict(patches=np.array(list(patches), dtype=np.str_))


def _stored(name, values):
    if name in LIMITS:
        return np.clip(np.rint(values * (127 / LIMITS[name]) + 128), 1, 255).astype(np.uint8)
    return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)


class _Texels:
    """The covered texels of the fine grid, and their averages on the grid of the canvas."""

    def __init__(self, model: MorphableModel, head: Head, size: int):
        mesh = model.topology.mesh
        self.size, self.ratio = size, -(-FINE // size)
        self.fine = fine = size * self.ratio
        triangle, bary = texel_triangles(mesh.uv, mesh.uv_triangles, fine)
        self.at = np.flatnonzero(triangle.reshape(-1) >= 0)
        if not len(self.at):
            raise ValueError("the UV layout of the model covers no texel; wanted UVs in [0, 1]")
        self.triangle = triangle.reshape(-1)[self.at]
        self.bary = bary.reshape(-1, 3)[self.at].astype(np.float32)
        self.head, self.corners = head, head.triangles[self.triangle]
        self.points = self.vertex_values(head.vertices)
        normals = self.vertex_values(head.normals)
        self.normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        self.part = self._parts()
        self.skin = self.part == PARTS.index("skin")
        row, column = np.divmod(self.at, fine)
        self.owner = (row // self.ratio) * size + column // self.ratio
        self._count = np.bincount(self.owner, minlength=size * size)
        covered = (self._count > 0).reshape(size, size)
        nearest = nearest_covered(np.where(covered, 0, -1))
        self.source = (nearest[0] * size + nearest[1]).reshape(-1)
        self._frames(mesh)

    def vertex_values(self, values: np.ndarray) -> np.ndarray:
        """[V, ...] -> [N, ...] float32."""
        out = 0
        for k in range(3):
            weight = self.bary[:, k].reshape(-1, *(1,) * (values.ndim - 1))
            out = out + weight * values[self.corners[:, k]].astype(np.float32)
        return out

    def broad_noise(self, seed: int, wavelength: float) -> np.ndarray:
        """Noise of waves longer than the edges of the mesh, made at its vertices: cheap."""
        return self.vertex_values(noise(self.head.vertices, seed, wavelength))

    def mask(self, name: str) -> np.ndarray:
        return self.vertex_values(self.head.mask(name))

    def average(self, values: np.ndarray) -> np.ndarray:
        """[N] -> [T, T], empty texels filled from the nearest covered one."""
        total = np.bincount(self.owner, values, self.size**2)
        mean = total / np.maximum(self._count, 1)
        return mean[self.source].reshape(self.size, self.size)

    def patch(self, where: np.ndarray, fields: dict[str, np.ndarray], weight=None) -> Patch | None:
        """What covered texels `where` [n] show, on the grid of the canvas.

        Args:
          where: numbers of covered texels.
          fields: name -> [n]; averaged with `weight`.
          weight: name -> [n], for fields that only mean something in a part of them.
        """
        if not len(where):
            return None
        num, owner, weight = self.size**2, self.owner[where], weight or {}
        share = np.bincount(owner, minlength=num)
        rows = []
        for name, values in fields.items():
            w = weight.get(name, np.ones(len(where))) + 1e-6
            rows.append(np.bincount(owner, values * w, num))
            rows[-1] /= np.maximum(np.bincount(owner, w, num), 1e-9)
        ids = np.flatnonzero(share[self.source] > 0)
        source = self.source[ids]
        return Patch(
            ids.astype(np.int32),
            (share / np.maximum(self._count, 1))[source].astype(np.float32),
            np.stack(rows)[:, source].astype(np.float32),
            tuple(fields),
        )

    def _parts(self):
        """Part of each texel: that which most of the weight of its corners belongs to."""
        part = self.head.part[self.corners]
        out = part[:, 0].copy()
        mixed = np.flatnonzero((part != part[:, :1]).any(axis=1))
        part, bary = part[mixed], self.bary[mixed]
        share = ((part[:, :, None] == part[:, None, :]) * bary[:, None, :]).sum(axis=-1)
        out[mixed] = part[np.arange(len(mixed)), share.argmax(axis=1)]
        # masks know borders inside the skin better than the vertices that they were cut at
        skin = (part == PARTS.index("skin")).any(axis=1)
        for name, mask in (("eye", "eye"), ("mouth", "mouth_inside")):
            number = PARTS.index(name)
            own = mixed[skin & (part == number).any(axis=1)]
            inside = self.mask(mask)[own] > 0.5
            out[own] = np.where(inside, number, PARTS.index("skin"))
        return out

    def _frames(self, mesh):
        """Per triangle: 3D vectors that turn slopes along u and v into gradients; tangents."""
        head = self.head
        a, b, c = (head.vertices[head.triangles[:, k]] for k in range(3))
        uv = mesh.uv[mesh.uv_triangles].astype(float)
        (du1, dv1), (du2, dv2) = (uv[:, 1] - uv[:, 0]).T, (uv[:, 2] - uv[:, 0]).T
        area = du1 * dv2 - du2 * dv1
        area = np.where(np.abs(area) < 1e-12, np.inf, area)[:, None]
        e1, e2 = b - a, c - a
        along_u = (e1 * dv2[:, None] - e2 * dv1[:, None]) / area
        along_v = (e2 * du1[:, None] - e1 * du2[:, None]) / area
        normal = np.cross(e1, e2)
        square = np.maximum((normal**2).sum(axis=1, keepdims=True), 1e-12)
        normal = normal / np.sqrt(square)
        volume = (np.cross(along_u, along_v) * normal).sum(axis=1, keepdims=True)
        volume = np.where(np.abs(volume) < 1e-9, np.inf, volume)
        self._grad_u = np.cross(along_v, normal) / volume  # gradient = h_u grad_u + h_v grad_v
        self._grad_v = np.cross(normal, along_u) / volume
        self._tangent = along_u / np.maximum(np.linalg.norm(along_u, axis=1, keepdims=True), 1e-9)
        mirror = np.where(area[:, 0] > 0, -1.0, 1.0)[:, None]
        self._up = np.cross(normal, self._tangent) * mirror  # the renderer's frame
        step = np.sqrt(np.linalg.norm(np.cross(along_u, along_v), axis=1)) / self.fine
        self.blur = float(np.median(step[self.triangle][self.skin]))  # mm across a fine texel
        longest = np.maximum(*(np.linalg.norm(p, axis=1) for p in (along_u, along_v))) / self.fine
        self._longest = longest[self.triangle].astype(np.float32)

    def sharpness(self, wavelength: float) -> np.ndarray:
        """[N] in [0, 1]: what texels can show of waves of this length; 0 where UVs are stretched.

        Without it, noise turns into stripes where texels are longer than its waves.
        """
        return 1 / (1 + (2.0 * self._longest / wavelength) ** 4)

    def slopes(self, height: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slopes [N] of a height [N] mm along the tangent and against v."""
        grid = np.zeros(self.fine**2, np.float32)
        known = np.zeros(self.fine**2, bool)
        grid[self.at], known[self.at] = height, True
        grid, known = grid.reshape(self.fine, -1), known.reshape(self.fine, -1)
        out = []
        for axis in (1, 0):
            ahead, behind = np.roll(grid, -1, axis), np.roll(grid, 1, axis)
            sound = known & np.roll(known, -1, axis) & np.roll(known, 1, axis)
            out.append(np.where(sound, (ahead - behind) * (self.fine / 2), 0).reshape(-1)[self.at])
        t = self.triangle
        gradient = [
            out[0] * self._grad_u[t, c].astype(np.float32)
            + out[1] * self._grad_v[t, c].astype(np.float32)
            for c in range(3)
        ]
        return tuple(
            sum(g * f[t, c].astype(np.float32) for c, g in enumerate(gradient))
            for f in (self._tangent, self._up)
        )


def _skin_fields(head: Head, texels: _Texels) -> dict[str, np.ndarray]:
    points = texels.points
    ears = texels.mask("ears") if "ears" in head.masks else None
    face = Face(head, points, texels.normals, ears)
    skin = texels.skin.astype(np.float32)
    fields = {
        name: getattr(face, name)() * skin
        for name in (
            "cheeks", "flushed", "oily", "under_eyes", "lids", "moustache", "chin_beard",
            "jaw_beard", "temples", "crown",
        )
    }  # fmt: skip
    lips = np.clip(texels.mask("lips"), 0, 1) * skin
    free = 1 - np.clip(lips * 1.5, 0, 1)
    for name in ("moustache", "chin_beard", "jaw_beard"):
        fields[name] *= free
    fields["lips"] = lips
    fields["nostril"] = np.clip(texels.mask("nostril") * 1.2, 0, 1) * skin
    fields["blotch"] = texels.broad_noise(2, 24.0)
    fields["mottle"] = 0.75 * noise(points, 3, 8.0) * texels.sharpness(8.0)
    fields["mottle"] += 0.65 * noise(points, 4, 3.6) * texels.sharpness(3.6)
    pores = 0.7 * noise(points, 5, 1.9) + 0.6 * noise(points, 6, 1.1)
    if texels.fine > FINE:
        pores = pores + 0.5 * noise(points, 7, 0.6)
    fields["pores"] = pores = pores * texels.sharpness(1.5)
    fields |= _lips(head, face, lips)
    reliefs = dict(pores=0.030 * pores, lips=-0.14 * fields["lip_cracks"] * lips)
    for name, values in _creases(face, texels).items():
        fields[name] = values
        reliefs[name] = -{"fold_lines": 0.9, "neck_lines": 0.5}.get(name, 0.35) * values
    fields |= _marks(head, face, points, texels)
    reliefs["moles"] = 0.45 * fields["moles_3"]
    beard = fields["moustache"] + fields["chin_beard"] + fields["jaw_beard"]
    fields |= _hair(face, points, texels, beard)
    reliefs["hair"] = 0.10 * (fields["strand"] - fields.pop("whiskers"))
    fields |= _lid_lines(head, face, texels)
    for name in RELIEFS:
        fields[f"{name}_x"], fields[f"{name}_y"] = texels.slopes(reliefs[name] * skin)
    return fields


def _lips(head, face, lips):
    """The dark line between the lips, and the fine vertical cracks."""
    lm = head.landmarks
    inner = np.abs(lm[[62, 61, 60], 0]), (lm[[62, 61, 60], 1] + lm[[66, 67, 60], 1]) / 2
    ends = np.append(inner[0], face.corner[0] + 0.5), np.append(inner[1], face.corner[1])
    line = np.interp(face.a, *ends)
    between = np.exp(-(((face.y - line) / 0.8) ** 2)) * face.front
    between = between * smoothstep(face.a, face.corner[0] + 1, face.corner[0] - 4)
    bent = face.points * [1, 0.16, 0.16]
    cracks = 0.8 * noise(bent, 11, 1.7) + 0.5 * noise(bent, 12, 0.9)
    return dict(
        between=np.clip(between, 0, 1), lip_cracks=np.clip(0.25 + 0.45 * cracks, 0, 1) * lips
    )


def _creases(face, texels):
    wander = 0.55 * np.stack([texels.broad_noise(s, 11.0) for s in (21, 22)], axis=1)
    out = {}
    for name, lines in strokes.age_lines(face).items():
        wide = dict(fold_lines=1.5, neck_lines=1.3).get(name, 0.9)
        at = face.xy if name in ("forehead_lines", "neck_lines") else face.ay
        front = face.neck() if name == "neck_lines" else face.front
        near = np.flatnonzero(texels.skin & (front > 0.02))
        values = np.zeros(len(face.x), np.float32)
        values[near] = strokes.crease(lines, (at + wander)[near], wide, texels.blur)
        out[name] = np.clip(values * front, 0, 1)
    return out


def _marks(head, face, points, texels):
    """Freckles, spots of age and moles: levels of cover, each with the marks of those before."""
    from scipy.spatial import cKDTree

    areas = Face(head, head.vertices, head.normals, head.masks.get("ears"))
    skin = (head.part == 0) * (1 - np.clip(2 * head.mask("lips"), 0, 1))
    anywhere = skin * smoothstep(head.vertices[:, 2], face.depth - 45, face.depth)
    anywhere = anywhere * smoothstep(-areas.hair_depth(), 0, 4)
    kinds = dict(
        freckles=(areas.freckled() ** 1.3 * skin, 900, (0.45, 1.15), (0.3, 1.0)),
        age_spots=(areas.weathered() * anywhere, 70, (1.0, 3.2), (0.35, 1.0)),
        moles=(anywhere * (0.4 + areas.front), 24, (0.6, 1.35), (0.15, 0.45, 1.0)),
    )
    near = np.flatnonzero(texels.skin & (points[:, 2] > face.depth - 50))
    tree = cKDTree(points[near], balanced_tree=False, compact_nodes=False)
    uneven = 0.18 * noise(points[near], 41, 2.6)
    out = {}
    for seed, (name, (weight, count, radii, levels)) in enumerate(kinds.items(), 50):
        center = scatter(head.vertices, head.triangles, weight, count, seed)
        rng = np.random.default_rng(seed)
        radius = radii[0] + (radii[1] - radii[0]) * rng.random(count) ** 2
        strong = rng.uniform(0.45, 1.0, count)
        balls = tree.query_ball_point(center, 1.8 * radius[: len(center)])
        mark = np.repeat(np.arange(len(balls)), [len(ball) for ball in balls])
        texel = np.array([i for ball in balls for i in ball], np.int64)
        distance = np.linalg.norm(points[near[texel]] - center[mark], axis=1)
        cover = smoothstep(distance / radius[mark] + uneven[texel], 1.35, 0.55) * strong[mark]
        for number, level in enumerate(levels, 1):
            own = mark < level * count
            values = np.zeros(len(points), np.float32)
            np.maximum.at(values, near[texel[own]], cover[own])
            out[f"{name}_{number}"] = values
    return out


def _hair(face, points, texels, beard):
    """Levels of cover by short hair of the scalp and of the beard, and the tone of the strands."""
    depth = face.hair_depth()
    scalp = np.flatnonzero(texels.skin & (depth > -14))  # as far as a hairline may come down
    at = points[scalp]
    crown = np.array([0, face.head.vertices[:, 1].max() - 14, face.depth - 52])
    away = at - crown
    around = np.arctan2(away[:, 0], away[:, 2])
    down = np.arccos(np.clip(away[:, 1] / np.linalg.norm(away, axis=1), -1, 1))
    flow = 60 * np.stack([np.cos(around), np.sin(around), 0.16 * down], axis=1)
    flow = flow + 0.8 * texels.broad_noise(61, 26.0)[scalp][:, None]
    strand = 0.65 * noise(flow, 62, 2.2) + 0.55 * noise(flow, 63, 4.5) + 0.5 * noise(flow, 64, 13.0)
    order = rank(0.9 * noise(flow, 65, 1.5) + 0.45 * noise(at, 66, 1.1))
    chin = np.flatnonzero(beard > 0.004)
    at = points[chin] * [1, 0.33, 1]  # whiskers point down
    bristle = rank(0.92 * noise(at, 67, 1.0) + 0.35 * noise(points[chin], 68, 3.2))

    def spread(where, values):
        out = np.zeros(len(points), np.float32)
        out[where] = values
        return out

    out = dict(strand=spread(scalp, strand * texels.sharpness(2.0)[scalp]))
    out["hair_depth"] = depth + 1.2 * out["strand"]
    clear = texels.sharpness(1.2)
    out["whiskers"] = spread(chin, bristle * clear[chin])
    for number, level in enumerate((1 / 3, 2 / 3, 1.0), 1):
        for name, where, values in (("hair", scalp, order), ("bristle", chin, bristle)):
            last = 1 - 0.1 * values  # all of them: hardly any skin between
            cover = smoothstep(values, level + 0.22, level - 0.22) if level < 1 else last
            out[f"{name}_{number}"] = spread(where, level + (cover - level) * clear[where])
    return out


def _lid_lines(head, face, texels):
    """The edges of the lids and the lashes over the skin, from the front."""
    from scipy.spatial import cKDTree

    rims = strokes.lid_rims(head)
    points = np.concatenate([rims[k].reshape(-1, 3) for k in ("upper", "lower")])
    low, high = points.min(axis=0) - 7, points.max(axis=0) + 7
    near = np.flatnonzero(
        (face.points > low).all(axis=1) & (face.points < high).all(axis=1) & texels.skin
    )
    rim, lash = np.zeros((2, len(face.x)), np.float32)
    distance, index = cKDTree(points).query(face.points[near], distance_upper_bound=7)
    found = np.isfinite(distance)
    strength = np.where(index < 120, 1.0, 0.5) * found
    width = np.hypot(np.where(index < 120, 1.15, 0.8), 0.5 * texels.blur)
    rim[near] = strength * np.exp(-((np.where(found, distance, 0) / width) ** 2))
    lashes = strokes.lash_hairs(head, 71)
    for start in range(0, len(near), 200_000):
        part = near[start : start + 200_000]
        cover, _ = lashes.nearest(face.xy[part], 3, 0.8, texels.blur)
        lash[part] = cover.max(axis=1)
    return dict(rim=rim, lash=lash)


def _brow_patch(head: Head, texels: _Texels) -> Patch | None:
    face = Face(head, texels.points, texels.normals, np.zeros(len(texels.points)))
    frame = strokes.BrowFrame(head)
    s, t = frame.coordinates(face.ay)
    inside = (s > strokes.BROW_S[0]) & (s < strokes.BROW_S[1]) & (np.abs(t) < 14)
    near = np.flatnonzero(inside & (face.front > 0.1) & texels.skin)
    if not len(near):
        return None
    num = len(near)
    fields = {k: np.zeros(num) for k in ("cover_1", "s_1", "t_1", "cover_2", "s_2", "t_2")}
    at = frame.plane(s[near], t[near])
    for sign, seed in ((-1, 81), (1, 82)):
        own = np.flatnonzero(face.x[near] * sign >= 0)
        hairs, roots = strokes.brow_hairs(frame, seed)
        cover, owner = hairs.nearest(at[own], 16, 0.9, texels.blur)
        first = cover.argmax(axis=1)
        rows = np.arange(len(own))
        other = np.where(owner == owner[rows, first][:, None], 0, cover)
        for number, (values, best) in enumerate(((cover, first), (other, other.argmax(axis=1))), 1):
            hair = np.maximum(owner[rows, best], 0)
            fields[f"cover_{number}"][own] = values[rows, best]
            fields[f"s_{number}"][own] = roots[hair, 0]
            fields[f"t_{number}"][own] = roots[hair, 1]
    weights = {f"{k}_{i}": fields[f"cover_{i}"] for i in (1, 2) for k in "st"}
    return texels.patch(near, fields | dict(s=s[near], t=t[near]), weights)


def _eye_patch(head: Head, texels: _Texels) -> Patch | None:
    where = np.flatnonzero(texels.part == PARTS.index("eye"))
    points = texels.points[where]
    side = (points[:, 0] > 0).astype(int)
    offset = points - head.eyes[side]
    x, y = offset[:, 0] * np.where(side == 1, 1, -1) / IRIS_MM, offset[:, 1] / IRIS_MM
    radius = np.hypot(x, y)
    if head.eyeballs:
        radius = np.where(offset[:, 2] > 0, radius, 6.0)
    angle = np.arctan2(offset[:, 1], offset[:, 0])
    rays = np.stack([4.5 * np.cos(angle), 4.5 * np.sin(angle), 0.55 * radius + 9 * side], axis=1)
    fibre = 0.75 * noise(rays, 91, 0.75) + 0.5 * noise(rays, 92, 0.36)
    web = np.abs(noise(points * [0.6, 1, 1], 93, 4.0) + 0.35 * noise(points, 94, 1.6))
    vein = np.exp(-((web / 0.10) ** 2)) * smoothstep(radius, 1.15, 2.0)
    lm = head.landmarks
    corner = np.where(side == 1, 1, -1)[:, None] * [abs(lm[39, 0]), 0, 0] + [0, lm[39, 1], 0]
    caruncle = bump(points[:, :2], corner[:, :2], (1.7, 1.4))
    return texels.patch(
        where,
        dict(radius=radius, x=offset[:, 0] / IRIS_MM, y=y, fibre=fibre, vein=vein,
             caruncle=np.clip(1.2 * caruncle, 0, 1)),
    )  # fmt: skip


def _inside(head: Head, texels: _Texels) -> Patch | None:
    """Mouth, tongue, gums, teeth, rims of the lids and strips of lashes: shares of each."""
    where = np.flatnonzero((texels.part != 0) & (texels.part != PARTS.index("eye")))
    points, part = texels.points[where], texels.part[where]
    is_part = {name: (part == i).astype(np.float32) for i, name in enumerate(PARTS)}
    teeth = is_part["upper_teeth"] + is_part["lower_teeth"]
    enamel, gap = np.zeros((2, len(where)), np.float32)
    for name in ("upper_teeth", "lower_teeth"):
        own = part == PARTS.index(name)
        if own.any():
            enamel[own], gap[own] = _teeth(points[own], name == "upper_teeth")
    lips = head.landmarks[[61, 62, 63, 65, 66, 67]].mean(axis=0)
    depth = lips[2] - points[:, 2]
    # light falls off behind the lips: pigment, not light, for no renderer shades a closed mouth
    dim = np.interp(depth, [2, 14, 34, 60], [1.0, 0.85, 0.30, 0.12])
    dim = np.where(is_part["lid"] + is_part["lash"] > 0, 1.0, dim)
    hair = smoothstep(noise(points * [1, 0.2, 0.2], 96, 1.1), -0.6, 0.6)
    hair = hair * np.where(points[:, 1] > head.landmarks[[36, 45], 1].mean(), 1.0, 0.45)
    return texels.patch(
        where,
        dict(mouth=is_part["mouth"], tongue=is_part["tongue"], gum=teeth * (1 - enamel),
             enamel=teeth * enamel, gap=gap, rim=is_part["lid"], lash=is_part["lash"], hair=hair,
             dim=dim, rough=noise(points, 95, 2.4)),
    )  # fmt: skip


# width of teeth from the middle backward, mm: incisors, canine, premolars, molars (upper jaw)
_TOOTH_MM = np.array([8.5, 6.6, 7.6, 7.0, 6.8, 10.2, 9.8])


def _teeth(points, upper):
    """Enamel (1) against gum (0), and the dark gaps between teeth, of an arch of teeth."""
    x, y, z = points.T
    middle_z = z.max() - 0.75 * np.ptp(x) / 2
    angle = np.arctan2(np.abs(x), z - middle_z)
    bins = np.linspace(0, np.pi * 0.75, 60)
    number = np.clip(np.digitize(angle, bins) - 1, 0, 58)
    radius = np.hypot(x, z - middle_z)
    mean = np.bincount(number, radius, 59) / np.maximum(np.bincount(number, minlength=59), 1)
    arc = np.concatenate([[0], np.cumsum(np.where(mean > 0, mean, mean.max()) * np.diff(bins))])
    along = np.interp(angle, bins, arc)
    widths = _TOOTH_MM * (1.0 if upper else 0.82)
    edges = np.concatenate([[0], np.cumsum(widths)])
    nearest = np.abs(along[:, None] - edges).min(axis=1)
    tooth = np.clip(np.searchsorted(edges, along) - 1, 0, len(widths) - 1)
    place = (along - edges[tooth]) / widths[tooth]  # 0 to 1 across a tooth
    edge = np.quantile(y, 0.02 if upper else 0.98)
    height = (y - edge) if upper else (edge - y)
    crown = 9.2 - 1.9 * (2 * place - 1) ** 2 - 0.25 * np.minimum(tooth, 4)
    enamel = smoothstep(height, crown + 0.5, crown - 0.3)
    gap = np.exp(-((nearest / 0.48) ** 2)) * enamel * smoothstep(height, -0.5, 1.5)
    return enamel, gap
