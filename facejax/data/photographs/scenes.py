"""What is behind a face: procedural studios, rooms, lights at night, gardens, patterns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from facejax.image.color import srgb_to_linear

SCENES = ("studio", "room", "lights", "outdoors", "pattern")
_BOXES, _DISCS = 7, 16
_OCTAVES = (4, 11, 31)  # cells along a side of the three layers of noise


def draw_scene(rng: np.random.Generator, weights: tuple[float, ...]) -> dict[str, np.ndarray]:
    """A scene as numbers, float32; coordinates are shares of the picture, v down.

    Args:
      rng: numpy generator.
      weights: of `SCENES`.

    Returns:
      scene_kind int32; scene_colors [4, 3] sRGB; scene_boxes [7, 7]: middle u v, half width and
      height, sRGB; scene_discs [16, 6]: middle, radius, linear RGB; scene_shape [6]: angle (rad),
      waves per picture, level of the horizon, strength of the noise, share of waves in the other
      direction, brightness.
    """
    kind = rng.choice(len(SCENES), p=np.array(weights) / np.sum(weights))
    name = SCENES[kind]
    colors = dull_colors(rng, 4)
    if name == "outdoors":
        colors[0] = rng.uniform((0.35, 0.5, 0.7), (0.8, 0.9, 1.0))  # sky, high and low
        colors[1] = colors[0] + (1 - colors[0]) * rng.uniform(0.3, 0.9)
        colors[2] = rng.uniform((0.08, 0.15, 0.03), (0.35, 0.45, 0.25))  # leaves in shade, in light
        colors[3] = rng.uniform((0.35, 0.45, 0.15), (0.85, 0.8, 0.55))
    middle = rng.uniform(0, 1, (_BOXES, 2))
    half = rng.uniform(0.02, 0.22, (_BOXES, 2))
    paint = dull_colors(rng, _BOXES)
    bright = rng.uniform(size=_BOXES) < 0.25  # windows and lamps
    paint[bright] = rng.uniform(0.85, 1.0, (bright.sum(), 3))
    half[rng.integers(3, _BOXES + 1) :] = 0.0
    radius = rng.uniform(0.01, 0.075) * rng.uniform(0.7, 1.2, (_DISCS, 1))
    discs = np.concatenate(
        [
            rng.uniform(0, 1, (_DISCS, 2)),
            radius,
            rng.uniform(0.3, 1.6, (_DISCS, 1)) * _lamp_colors(rng, _DISCS),
        ],
        axis=1,
    )
    shape = [
        rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(0.7, 3.2)), rng.uniform(0.2, 0.9),
        rng.uniform(0.1, 1.0), rng.choice([0.0, 1.0]) * rng.uniform(), rng.uniform(0.4, 1.2),
    ]  # fmt: skip
    out = {
        "scene_colors": np.clip(colors, 0, 1),
        "scene_boxes": np.concatenate([middle, half, paint], axis=1),
        "scene_discs": discs,
        "scene_shape": np.array(shape),
    }
    out = {k: v.astype(np.float32) for k, v in out.items()}
    return out | {"scene_kind": np.int32(kind)}


def dull_colors(rng: np.random.Generator, num: int) -> np.ndarray:
    """[num, 3] sRGB: any brightness, mostly little colour."""
    level = rng.uniform(0.05, 0.95, (num, 1))
    hue = rng.uniform(-1, 1, (num, 3))
    return np.clip(level + rng.uniform(0, 0.35, (num, 1)) ** 1.5 * hue, 0.02, 1.0)


def _lamp_colors(rng, num):
    """[num, 3] colours of lamps: warm, white, some of any hue."""
    warm = np.array([1.0, 0.75, 0.45]) + rng.uniform(-0.1, 0.2, (num, 3))
    return np.clip(
        np.where(rng.uniform(size=(num, 1)) < 0.3, rng.uniform(0, 1, (num, 3)), warm), 0, 1
    )


def scene(numbers: dict[str, jax.Array], key: jax.Array, size: int) -> jax.Array:
    """A picture of a scene.

    Args:
      numbers: of `draw_scene`, for one picture.
      key: of the noise.
      size: pixels on a side.

    Returns:
      [size, size, 3] linear light, >= 0, 1 is about white.
    """
    branches = [
        functools.partial(f, size=size) for f in (_studio, _room, _lights, _outdoors, _pattern)
    ]
    picture = jax.lax.switch(numbers["scene_kind"], branches, numbers, key)
    return jnp.maximum(picture, 0.0) * numbers["scene_shape"][5]


def _grid(size):
    """u [1, S] and v [S, 1] of pixel centres."""
    place = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
    return place[None, :], place[:, None]


def _along(numbers, size):
    """[S, S] distance along the scene's angle from the middle, in shares of the picture."""
    u, v = _grid(size)
    angle = numbers["scene_shape"][0]
    return (u - 0.5) * jnp.cos(angle) + (v - 0.5) * jnp.sin(angle)


def noise_field(key: jax.Array, cells: int, size: int, channels: int = 1) -> jax.Array:
    """Smooth noise [size, size, channels] around 0, mostly in [-1, 1].

    Args:
      key: of the noise.
      cells: along a side.
      size: pixels on a side.
      channels: independent ones.
    """
    grid = jax.random.uniform(key, (cells, cells, channels), minval=-1.0, maxval=1.0)
    return jax.image.resize(grid, (size, size, channels), "cubic")


