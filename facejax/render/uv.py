"""UV space: vertex attributes to maps and back.

UV coordinates never change, so the layout is rasterised once per topology and size, on the host in
float64, and kept. Row 0 of a map is v = 0; texel (r, c) has its centre at u = (c + .5) / W,
v = (r + .5) / H. Where seams split a vertex, its UV copies hold the same value when baked and are
averaged when read back.
"""

import functools
import weakref

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from facejax.geometry.mesh import MeshTopology
from facejax.render import platform
from facejax.render.platform import live, map_images, pin, planes, sum_products, take
from facejax.render.topology import uv_layout

_FRAGMENTS = 1 << 21  # rasterised at a time


@struct.dataclass
class UVAtlas:
    """Which surface point each texel of a UV map shows, and where each vertex lies in it.

    A pytree of numpy arrays: close over it, or pass it to compiled functions as an argument.

    Attributes:
      triangle_id: [H, W] int32, -1 outside the layout.
      barycentric: [H, W, 3] float32, 0 outside the layout.
      mask: [H, W] bool, texels with a surface point (of at least one sub-sample).
      sample_vertex: [N, 3, H * W] int32, corners of the triangle at each of N sub-samples.
      sample_weight: [N, 3, H * W] float32, their weights in a texel's value.
      texel: [S, 4] int32, flat texels around each UV vertex.
      texel_weight: [S, 4] float32, bilinear over the covered ones; sums to 1.
      copies: [V, K] int32, UV vertices of each vertex.
      copy_weight: [V, K] float32; sums to 1, or 0 for vertices outside the layout.
      wraps_u: columns continue from the last to the first (static).
    """

    triangle_id: np.ndarray
    barycentric: np.ndarray
    mask: np.ndarray
    sample_vertex: np.ndarray
    sample_weight: np.ndarray
    texel: np.ndarray
    texel_weight: np.ndarray
    copies: np.ndarray
    copy_weight: np.ndarray
    wraps_u: bool = struct.field(pytree_node=False, default=False)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of its maps."""
        return self.mask.shape

    def dilate(self, uv_map: jax.Array, texels: int) -> jax.Array:
        """Fills texels near the layout from their neighbours, so that filtering finds no
        background.

        Repeats: an empty texel becomes the mean of its filled 4-neighbours.

        Args:
          uv_map: [..., H, W, C].
          texels: how far to grow.

        Returns:
          [..., H, W, C]; covered texels are unchanged.
        """
        filled = self.mask
        out = jnp.where(self._like(filled, uv_map), uv_map, 0.0)
        for _ in range(texels):
            xp = np if isinstance(filled, np.ndarray) else jnp  # host masks: nothing to fold
            weight = filled.astype(np.float32)
            count = sum(self._shifted(weight[..., None], xp))[..., 0]
            new = (count > 0) & ~filled
            inverse = xp.where(new, 1.0 / xp.maximum(count, 1.0), 0.0).astype(np.float32)
            mean = sum(self._shifted(out, jnp)) * self._like(inverse, out)
            out = jnp.where(self._like(new, out), mean, out)
            filled = filled | new
        return out

    def _shifted(self, x, xp):
        """The four neighbours' values, zero beyond the border."""
        up = xp.concatenate([x[..., 1:, :, :], xp.zeros_like(x[..., :1, :, :])], axis=-3)
        down = xp.concatenate([xp.zeros_like(x[..., :1, :, :]), x[..., :-1, :, :]], axis=-3)
        if self.wraps_u:
            return up, down, xp.roll(x, 1, axis=-2), xp.roll(x, -1, axis=-2)
        left = xp.concatenate([x[..., 1:, :], xp.zeros_like(x[..., :1, :])], axis=-2)
        right = xp.concatenate([xp.zeros_like(x[..., :1, :]), x[..., :-1, :]], axis=-2)
        return up, down, left, right

    @staticmethod
    def _like(plane, x):
        """[H, W] with the rank of x [..., H, W, C]."""
        return plane.reshape((1,) * (x.ndim - 3) + (*plane.shape, 1))


_cache: "weakref.WeakKeyDictionary[MeshTopology, dict]" = weakref.WeakKeyDictionary()


def uv_atlas(
    topology: MeshTopology, size: int | tuple[int, int], *, supersample: int = 1
) -> UVAtlas:
    """The UVAtlas of a topology; made once per size on the host and kept while the topology lives.

    Args:
      topology: with a UV layout.
      size: (height, width), or one number for a square.
      supersample: samples per texel along each axis. With 1, a texel counts if its centre is
        covered; with more, also texels that the layout touches only in part, and `bake` averages
        over their covered samples.

    Returns:
      UVAtlas.

    Raises:
      ValueError: if the topology has no UV layout.
    """
    if topology.uv is None:
        raise ValueError(
            "this topology has no UV layout, so no UV map can be made; build MeshTopology with uv."
        )
    size = (size, size) if isinstance(size, int) else tuple(size)
    made = _cache.setdefault(topology, {})
    key = (size, supersample)
    if key not in made:
        made[key] = _make_atlas(topology, *size, supersample)
    return made[key]


