"""From the light on a sensor to the stored picture: lens, resolution, noise, tone, compression."""

import jax
import jax.numpy as jnp
import numpy as np

from facejax.image.jpeg import jpeg
from facejax.image.optics import blur_matrix, filter_axes, resolution_matrix
from facejax.image.resample import resize_weights
from facejax.image.sensor import add_noise, develop, grain


def draw_lens(rng: np.random.Generator, ranges) -> dict[str, np.ndarray]:
    """Lens and camera as numbers, float32.

    Args:
      rng: numpy generator.
      ranges: `PictureRanges`.

    Returns:
      defocus: standard deviation of the scene's blur, share of the side; blur_px: of the lens, per
      100 pixels; sharpness: share of the resolution that is kept; noise: standard deviation in the
      dark; quality: of compression, 0 for none; tone [3]: midtones, contrast, saturation; vignette.
    """
    r = ranges
    loses, squeezed = rng.uniform(size=2) < r.degraded
    out = {
        "defocus": r.defocus * rng.uniform() ** 2,
        "blur_px": r.blur_px * rng.uniform() ** 2,
        "sharpness": rng.uniform(r.sharpness, 1.0) if loses else 1.0,
        "noise": r.noise * rng.uniform() ** 2,
        "quality": rng.uniform(*r.quality) if squeezed else 0.0,
        "tone": [rng.uniform(*x) for x in (r.midtones, r.tone_contrast, r.saturation)],
        "vignette": r.vignette * rng.uniform(),
    }
    return {k: np.asarray(v, np.float32) for k, v in out.items()}


def defocused(scene: jax.Array, numbers: dict[str, jax.Array], size: int) -> jax.Array:
    """A scene [N, N, 3] out of focus, at [size, size, 3]; linear between pixels where N is less."""
    matrix = blur_matrix(size, size * numbers["defocus"])
    if scene.shape[0] != size:
        enlarge = resize_weights(scene.shape[0], size).astype(np.float32)
        matrix = jnp.matmul(matrix, enlarge, precision="highest")
    return filter_axes(scene, matrix, matrix, "high")


def finish(light: jax.Array, numbers: dict[str, jax.Array], key: jax.Array) -> jax.Array:
    """The stored picture of one photo.

    Args:
      light: [S, S, 3] linear light at the sensor.
      numbers: of `draw_lens` and `gain` of `draw_lights`, for one photo.
      key: of the noise.

    Returns:
      [S, S, 3] sRGB in [0, 1].
    """
    size = light.shape[0]
    matrix = blur_matrix(size, numbers["blur_px"] * size / 100)
    share = numbers["sharpness"]
    matrix = jax.lax.cond(
        share < 1.0,
        lambda m: jnp.matmul(resolution_matrix(size, share), m, precision="highest"),
        lambda m: m,
        matrix,
    )
    light = filter_axes(light, matrix, matrix, "high")
    place = (jnp.arange(size, dtype=jnp.float32) + 0.5) * (2 / size) - 1
    away = (jnp.square(place[None, :]) + jnp.square(place[:, None])) / 2
    exposed = light * numbers["gain"].reshape(1, 1, 3)
    exposed = exposed * (1.0 - numbers["vignette"] * away)[..., None]
    exposed = add_noise(
        exposed, grain(key, light.shape), numbers["noise"], jnp.square(numbers["noise"])
    )
    midtones, contrast, saturation = numbers["tone"]
    picture = develop(
        exposed, jnp.ones(3), midtones=midtones, contrast=contrast, saturation=saturation
    )
    quality = numbers["quality"]
    return jax.lax.cond(
        quality > 0, lambda p: jpeg(p, jnp.maximum(quality, 1.0)), lambda p: p, picture
    )
