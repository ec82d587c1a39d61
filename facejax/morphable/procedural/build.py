"""Builds the procedural morphable model: draws heads and paints, runs PCA, returns plain arrays."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from facejax.morphable.procedural.blendshapes import EXPRESSION_NAMES
from facejax.morphable.procedural.head import draw_identity, head_points
from facejax.morphable.procedural.landmarks import landmark_samples
from facejax.morphable.procedural.layout import CanonicalLayout
from facejax.morphable.procedural.paint import Painter, draw_paint
from facejax.morphable.procedural.regions import MASK_NAMES
from facejax.morphable.storage import pack_meta

VERSION = 4  # raise it with every change of the result: cached models of other versions are ignored
MM_PER_CM = 10.0
_SOURCE = "Procedural head of facejax: formulas only, no scan, photograph or licensed data."
_LICENCE = "Same licence as facejax."


class HeadGrid:
    """The UV grid of the head: rows x cols samples, welded at the crown and at the seam.

    Sample (i, j) has v = i / (rows - 1), u = j / (cols - 1). All samples of row 0 are the crown,
    one vertex; column cols - 1 is column 0 again. UV vertices are the samples, row by row.

    Attributes:
      u, v: [rows * cols].
      vertex: [rows * cols] int32, the welded vertex of each sample.
      sample: [V] int32, one sample of each vertex.
      triangles, uv_triangles: [F, 3] int32, counter-clockwise from outside.
    """

    def __init__(self, rows: int, cols: int):
        v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, cols), indexing="ij")
        self.u, self.v = u.reshape(-1), v.reshape(-1)
        number = np.zeros((rows, cols), np.int32)
        number[1:, :-1] = 1 + np.arange((rows - 1) * (cols - 1)).reshape(rows - 1, cols - 1)
        number[:, -1] = number[:, 0]
        self.vertex = number.reshape(-1)
        self.sample = np.unique(self.vertex, return_index=True)[1].astype(np.int32)
        i = np.arange(rows * cols, dtype=np.int32).reshape(rows, cols)
        a, b, c, d = (q.reshape(-1) for q in (i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]))
        quads = np.stack([np.stack([a, d, c], -1), np.stack([a, c, b], -1)], axis=1)
        triangles = quads.reshape(-1, 3)
        welded = self.vertex[triangles]
        whole = (welded != np.roll(welded, 1, axis=1)).all(axis=1)  # not so at the crown
        self.uv_triangles, self.triangles = triangles[whole], welded[whole]

    def weld(self, values: np.ndarray) -> np.ndarray:
        """[..., S, C] per sample -> [..., V, C] per vertex: the mean over welded samples."""
        welded = values[..., self.sample, :].copy()
        rows_of_crown = self.vertex == 0
        welded[..., 0, :] = values[..., rows_of_crown, :].mean(axis=-2)
        return welded


def texel_layout(size: int) -> CanonicalLayout:
    """The layout at the texel centres of a [size, size] texture, samples row by row."""
    centers = (np.arange(size) + 0.5) / size
    v, u = np.meshgrid(centers, centers, indexing="ij")
    return CanonicalLayout(u.reshape(-1), v.reshape(-1))


def pca(samples: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal components by the Gram matrix (fewer samples than dimensions).

    Args:
      samples: [N, D].
      num: how many, at most N - 1.

    Returns:
      mean [D], unit components [num, D], standard deviations [num].
    """
    mean = samples.mean(axis=0)
    centered = samples - mean
    gram = centered @ centered.T
    variance, vectors = np.linalg.eigh(gram.astype(np.float64))
    variance, vectors = variance[::-1][:num], vectors[:, ::-1][:, :num]
    # eigenvectors have no sign of their own: fix it, so that platforms agree
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(num)])
    variance = np.maximum(variance, 1e-12)
    scaled = (vectors / np.sqrt(variance)).astype(samples.dtype)
    return mean, scaled.T @ centered, np.sqrt(variance / (len(samples) - 1))


