"""Lamps and skies as numbers, on the host; camera frame: x right, y up, z toward the viewer."""

import functools

import numpy as np

from facejax.image.sensor import LUMA, blackbody_rgb
from facejax.render.shading import DEEP3D_AMBIENT, SH_CONVENTIONS

NUM_LAMPS = 3  # key, fill, rim
_RIM_SHARE = 1 / 3  # of the photos have a lamp behind the head
_SKIN = 0.3  # linear albedo at which stored light is compared


def _direction(azimuth, height):
    """Unit vector; azimuth 0 is toward the viewer, positive to the right."""
    c = np.cos(height)
    return np.array([np.sin(azimuth) * c, np.sin(height), np.cos(azimuth) * c])


def _polynomials(directions):
    x, y, z = np.moveaxis(np.asarray(directions, np.float64), -1, 0)
    one = np.ones_like(x)
    return np.stack([one, y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], axis=-1)


def _kelvin(rng, ends):
    return 1.0 / rng.uniform(1.0 / ends[1], 1.0 / ends[0])


def draw_lights(rng: np.random.Generator, ranges) -> dict[str, np.ndarray]:
    """The light of a photo, and the camera's answer to it.

    Args:
      rng: numpy generator.
      ranges: `PictureRanges`.

    Returns:
      float32: sky [9, 3], lamp_directions [3, 3] and lamp_colors [3, 3] of `render.Lamps` (key,
      fill, rim), shadow_mm, gain [3] of `image.sensor.develop`: with it, a white surface that
      faces the camera would be about white.
    """
    r = ranges
    share = r.contrast * rng.uniform(0.2, 1.0)
    side = rng.choice([-1.0, 1.0])
    key = _direction(
        side * np.deg2rad(r.key_azimuth_deg) * rng.uniform(),
        np.deg2rad(rng.uniform(*r.key_height_deg)),
    )
    fill = _direction(-side * rng.uniform(0.3, 1.4), rng.uniform(-0.3, 0.6))
    rim = _direction(rng.choice([-1.0, 1.0]) * rng.uniform(2.0, 2.9), rng.uniform(-0.1, 0.9))
    key_color = blackbody_rgb(_kelvin(rng, r.kelvin))
    sky_color = blackbody_rgb(_kelvin(rng, r.kelvin))
    floor_color = sky_color * rng.uniform(0.5, 1.0, 3) * [1.0, 0.92, 0.85]
    rim_on = rng.uniform() < _RIM_SHARE
    strengths = [
        share,
        share * rng.uniform(*r.fill),
        rim_on * r.rim * rng.uniform(),
    ]
    colors = np.stack([key_color, sky_color, key_color]) * np.array(strengths)[:, None]
    rest = 1.0 - share
    up, down = rng.uniform(0.6, 1.0), rng.uniform(0.2, 0.8)
    mean = 0.5 * (up * sky_color + down * floor_color)
    rise = 0.5 * (up * sky_color - down * floor_color)
    sky = np.zeros((9, 3))
    real = SH_CONVENTIONS["real"].astype(np.float64)
    sky[0] = mean / real[0]
    sky[1] = rise / real[1]
    sky[3] = rng.uniform(-0.2, 0.2) * mean / real[3]
    sky[2] = rng.uniform(-0.1, 0.25) * mean / real[2]
    sky *= rest
    out = {
        "sky": sky,
        "lamp_directions": np.stack([key, fill, rim]),
        "lamp_colors": colors,
        "shadow_mm": np.float32(rng.uniform(*r.shadow_mm)),
        "gain": _exposure(rng, sky, np.stack([key, fill, rim]), colors, r),
    }
    return {k: np.asarray(v, np.float32) for k, v in out.items()}


