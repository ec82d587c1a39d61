"""Lines and dots on pictures, for debugging."""

import jax
import jax.numpy as jnp
from jax import lax

from facejax.geometry.mesh import MeshTopology
from facejax.render.rasterize import Fragments, checked_clip

_MIN_W = 1e-8


def draw_wireframe(
    image: jax.Array,
    clip: jax.Array,
    topology: MeshTopology,
    fragments: Fragments,
    *,
    color: tuple = (0.1, 0.2, 0.9),
    width_px: float = 1.0,
) -> jax.Array:
    """The edges of the visible triangles on a picture; smooth lines, hidden lines removed.

    Args:
      image: [..., H, W, 3].
      clip: [..., V, 4], as given to `rasterize`.
      topology: the mesh's topology.
      fragments: of `clip`, at the picture's size.
      color: of the lines.
      width_px: pixels.

    Returns:
      [..., H, W, 3].
    """
    clip = checked_clip(clip, topology)
    ids = fragments.triangle_id
    height, width = ids.shape[-2:]
    triangle = jnp.asarray(topology.triangles)[jnp.maximum(ids, 0)]
    w = clip[..., 3:]
    pixel = (clip[..., :2] / jnp.where(w > _MIN_W, w, jnp.nan) + 1) * jnp.array(
        [width / 2, height / 2]
    ).reshape((1,) * (clip.ndim - 1) + (2,))
    pixel = pixel.at[..., 1].set(height - pixel[..., 1])
    flat = triangle.reshape(*ids.shape[:-2], -1, 1)
    corner = jnp.take_along_axis(pixel, flat, axis=-2).reshape(*triangle.shape, 2)
    row, column = jnp.arange(height) + 0.5, jnp.arange(width) + 0.5
    here = jnp.stack(jnp.meshgrid(column, row), axis=-1)
    here = jnp.broadcast_to(here, (*ids.shape, 2))
    nearest = jnp.full(ids.shape, jnp.inf)
    for k in range(3):
        a, b = corner[..., k, :], corner[..., (k + 1) % 3, :]
        along, offset = b - a, here - a
        cross = along[..., 0] * offset[..., 1] - along[..., 1] * offset[..., 0]
        length = jnp.sqrt(jnp.sum(along**2, axis=-1))
        # Behind the eye a corner has no place on the screen: NaN, no line.
        nearest = jnp.fmin(nearest, jnp.abs(cross) / jnp.maximum(length, 1e-9))
    cover = jnp.where(ids >= 0, jnp.clip(0.5 * width_px + 0.5 - nearest, 0.0, 1.0), 0.0)
    return _blend(image, cover, color)


def draw_points(
    image: jax.Array,
    points_px: jax.Array,
    *,
    color: tuple = (0.9, 0.1, 0.1),
    radius_px: float = 2.0,
) -> jax.Array:
    """Dots on a picture, for landmarks.

    Args:
      image: [..., H, W, 3].
      points_px: [..., N, 2] pixels, x right and y down, as `geometry.camera.project` returns them;
        NaN and points outside draw nothing.
      color: of the dots.
      radius_px: pixels.

    Returns:
      [..., H, W, 3].
    """
    image = jnp.asarray(image, jnp.float32)
    points = jnp.asarray(points_px, jnp.float32)
    height, width = image.shape[-3:-1]
    row, column = jnp.arange(height) + 0.5, jnp.arange(width) + 0.5
    batch = jnp.broadcast_shapes(image.shape[:-3], points.shape[:-2])
    ones = (1,) * len(batch)

    def add(cover, point):
        x, y = (point[..., i].reshape(*point.shape[:-1], 1, 1) for i in (0, 1))
        x, y = (jnp.broadcast_to(v, (*batch, 1, 1)) for v in (x, y))
        square = (column.reshape(*ones, 1, -1) - x) ** 2 + (row.reshape(*ones, -1, 1) - y) ** 2
        return jnp.fmax(cover, jnp.clip(radius_px + 0.5 - jnp.sqrt(square), 0.0, 1.0)), None

    start = jnp.zeros((*batch, height, width))
    cover = lax.scan(add, start, jnp.moveaxis(points, -2, 0))[0]
    return _blend(image, cover, color)


def _blend(image, cover, color):
    cover = cover[..., None]
    image = jnp.broadcast_to(image, (*cover.shape[:-1], 3))
    paint = jnp.asarray(color, jnp.float32).reshape((1,) * (image.ndim - 1) + (3,))
    return image * (1 - cover) + paint * cover