def _clouds(key, size, strengths=(1.0, 0.6, 0.4)):
    """Noise of three sizes, [S, S, 1]."""
    keys = jax.random.split(key, len(_OCTAVES))
    layers = zip(keys, _OCTAVES, strengths, strict=True)
    return sum(s * noise_field(k, cells, size) for k, cells, s in layers)


def _mixed(first, second, share):
    """Linear light between two sRGB colours [3], by a plane [S, S, 1]."""
    a, b = (srgb_to_linear(c).reshape(1, 1, 3) for c in (first, second))
    return a + jnp.clip(share, 0.0, 1.0) * (b - a)


def _studio(numbers, key, size):
    """A backdrop between two colours, brighter around a spot."""
    u, v = _grid(size)
    shape, colors = numbers["scene_shape"], numbers["scene_colors"]
    spot_u, spot_v = 0.5 + 0.4 * jnp.cos(shape[0]), 0.5 + 0.4 * jnp.sin(shape[0])
    away = jnp.square(u - spot_u) + jnp.square(v - spot_v)
    share = jnp.exp(-away / jnp.square(0.25 + 0.6 * shape[2]))[..., None]
    share = share + 0.15 * shape[3] * noise_field(key, _OCTAVES[0], size)
    return _mixed(colors[0], colors[1], share)


def _room(numbers, key, size):
    """A wall with light from one side, a floor or table, pictures, windows, shelves."""
    u, v = _grid(size)
    colors, shape = numbers["scene_colors"], numbers["scene_shape"]
    light = (1.0 + 0.6 * _along(numbers, size) + 0.08 * _clouds(key, size)[..., 0])[..., None]
    wall, floor = (srgb_to_linear(c).reshape(1, 1, 3) for c in colors[:2])
    below = _step((v - (0.45 + 0.6 * shape[2])) * size)[..., None]
    picture = (wall + below * (floor - wall)) * light
    for box in numbers["scene_boxes"]:
        inside = _step((box[2] - jnp.abs(u - box[0])) * size) * _step(
            (box[3] - jnp.abs(v - box[1])) * size
        )
        frame = _step((box[2] - 0.012 - jnp.abs(u - box[0])) * size) * _step(
            (box[3] - 0.012 - jnp.abs(v - box[1])) * size
        )
        paint = srgb_to_linear(box[4:]).reshape(1, 1, 3)
        paint = paint * (0.4 + 0.6 * frame[..., None]) * (0.85 + 0.3 * u[..., None])
        picture = picture + inside[..., None] * (paint - picture)
    return picture


def _step(distance_px):
    """0 to 1 over a pixel."""
    return jnp.clip(distance_px + 0.5, 0.0, 1.0)


def _lights(numbers, key, size):
    """Lights far out of focus before a dark ground."""
    u, v = _grid(size)
    colors = numbers["scene_colors"]
    share = 0.5 + _along(numbers, size)[..., None] + 0.3 * _clouds(key, size)
    picture = 0.35 * _mixed(colors[0], colors[1], share)
    for disc in numbers["scene_discs"]:
        away = jnp.sqrt(jnp.square(u - disc[0]) + jnp.square(v - disc[1]))
        inside = _step((disc[2] - away) * size / 2)
        edge = 0.7 + 0.3 * jnp.clip(away / jnp.maximum(disc[2], 1e-3), 0.0, 1.0)
        picture = picture + (inside * edge)[..., None] * disc[3:].reshape(1, 1, 3)
    return picture


def _outdoors(numbers, key, size):
    """Sky over leaves, grass or ground, with a ragged border."""
    _, v = _grid(size)
    sky_key, leaf_key = jax.random.split(key)
    colors, shape = numbers["scene_colors"], numbers["scene_shape"]
    height = jnp.broadcast_to(v[..., None], (size, size, 1))
    clouds = _clouds(sky_key, size)
    leaves = _clouds(leaf_key, size, (0.5, 0.7, 0.8))
    sky = _mixed(colors[0], colors[1], height / shape[2] + 0.3 * shape[3] * clouds)
    ground = _mixed(colors[2], colors[3], 0.4 + 0.6 * leaves - 0.3 * (height - shape[2]))
    border = shape[2] - 0.15 + 0.12 * clouds
    return sky + jnp.clip((height - border) * size * 0.08, 0.0, 1.0) * (ground - sky)


def _pattern(numbers, key, size):
    """Stripes or tiles: curtains, bricks, fences."""
    colors, shape = numbers["scene_colors"], numbers["scene_shape"]
    u, v = _grid(size)
    along = _along(numbers, size)
    across = (v - 0.5) * jnp.cos(shape[0]) - (u - 0.5) * jnp.sin(shape[0])
    clouds = _clouds(key, size)[..., 0]
    waves = jnp.sin(2 * np.pi * shape[1] * along + shape[3] * clouds)
    other = jnp.sin(2 * np.pi * shape[1] * 0.7 * across + shape[3] * clouds)
    share = 0.5 + 0.3 * waves + 0.3 * shape[4] * other + 0.2 * clouds
    return _mixed(colors[0], colors[1], share[..., None])
