"""A tiny folder laid out like a checkout of ICT-FaceKit: seven small patches, six of them kept."""

import json

import numpy as np

from facejax.morphable.ict import REGIONS, Region

SIDE = 12  # vertices along each patch
PATCH = SIDE * SIDE
# the OBJ also has a patch that is left out (like teeth), between the mouth and the eyes
_STARTS = (0, 1, 2, 3, 5, 6)
TOY_REGIONS = tuple(
    Region(r.name, start * PATCH, (start + 1) * PATCH, r.tile, r.scale)
    for r, start in zip(REGIONS, _STARTS, strict=True)
)
EXPRESSIONS = ("jawOpen", "mouthSmile_L", "mouthSmile_R")
NUM_IDENTITIES = 2


def _patch_points(number):
    t = np.linspace(-1, 1, SIDE)
    y, x = np.meshgrid(t, t, indexing="ij")
    if number >= 5:  # eyeballs: caps of spheres at the height of the eyes
        side = 1 if number == 5 else -1
        z = np.sqrt(1.54**2 - x**2 - y**2 * 0.9)
        return np.stack([x + 3.1 * side, y * np.sqrt(0.9) + 3.6, z + 7.9], axis=-1)
    center_z = (10.5, 4.0, -8.0, 8.0, 0.0)[number]
    return np.stack([6 * x, 8 * y, center_z - 0.05 * x**2], axis=-1)


def neutral_points():
    """[7 * PATCH, 3] cm."""
    return np.concatenate([_patch_points(i).reshape(-1, 3) for i in range(7)])


def write_folder(root):
    """Writes FaceXModel under `root`; returns (neutral, identities, expressions) as arrays."""
    folder = root / "FaceXModel"
    folder.mkdir()
    rng = np.random.default_rng(0)
    neutral = neutral_points()
    tile = (0, 0, 1, 1, 3, 0, 0)  # UDIM column of each patch
    t = np.linspace(0.05, 0.95, SIDE)
    v, u = np.meshgrid(t, t, indexing="ij")
    uv = np.concatenate([np.stack([u + c, v], -1).reshape(-1, 2) for c in tile])
    index = np.arange(PATCH).reshape(SIDE, SIDE)
    quads = np.stack(
        [index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], axis=-1
    ).reshape(-1, 4)
    faces = np.concatenate([quads + PATCH * i for i in range(7)])

    def write(name, points, with_faces=False):
        lines = ["v {:.6f} {:.6f} {:.6f}".format(*p) for p in points]
        if with_faces:
            lines += ["vt {:.6f} {:.6f}".format(*c) for c in uv]
            lines += ["f " + " ".join(f"{k + 1}/{k + 1}" for k in face) for face in faces]
            lines += ["f 1/1 2/2 13/13"]  # some faces are triangles
        (folder / name).write_text("\n".join(lines) + "\n")

    identities = neutral + 0.1 * rng.standard_normal((NUM_IDENTITIES, *neutral.shape))
    expressions = neutral + 0.1 * rng.standard_normal((len(EXPRESSIONS), *neutral.shape))
    write("generic_neutral_mesh.obj", neutral, with_faces=True)
    for i, points in enumerate(identities):
        write(f"identity{i:03d}.obj", points)
    for name, points in zip(EXPRESSIONS, expressions, strict=True):
        write(f"{name}.obj", points)
    landmarks = np.linspace(0, PATCH - 1, 68).astype(int).tolist()
    (folder / "vertex_indices.json").write_text(
        json.dumps(dict(expressions=EXPRESSIONS, idx_to_landmark_verts=landmarks))
    )
    return neutral, identities, expressions