def bake(atlas: UVAtlas, attributes: jax.Array) -> jax.Array:
    """Vertex attributes as a UV map; differentiable.

    Args:
      atlas: from `uv_atlas`.
      attributes: [..., V, C] float32.

    Returns:
      [..., H, W, C]; 0 where the atlas's mask is False, whatever the attributes are.
    """
    attributes = jnp.asarray(attributes, jnp.float32)
    if attributes.ndim < 2 or attributes.shape[-2] != len(atlas.copies):
        raise ValueError(
            f"attributes have shape {attributes.shape}; wanted [..., {len(atlas.copies)}, C], one "
            "row per vertex of the atlas's topology."
        )
    arrays = atlas.sample_vertex, atlas.sample_weight, atlas.mask
    return _bake(attributes, *arrays, cpu=platform.on_cpu())


@functools.partial(jax.jit, static_argnames=("cpu",))
def _bake(attributes, vertex, weight, mask, *, cpu):
    def image(attributes):
        flag = live(attributes, cpu)
        corners = [v for sample in vertex for v in sample]
        weights = [w for sample in weight for w in sample]

        def one(plane):
            mixed = sum_products(weights, [take(plane, v) for v in corners])
            return jnp.where(mask, mixed.reshape(mask.shape), 0.0)

        columns = pin(flag, lambda: planes(attributes))
        return jnp.stack([pin(flag, functools.partial(one, c)) for c in columns], axis=-1)

    return map_images(image, (attributes,), (2,), cpu)


def unbake(atlas: UVAtlas, uv_map: jax.Array) -> jax.Array:
    """Vertex attributes read from a UV map: bilinear, mean over seam copies; differentiable.

    Texels outside the atlas's mask never contribute.

    Args:
      atlas: from `uv_atlas`.
      uv_map: [..., H, W, C].

    Returns:
      [..., V, C]; 0 for vertices outside the layout.
    """
    uv_map = jnp.asarray(uv_map)
    if uv_map.ndim < 3 or uv_map.shape[-3:-1] != atlas.size:
        raise ValueError(
            f"the map has shape {uv_map.shape}; wanted [..., {atlas.size[0]}, {atlas.size[1]}, C]. "
            "Make an atlas of the map's size with uv_atlas."
        )
    *batch, height, width, channels = uv_map.shape
    flat = uv_map.reshape(*batch, height * width, channels)
    lead = (1,) * len(batch)
    total = 0.0
    for k in range(4):
        w = atlas.texel_weight[:, k].reshape(*lead, -1, 1)
        total = total + jnp.where(w > 0, jnp.take(flat, atlas.texel[:, k], axis=-2), 0.0) * w
    out = 0.0
    for k in range(atlas.copies.shape[1]):
        w = atlas.copy_weight[:, k].reshape(*lead, -1, 1)
        out = out + jnp.where(w > 0, jnp.take(total, atlas.copies[:, k], axis=-2), 0.0) * w
    return out


def _make_atlas(topology, height, width, supersample):
    uv, triangles = uv_layout(topology)
    wraps = topology.uv_wraps_u
    fine = (height * supersample, width * supersample)
    ids, bary = _rasterize_layout(uv, triangles, *fine, wraps)

    def split(x):  # [H s, W s, ...] -> [s * s, H, W, ...]
        x = x.reshape(height, supersample, width, supersample, *x.shape[2:])
        return np.moveaxis(x, (1, 3), (0, 1)).reshape(-1, height, width, *x.shape[4:])

    ids, bary = split(ids), split(bary)
    hits = ids >= 0
    mask = hits.any(axis=0)
    steps = np.arange(supersample) - (supersample - 1) / 2
    off_center = (steps[:, None] ** 2 + steps[None, :] ** 2).reshape(-1, 1, 1)
    best = np.argmin(np.where(hits, off_center, np.inf), axis=0)[None]
    best_id = np.take_along_axis(ids, best, axis=0)
    # samples beside the layout weigh nothing, but read no triangle that their texel does not show
    corners = topology.triangles if len(topology.triangles) else np.zeros((1, 3), np.int32)
    vertex = corners[np.maximum(np.where(hits, ids, best_id), 0)]
    weight = bary / np.maximum(hits.sum(axis=0), 1)[None, ..., None]
    texel, texel_weight = _texels_of_vertices(topology.uv, mask, wraps)
    copies, copy_weight = _copies(topology)
    num = supersample**2
    return UVAtlas(
        triangle_id=best_id[0],
        barycentric=np.take_along_axis(bary, best[..., None], axis=0)[0].astype(np.float32),
        mask=mask,
        sample_vertex=np.moveaxis(vertex, -1, 1).reshape(num, 3, -1).astype(np.int32),
        sample_weight=np.moveaxis(weight, -1, 1).reshape(num, 3, -1).astype(np.float32),
        texel=texel,
        texel_weight=texel_weight,
        copies=copies,
        copy_weight=copy_weight,
        wraps_u=wraps,
    )