def _exposure(rng, sky, directions, colors, r):
    """[3]: what makes the light on a face about white, with errors."""
    normals = np.array([[0, 0, 1], [0.5, 0, 0.87], [-0.5, 0, 0.87], [0, 0.5, 0.87]])
    light = _linear_light(normals, sky, directions, colors).mean(axis=0)
    level = light @ np.array(LUMA)
    color = np.maximum(light / level, 0.05) ** -rng.uniform(0.7, 1.0)
    color *= np.exp(r.tint * rng.standard_normal(3))
    exposure = 1.0 + r.brightness * rng.uniform(-1, 1)
    return exposure / max(level, 1e-3) * color / (color @ np.array(LUMA))


def _linear_light(normals, sky, directions, colors):
    """[N, 3] diffuse light on white surfaces with these normals, without shadows."""
    basis = _polynomials(normals) * SH_CONVENTIONS["real"]
    return basis @ sky + np.maximum(normals @ directions.T, 0.0) @ colors


def diffuse_harmonics(light: dict[str, np.ndarray]) -> np.ndarray:
    """[9, 3] float32: sky and lamps together as `SphericalHarmonics`, without shadows and shine.

    The diffuse response to distant lamps up to the second band (Ramamoorthi and Hanrahan 2001).
    """
    lobes = _polynomials(light["lamp_directions"]) * SH_CONVENTIONS["lambert"]
    return (light["sky"] + lobes.T @ light["lamp_colors"]).astype(np.float32)


@functools.cache
def _probes():
    """Normals that a camera sees, and the least-squares solver of the decoder's harmonics there."""
    k = np.arange(200) + 0.5
    z, angle = 1 - 2 * k / 200, k * np.pi * (3 - np.sqrt(5))
    normals = np.stack(
        [np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z], -1
    )
    normals = normals[z > -0.2]
    return normals, np.linalg.pinv(_polynomials(normals) * SH_CONVENTIONS["deep3d"], rcond=1e-3)


def stored_light(light: dict[str, np.ndarray]) -> np.ndarray:
    """[27] float32: the light of the Deep3D family's decoder that comes nearest to a photo's.

    That decoder multiplies stored (sRGB) albedo by harmonics, so they are fitted to the ratio of
    the stored value of lit skin to that of its albedo, over the normals that a camera sees; without
    shadows, shine and what the camera does after exposure and white balance.

    Args:
      light: of `draw_lights`.
    """
    normals, solve = _probes()
    linear = _linear_light(
        normals, *(light[k].astype(np.float64) for k in ("sky", "lamp_directions", "lamp_colors"))
    )
    ratio = _encode(_SKIN * np.maximum(linear * light["gain"], 0.0)) / _encode(np.float64(_SKIN))
    gamma = solve @ ratio - DEEP3D_AMBIENT
    return gamma.T.reshape(-1).astype(np.float32)


def _encode(linear):
    """sRGB values of linear light, at most 1."""
    linear = np.minimum(linear, 1.0)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def random_light(rng: np.random.Generator, ranges) -> np.ndarray:
    """[27] coefficients of the decoder's spherical harmonics: nearly white, from one side.

    For renders whose light is these harmonics and nothing else.

    Args:
      rng: the generator.
      ranges: with the shares brightness, tint and contrast: how far the ambient light differs from
        1.25 times the original's default, the standard deviation of each channel, and the largest
        strength of the light that depends on direction.
    """
    gamma = np.zeros((3, 9))
    ambient = 1.25 * (1 + ranges.brightness * rng.uniform(-1, 1))
    gamma[:, 0] = 0.8 * (ambient - 1)  # the decoder adds 0.8
    toward = np.array([rng.uniform(-1, 1), rng.uniform(-0.4, 1), rng.uniform(0.2, 1)])
    toward *= ranges.contrast * rng.uniform() / np.linalg.norm(toward)
    x, y, z = toward
    gamma[:, 1:4] = [-y, z, -x]  # signs of the basis
    gamma[:, 4:] = 0.1 * ranges.contrast * rng.standard_normal(5)
    tint = 1 + ranges.tint * rng.standard_normal((3, 1))
    gamma[:, 0] += 0.8
    gamma *= tint
    gamma[:, 0] -= 0.8
    return gamma.reshape(-1)
