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


def write_parameters(path, rng, n_shape=199, n_exp=29):
    """One picture's parameters; returns them."""
    fields = dict(
        Shape_Para=rng.standard_normal((n_shape, 1)) * 1e5,
        Exp_Para=rng.standard_normal((n_exp, 1)),
        Tex_Para=rng.standard_normal((n_shape, 1)) * 1e3,
        Pose_Para=rng.standard_normal((1, 7)).astype(np.float32),
        Illum_Para=rng.uniform(size=(1, 10)),
        Color_Para=rng.uniform(size=(1, 7)).astype(np.float32),
        pt2d=rng.uniform(0, 450, (2, 68)),
        pt3d_68=rng.uniform(0, 450, (3, 68)),
        roi=np.array([[-3, 5, 447, 455]], np.int16),
    )
    savemat(path, fields)
    return fields
