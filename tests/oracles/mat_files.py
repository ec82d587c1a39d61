"""Small Matlab files in the layout of face3d and of 300W-LP."""

import numpy as np
from scipy.io import savemat


def write_bfm(path, rng, n_shape=6, n_exp=4, side=9):
    """A bumpy square as BFM.mat; returns its fields."""
    x, y = np.meshgrid(np.linspace(-7e4, 7e4, side), np.linspace(-9e4, 9e4, side))
    z = 5e4 - (x**2 + y**2) / 3e5
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    count = len(points)
    i = np.arange(count).reshape(side, side)
    a, b, c, d = i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]
    # clockwise seen from +z (y grows with the row)
    faces = np.concatenate(
        [np.stack(t, -1).reshape(-1, 3) for t in ((a, c, b), (a, d, c))]
    )  # fmt: skip
    fields = dict(
        shapeMU=points.reshape(-1, 1),
        shapePC=np.linalg.qr(rng.standard_normal((3 * count, n_shape)))[0],
        shapeEV=np.geomspace(1e6, 1e5, n_shape)[:, None],
        texMU=rng.uniform(60, 200, (3 * count, 1)),
        texPC=rng.standard_normal((3 * count, n_shape)),
        texEV=np.geomspace(9, 2, n_shape)[:, None],
        expMU=rng.standard_normal((3 * count, 1)) * 100,
        expPC=rng.standard_normal((3 * count, n_exp)) * 2000,
        expEV=np.geomspace(3, 0.5, n_exp)[:, None],
        tri=faces.T + 1.0,
        kpt_ind=rng.integers(1, count + 1, (1, 68)).astype(float),
    )
    savemat(path, {"model": fields})
    return fields


def write_parameters(path, rng, n_shape=199, n_exp=29, kind="300w"):
    """One picture's parameters, of 300W-LP and 300W-3D or of 'aflw2000'; returns them."""
    fields = dict(
        Shape_Para=rng.standard_normal((n_shape, 1)) * 1e5,
        Exp_Para=rng.standard_normal((n_exp, 1)),
        Tex_Para=rng.standard_normal((n_shape, 1)) * 1e3,
        Pose_Para=rng.standard_normal((1, 7)).astype(np.float32),
        Illum_Para=rng.uniform(size=(1, 10)),
        Color_Para=rng.uniform(size=(1, 7)).astype(np.float32),
        pt2d=rng.uniform(0, 450, (2, 68)),
        roi=np.array([[-3, 5, 447, 455]], np.int16),
    )
    if kind == "aflw2000":
        fields |= dict(
            pt2d=np.where(rng.uniform(size=21) < 0.3, -1.0, rng.uniform(0, 450, (2, 21))),
            pt3d_68=rng.uniform(0, 450, (3, 68)),
            pt3d_21=rng.uniform(0, 450, (3, 21)),
            m=np.array([[1]], np.uint8),
        )
    savemat(path, fields)
    return fields


def write_bfm09_folder(folder, rng, side=9, n_shape=12, n_exp=7):
    """Small stand-ins of the files that Deep3D's front model is made from; returns their arrays.

    A domed square of `side`^2 vertices, of which the border is cut twice: Basel, expression set,
    front.
    """
    x, y = np.meshgrid(np.linspace(-9e4, 9e4, side), np.linspace(-1e5, 1e5, side))
    z = 5e4 - (x**2 + y**2) / 3e5
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3) + 3e3
    count = len(points)
    trim = np.setdiff1d(np.arange(count), [0, count - 1])  # two corners go
    number = np.full(count, -1)
    number[trim] = np.arange(len(trim))
    inner = np.arange(count).reshape(side, side)[1:]  # the first row goes
    front = inner.reshape(-1)
    front = front[number[front] >= 0]
    place = np.full(count, -1)
    place[front] = np.arange(len(front))
    a, b, c, d = inner[:-1, :-1], inner[:-1, 1:], inner[1:, 1:], inner[1:, :-1]
    faces = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    faces = place[faces]
    faces = faces[(faces >= 0).all(axis=1)]
    inside = np.flatnonzero(np.abs(points[front, 0]) < 7e4)
    skin = (np.abs(points[front, 1]) < 5e4).astype(np.float32)
    arrays = dict(
        shapeMU=np.float32(points.reshape(-1, 1)),
        shapePC=np.float32(np.linalg.qr(rng.standard_normal((3 * count, n_shape)))[0]),
        shapeEV=np.float32(np.geomspace(4e4, 3e3, n_shape)[:, None]),
        texMU=np.float32(rng.uniform(60, 200, (3 * count, 1))),
        texPC=np.float32(np.linalg.qr(rng.standard_normal((3 * count, n_shape)))[0]),
        texEV=np.float32(np.geomspace(300, 30, n_shape)[:, None]),
        exp_pc=np.float32(np.linalg.qr(rng.standard_normal((3 * len(trim), n_exp)))[0].T),
        exp_std=np.geomspace(3e4, 2e3, n_exp),
        trim=trim,
        front_in_trim=number[front],
        tri=faces,
        keypoints=rng.integers(0, len(front), 68),
        inside=inside,
        skin=skin,
    )
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / "01_MorphableModel.mat", {k: arrays[k] for k in (
        "shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV")})  # fmt: skip
    savemat(folder / "BFM_exp_idx.mat", dict(trimIndex=(trim[:, None] + 1).astype(np.uint16)))
    idx = (number[front][:, None] + 1).astype(np.float32)
    savemat(folder / "BFM_front_idx.mat", dict(idx=idx))
    mask = np.zeros((1, len(front)), np.float32)
    mask[0, inside] = 1
    savemat(
        folder / "facemodel_info.mat",
        dict(
            tri=(faces + 1).astype(np.float32),
            point_buf=np.zeros((len(front), 8), np.float32),
            keypoints=(arrays["keypoints"][None] + 1).astype(np.float32),
            frontmask2=mask,
            frontmask2_idx=(inside[:, None] + 1).astype(np.float32),
            tri_mask2=np.zeros((1, 3), np.float32),
            skinmask=skin[None],
        ),
    )
    (folder / "std_exp.txt").write_text(" ".join(f"{v:.9g}" for v in arrays["exp_std"]) + "\n")
    with open(folder / "Exp_Pca.bin", "wb") as file:
        np.array([n_exp], "<i4").tofile(file)
        rng.standard_normal(3 * len(trim)).astype("<f4").tofile(file)  # a mean, which nobody uses
        arrays["exp_pc"].astype("<f4").tofile(file)
    return arrays