def _rasterize_layout(uv, triangles, height, width, wraps):
    """Triangle ids [H, W], the larger where they overlap, and float64 barycentrics [H, W, 3]."""
    ids = np.full(height * width, -1, np.int32)
    order = np.argsort(triangles, axis=1, kind="stable")  # edges evaluated alike on both sides
    ordered = np.take_along_axis(triangles, order, axis=1)
    point = uv.astype(np.float64) * (width, height) - 0.5
    corner = point[ordered]  # [F, 3, 2]
    low = np.ceil(corner.min(axis=1) - 1e-9).astype(np.int64)
    high = np.floor(corner.max(axis=1) + 1e-9).astype(np.int64)
    low[:, 1], high[:, 1] = np.maximum(low[:, 1], 0), np.minimum(high[:, 1], height - 1)
    if not wraps:
        low[:, 0], high[:, 0] = np.maximum(low[:, 0], 0), np.minimum(high[:, 0], width - 1)
    extent = np.maximum(high - low + 1, 0)
    count = extent.prod(axis=1)
    end = np.cumsum(count)
    begin = 0
    while begin < len(count):
        done = end[begin - 1] if begin else 0
        stop = max(begin + 1, int(np.searchsorted(end, done + _FRAGMENTS)))
        face = np.repeat(np.arange(begin, stop), count[begin:stop])
        local = np.arange(len(face)) - (end[face] - count[face] - done)
        x = low[face, 0] + local % np.maximum(extent[face, 0], 1)
        y = low[face, 1] + local // np.maximum(extent[face, 0], 1)
        edge = _edge_functions(corner[face], x, y)
        inside = (edge >= 0).all(axis=1) | (edge <= 0).all(axis=1)
        inside &= edge.sum(axis=1) != 0
        ids[(y * width + x % width)[inside]] = face[inside]  # ascending: the last one stays
        begin = stop
    hit = np.flatnonzero(ids >= 0)
    bary = np.zeros((height * width, 3))
    own = point[triangles[ids[hit]]]
    x = (hit % width).astype(np.float64)
    if wraps:  # the copy of the texel that lies nearest to the triangle
        x += width * np.round((own[..., 0].mean(axis=1) - x) / width)
    edge = _edge_functions(own, x, hit // width)
    bary[hit] = edge / edge.sum(axis=1, keepdims=True)
    return ids.reshape(height, width), bary.reshape(height, width, 3)


def _edge_functions(corner, x, y):
    """[N, 3]: twice the signed areas opposite each corner of triangles [N, 3, 2] at points x, y."""
    dx, dy = corner[..., 0] - x[:, None], corner[..., 1] - y[:, None]
    return np.stack(
        [dx[:, i] * dy[:, j] - dy[:, i] * dx[:, j] for i, j in ((1, 2), (2, 0), (0, 1))], axis=1
    )


def _texels_of_vertices(uv, mask, wraps):
    """Flat indices [S, 4] and weights [S, 4] of the covered texels around UV vertices."""
    height, width = mask.shape
    x, y = uv[:, 0].astype(np.float64) * width - 0.5, uv[:, 1].astype(np.float64) * height - 0.5
    x0, y0 = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    tx, ty = x - x0, y - y0
    taps, weights = [], []
    for row, wy in ((y0, 1 - ty), (y0 + 1, ty)):
        for column, wx in ((x0, 1 - tx), (x0 + 1, tx)):
            c = column % width if wraps else np.clip(column, 0, width - 1)
            taps.append(np.clip(row, 0, height - 1) * width + c)
            weights.append(wx * wy)
    tap, weight = np.stack(taps, axis=1), np.stack(weights, axis=1)
    weight = weight * mask.reshape(-1)[tap]
    total = weight.sum(axis=1)
    lost = total < 1e-6
    if lost.any() and mask.any():
        from scipy import ndimage

        _, (rows, columns) = ndimage.distance_transform_edt(~mask, return_indices=True)
        tap[lost] = (rows * width + columns).reshape(-1)[tap[lost]]
        weight[lost], total[lost] = 0.25, 1.0
    weight = weight / np.maximum(total, 1e-6)[:, None]
    return tap.astype(np.int32), weight.astype(np.float32)


def _copies(topology):
    """UV vertices of each vertex, [V, K], and their weights; only those that triangles use."""
    pairs = np.stack([topology.triangles.reshape(-1), topology.uv_triangles.reshape(-1)], axis=1)
    pairs = np.unique(pairs, axis=0)
    num = np.bincount(pairs[:, 0], minlength=topology.num_vertices)
    slot = np.arange(len(pairs)) - (np.cumsum(num) - num)[pairs[:, 0]]
    copies = np.zeros((topology.num_vertices, max(int(num.max(initial=0)), 1)), np.int32)
    weight = np.zeros(copies.shape, np.float32)
    copies[pairs[:, 0], slot] = pairs[:, 1]
    weight[pairs[:, 0], slot] = 1.0 / num[pairs[:, 0]]
    return copies, weight