def paint_basis(
    vertex_paints: np.ndarray, texture_paints: np.ndarray, num: int
) -> dict[str, np.ndarray]:
    """Albedo components per vertex by PCA, and the texture components with the same coefficients.

    Args:
      vertex_paints: [N, V, 3], albedos of the same draws as
      texture_paints: [N, T, T, 3].
      num: number of components.

    Returns:
      mean_albedo, alb_basis, alb_std, mean_texture, tex_basis as in a model file.
    """
    draws = len(vertex_paints)
    flat = vertex_paints.reshape(draws, -1)
    mean, basis, std = pca(flat, num)
    coeffs = ((flat - mean) @ basis.T / std).astype(np.float64)
    textures = texture_paints.reshape(draws, -1)
    mean_texture = textures.mean(axis=0)
    solve = np.linalg.pinv(coeffs).astype(
        np.float32
    )  # least squares, one small matrix for all texels
    tex_basis = (solve @ (textures - mean_texture)) / std[:, None].astype(np.float32)
    return dict(
        mean_albedo=mean.reshape(vertex_paints.shape[1:]),
        alb_basis=basis.reshape(num, *vertex_paints.shape[1:]).astype(np.float16),
        alb_std=std.astype(np.float32),
        mean_texture=mean_texture.reshape(texture_paints.shape[1:]),
        tex_basis=tex_basis.reshape(num, *texture_paints.shape[1:]).astype(np.float16),
    )


def build_procedural(
    rows: int = 128,
    cols: int = 128,
    n_id: int = 80,
    n_alb: int = 32,
    draws: int = 200,
    seed: int = 0,
    texture_size: int = 256,
) -> dict:
    """The arrays of a model file (`facejax.morphable.storage`), mm, deterministic for its
    arguments.

    `mean_shape` is the anatomical mean (every parameter 0), not the mean of the draws. Identity and
    albedo bases are rounded to float16 (below 0.01 mm on a face).

    Args:
      rows: of the grid, from the crown to the neck.
      cols: of the grid, around the head.
      n_id: identity components, below `draws`.
      n_alb: albedo components, below `draws`.
      draws: random heads and paints that the components are computed from.
      seed: of the draws.
      texture_size: T, texels on a side.

    Raises:
      ValueError: sizes that cannot work.
    """
    if min(rows, cols) < 32:
        raise ValueError(
            f"found a grid of {rows} x {cols}, wanted at least 32 x 32: eyes and lips need them; "
            "raise rows and cols (48 is a good small size)"
        )
    if not 0 < max(n_id, n_alb) < draws or min(n_id, n_alb) < 1:
        raise ValueError(
            f"found n_id={n_id}, n_alb={n_alb} and draws={draws}, wanted 1 <= n_id, n_alb < draws; "
            "raise draws"
        )
    if texture_size < 8:
        raise ValueError(f"found texture_size={texture_size}, wanted at least 8 texels")
    grid = HeadGrid(rows, cols)
    layout = CanonicalLayout(grid.u, grid.v)
    rng = np.random.default_rng(seed)

    mean = head_points(layout)

    def identity_points(draw):
        anatomy, warp = draw
        return grid.weld(head_points(layout, anatomy, warp=warp)).astype(np.float32)

    with ThreadPoolExecutor() as pool:  # numpy lets go of the interpreter while it computes
        identities = np.stack(
            list(pool.map(identity_points, [draw_identity(rng) for _ in range(draws)]))
        )
    _, id_basis, id_std = pca(identities.reshape(draws, -1), n_id)
    expressions = np.stack(
        [grid.weld(head_points(layout, expression={n: 1.0}) - mean) for n in EXPRESSION_NAMES]
    )
    painter, texel_painter = Painter(layout), Painter(texel_layout(texture_size))
    paints = [draw_paint(rng) for _ in range(draws)]
    with ThreadPoolExecutor() as pool:
        vertex_paints = np.stack(list(pool.map(lambda p: grid.weld(painter(p)), paints)))
        texture_paints = np.stack(list(pool.map(texel_painter, paints)))
    texture_paints = texture_paints.reshape(draws, texture_size, texture_size, 3)
    samples68, samples5 = landmark_samples(layout)
    masks = np.stack([painter.masks[name] for name in MASK_NAMES])
    return pack_meta(
        dict(
            mean_shape=(MM_PER_CM * grid.weld(mean)).astype(np.float32),
            id_basis=id_basis.reshape(n_id, -1, 3).astype(np.float16),
            id_std=(MM_PER_CM * id_std).astype(np.float32),
            exp_basis=(MM_PER_CM * expressions).astype(np.float32),
            exp_std=np.ones(len(expressions), np.float32),
            **paint_basis(vertex_paints, texture_paints, n_alb),
            triangles=grid.triangles,
            uv=np.stack([grid.u, grid.v], axis=-1).astype(np.float32),
            uv_triangles=grid.uv_triangles,
            uv_vertex=grid.vertex,
            landmarks68=grid.vertex[samples68],
            landmarks5=grid.vertex[samples5],
            mask_names=np.array(MASK_NAMES),
            masks=grid.weld(masks[..., None])[..., 0].astype(np.float32),
            exp_names=np.array(EXPRESSION_NAMES),
        ),
        name="procedural",
        source=_SOURCE,
        licence=_LICENCE,
        uv_wraps_u=True,
    )
