"""Lights and normals.

A light turns albedo and unit normals into reflected colour. Directions and positions of lights
are in the CAMERA frame (x right, y up, z toward the viewer) by default, so that the light stays put
while the face turns; `frame='object'` ties it to the face. Values are linear; whether colours are
decoded from sRGB first is the caller's choice (`render(color_space=...)`).

Every light works on channel planes inside (`reflect`); `shade` is the public function on arrays.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from facejax.geometry.math import safe_normalize
from facejax.geometry.mesh import MeshTopology, sound_corners
from facejax.render.platform import planes, sum_products

_PI = np.pi
# Real orthonormal spherical harmonics, as factors of 1, y, z, x, xy, yz, 3z^2-1, xz, x^2-y^2.
_REAL = np.array(
    [np.sqrt(1 / (4 * _PI))]
    + [np.sqrt(3 / (4 * _PI))] * 3
    + [np.sqrt(15 / (4 * _PI))] * 2
    + [np.sqrt(5 / (16 * _PI)), np.sqrt(15 / (4 * _PI)), np.sqrt(15 / (16 * _PI))]
)
# Cosine lobe per band: Ramamoorthi and Hanrahan 2001, "An efficient representation for irradiance".
_COSINE_LOBE = np.array([_PI] + [2 * _PI / 3] * 3 + [_PI / 4] * 5)
# Deng et al. 2019 (arXiv 1903.08527), code: a_l c_l with a = (pi, 2 pi / sqrt 3, 2 pi / sqrt 8).
_DEEP3D_BANDS = np.array([_PI, 2 * _PI / np.sqrt(3), 2 * _PI / np.sqrt(8)])
_DEEP3D_SIGNS = np.array([1, -1, 1, -1, 1, -1, 1, -1, 1])
_DEEP3D = (
    np.array(
        [np.sqrt(1 / (4 * _PI))]
        + [np.sqrt(3 / (4 * _PI))] * 3
        + [3 * np.sqrt(5 / (12 * _PI)) * f for f in (1, 1, 0.5 / np.sqrt(3), 1, 0.5)]
    )
    * np.repeat(_DEEP3D_BANDS, [1, 3, 5])
    * _DEEP3D_SIGNS
)
SH_CONVENTIONS = {
    "real": _REAL.astype(np.float32),
    "lambert": (_REAL * _COSINE_LOBE).astype(np.float32),
    "deep3d": _DEEP3D.astype(np.float32),
}
DEEP3D_AMBIENT = np.array([[0.8]] + [[0.0]] * 8, np.float32) * np.ones((1, 3), np.float32)


def sh_basis(normals: jax.Array, convention: str = "real") -> jax.Array:
    """The nine spherical harmonics up to the second band.

    Order 1, y, z, x, xy, yz, 3z^2-1, xz, x^2-y^2 in every convention; the factors differ:
    'real' is orthonormal on the sphere; 'lambert' has it times the cosine lobe (pi, 2 pi/3,
    pi/4), so that coefficients of a distant environment give irradiance; 'deep3d' is the Deep3D
    family's basis (Deng et al. 2019), with larger bands and minus signs at y, x, yz, xz.

    Args:
      normals: [..., 3] unit vectors.
      convention: a key of SH_CONVENTIONS.

    Returns:
      [..., 9].
    """
    return jnp.stack(_sh_planes(planes(normals), convention), axis=-1)


def _sh_planes(normal, convention):
    if convention not in SH_CONVENTIONS:
        raise ValueError(
            f"spherical-harmonics convention {convention!r}; use one of {sorted(SH_CONVENTIONS)}."
        )
    x, y, z = normal
    one = jnp.ones_like(x)
    polynomials = (one, y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y)
    factors = SH_CONVENTIONS[convention]
    return [p * float(f) for p, f in zip(polynomials, factors, strict=True)]


def normalize_planes(v):
    sq = sum_products(v, v)
    tiny = sq < 1e-12
    inverse = jnp.where(tiny, 0.0, lax.rsqrt(jnp.where(tiny, 1.0, sq)))
    return [c * inverse for c in v]


def _add(a, b):
    return [x + y for x, y in zip(a, b, strict=True)]


@struct.dataclass
class AmbientLight:
    """The same light from everywhere.

    Attributes:
      color: [..., 3].
    """

    color: jax.Array = struct.field(default_factory=lambda: np.ones(3, np.float32))

    ranks = {"color": 1}
    frame = "camera"

    def reflect(self, albedo, normal, position, view):
        """Planes of reflected colour."""
        del normal, position, view
        return [a * self.color[..., c] for c, a in enumerate(albedo)]


@struct.dataclass
class SphericalHarmonics:
    """Distant light of any shape, up to the second band: albedo times (basis . coefficients).

    Attributes:
      coeffs: [..., 9, 3].
      convention: basis, see `sh_basis` (static).
      frame: 'camera' or 'object' (static).
    """

    coeffs: jax.Array
    convention: str = struct.field(pytree_node=False, default="real")
    frame: str = struct.field(pytree_node=False, default="camera")

    ranks = {"coeffs": 2}

    @classmethod
    def deep3d(cls, gamma: jax.Array) -> "SphericalHarmonics":
        """Light of the Deep3D family's 27 coefficients.

        Args:
          gamma: [..., 27], channel-major (three channels of nine), or [..., 3, 9]; 0.8 is added to
            the constant term of every channel (Deng et al. 2019, code).
        """
        gamma = jnp.asarray(gamma, jnp.float32)
        if gamma.shape[-1] == 27:
            gamma = gamma.reshape(*gamma.shape[:-1], 3, 9)
        coeffs = jnp.swapaxes(gamma, -1, -2)
        return cls(coeffs + jnp.broadcast_to(DEEP3D_AMBIENT, coeffs.shape), convention="deep3d")

    def reflect(self, albedo, normal, position, view):
        """Planes of reflected colour."""
        del position, view
        basis = _sh_planes(normal, self.convention)
        return [
            a * sum_products(basis, [self.coeffs[..., k, c] for k in range(9)])
            for c, a in enumerate(albedo)
        ]


@struct.dataclass
class DirectionalLight:
    """A distant lamp with ambient light: Lambert diffuse, optional wrap, Blinn-Phong highlight.

    Attributes:
      direction: [..., 3], from the surface TOWARD the light, any length from 1e-15 on.
      color: [..., 3] of the lamp.
      ambient: [..., 3] light from everywhere.
      sky: [...] in [0, 1]: how much more of the ambient light comes from above than from below.
      wrap: [...] in [0, 1]: soft lamps light beyond the terminator; (n . l + wrap) / (1 + wrap).
      specular: [...] strength of the highlight.
      shininess: [...] its exponent.
      frame: 'camera' or 'object' (static).
    """

    direction: jax.Array = struct.field(default_factory=lambda: np.array([0, 0, 1], np.float32))
    color: jax.Array = struct.field(default_factory=lambda: np.ones(3, np.float32))
    ambient: jax.Array = struct.field(default_factory=lambda: np.zeros(3, np.float32))
    sky: jax.Array = struct.field(default_factory=lambda: np.float32(0))
    wrap: jax.Array = struct.field(default_factory=lambda: np.float32(0))
    specular: jax.Array = struct.field(default_factory=lambda: np.float32(0))
    shininess: jax.Array = struct.field(default_factory=lambda: np.float32(24))
    frame: str = struct.field(pytree_node=False, default="camera")

    ranks = dict(direction=1, color=1, ambient=1, sky=0, wrap=0, specular=0, shininess=0)

    def reflect(self, albedo, normal, position, view):
        """Planes of reflected colour."""
        del position
        towards = planes(safe_normalize(self.direction, eps=1e-30))
        return _lamp(self, albedo, normal, towards, view, planes(self.color))


@struct.dataclass
class PointLight:
    """A lamp near the face; otherwise like DirectionalLight.

    Attributes:
      position: [..., 3] mm. In the camera frame the camera is the origin.
      color: [..., 3].
      ambient: [..., 3].
      sky: [...], see DirectionalLight.
      wrap: [...], see DirectionalLight.
      specular: [...], see DirectionalLight.
      shininess: [...], see DirectionalLight.
      reference_mm: [...]; the light falls off as (reference / distance)^2; 0 for no fall-off.
      frame: 'camera' or 'object' (static).
    """

    position: jax.Array = struct.field(default_factory=lambda: np.zeros(3, np.float32))
    color: jax.Array = struct.field(default_factory=lambda: np.ones(3, np.float32))
    ambient: jax.Array = struct.field(default_factory=lambda: np.zeros(3, np.float32))
    sky: jax.Array = struct.field(default_factory=lambda: np.float32(0))
    wrap: jax.Array = struct.field(default_factory=lambda: np.float32(0))
    specular: jax.Array = struct.field(default_factory=lambda: np.float32(0))
    shininess: jax.Array = struct.field(default_factory=lambda: np.float32(24))
    reference_mm: jax.Array = struct.field(default_factory=lambda: np.float32(0))
    frame: str = struct.field(pytree_node=False, default="camera")

    ranks = dict(
        position=1, color=1, ambient=1, sky=0, wrap=0, specular=0, shininess=0, reference_mm=0
    )

    def reflect(self, albedo, normal, position, view):
        """Planes of reflected colour."""
        offset = [self.position[..., c] - p for c, p in enumerate(position)]
        sq = jnp.maximum(sum_products(offset, offset), 1e-6)
        falls = self.reference_mm > 0
        gain = jnp.where(falls, self.reference_mm**2 / sq, 1.0)
        color = [gain * self.color[..., c] for c in range(3)]
        return _lamp(self, albedo, normal, normalize_planes(offset), view, color)


def _lamp(light, albedo, normal, towards, view, color):
    """Ambient, diffuse and specular reflection of one lamp; all vectors are planes."""
    facing = sum_products(normal, towards)
    diffuse = jnp.maximum((facing + light.wrap) / (1.0 + light.wrap), 0.0)
    ambient = 1.0 - light.sky + light.sky * normal[1]
    half = normalize_planes(_add([v + jnp.zeros_like(facing) for v in towards], view))
    cosine = jnp.clip(sum_products(normal, half), 1e-4, 1.0)  # a power's gradient is finite there
    highlight = jnp.where(facing > 0, light.specular * cosine**light.shininess, 0.0)
    return [
        a * (ambient * light.ambient[..., c] + diffuse * color[c]) + highlight * color[c]
        for c, a in enumerate(albedo)
    ]


Light = AmbientLight | SphericalHarmonics | DirectionalLight | PointLight


def default_light() -> DirectionalLight:
    """A soft key light from the upper right of the viewer, with light from above all around."""
    return DirectionalLight(
        direction=np.array([0.3, 0.45, 0.85], np.float32),
        color=np.full(3, 0.75, np.float32),
        ambient=np.full(3, 0.45, np.float32),
        sky=np.float32(0.3),
        wrap=np.float32(0.15),
        specular=np.float32(0.05),
    )


def as_lights(light: Light | tuple[Light, ...] | None) -> tuple[Light, ...]:
    """One light, several, or None for the default, as a tuple."""
    if light is None:
        return (default_light(),)
    return tuple(light) if isinstance(light, tuple | list) else (light,)


def reflect(lights, albedo: list, normal: list, position: list, view: list) -> list:
    """Sum over lights of the reflected colour; planes in, planes out."""
    total = lights[0].reflect(albedo, normal, position, view)
    for light in lights[1:]:
        total = _add(total, light.reflect(albedo, normal, position, view))
    return total


def shade(
    light: Light | tuple[Light, ...],
    albedo: jax.Array,
    normals: jax.Array,
    positions: jax.Array | None = None,
    views: jax.Array | None = None,
) -> jax.Array:
    """Reflected colour of surface points: vertices, pixels or texels.

    Everything must be in the light's frame; nothing is clipped.

    Args:
      light: a light or a tuple of them, with the leading batch dims of the points or none.
      albedo: [..., N, 3].
      normals: [..., N, 3] unit.
      positions: [..., N, 3] mm; needed by PointLight.
      views: [..., N, 3] unit vectors toward the viewer, for highlights; None means +z.

    Returns:
      [..., N, 3].
    """
    lights = as_lights(light)
    if positions is None and any(isinstance(x, PointLight) for x in lights):
        raise ValueError("PointLight needs positions [..., N, 3] in mm, found None; pass them.")
    normal, albedo = planes(jnp.asarray(normals)), planes(jnp.asarray(albedo))
    zero = jnp.zeros_like(normal[0])
    position = [zero] * 3 if positions is None else planes(jnp.asarray(positions))
    view = [zero, zero, jnp.ones_like(zero)] if views is None else planes(jnp.asarray(views))
    lights = tuple(_insert_point_dim(x) for x in lights)
    return jnp.stack(reflect(lights, albedo, normal, position, view), axis=-1)


def _insert_point_dim(light):
    """Batched light values get a dim of one, so that they broadcast over points."""
    new = {}
    for name, rank in light.ranks.items():
        value = jnp.asarray(getattr(light, name))
        if value.ndim > rank:
            cut = value.ndim - rank
            value = value.reshape(*value.shape[:cut], 1, *value.shape[cut:])
        new[name] = value
    return light.replace(**new)


def vertex_tangents(vertices: jax.Array, topology: MeshTopology) -> jax.Array:
    """Directions of growing u along the surface at every UV vertex, [..., S, 3], unit or zero.

    Area-weighted over the triangles around a UV vertex, without those that have a corner that is
    not finite; not made orthogonal to the normal.

    Args:
      vertices: [..., V, 3].
      topology: with a UV layout.
    """
    a, b, c, sound = sound_corners(vertices, topology)
    uv = topology.uv[topology.uv_triangles].astype(np.float64)
    du1, dv1 = (uv[:, 1] - uv[:, 0]).T
    du2, dv2 = (uv[:, 2] - uv[:, 0]).T
    sign = np.sign(du1 * dv2 - du2 * dv1)
    w1, w2 = (np.asarray(w * sign, np.float32)[:, None] for w in (dv2, -dv1))
    lead = (1,) * (vertices.ndim - 2)
    tangent = safe_normalize(
        (b - a) * w1.reshape(*lead, -1, 1) + (c - a) * w2.reshape(*lead, -1, 1)
    )
    area = jnp.linalg.norm(lax.stop_gradient(jnp.cross(b - a, c - a)), axis=-1, keepdims=True)
    weighted = jnp.where(sound, tangent * area, 0.0)
    total = jnp.zeros((*vertices.shape[:-2], len(topology.uv), 3), jnp.float32)
    for k in range(3):
        total = total.at[..., topology.uv_triangles[:, k], :].add(weighted)
    return safe_normalize(total)


def tangent_to_object(tangent_normal: list, normal: list, tangent: list, mirror) -> list:
    """Tangent-space normals (x along u, y against v, z out; glTF's frame) in the surface's frame.

    Args:
      tangent_normal: three planes, unit.
      normal: three planes, unit surface normal.
      tangent: three planes, roughly along growing u; made orthogonal to the normal here.
      mirror: plane of +1, or -1 where the layout mirrors the surface.

    Returns:
      Three planes, unit.
    """
    along = sum_products(normal, tangent)
    t = normalize_planes([a - n * along for a, n in zip(tangent, normal, strict=True)])
    n = normal
    up = [
        (n[1] * t[2] - n[2] * t[1]) * mirror,
        (n[2] * t[0] - n[0] * t[2]) * mirror,
        (n[0] * t[1] - n[1] * t[0]) * mirror,
    ]
    x, y, z = tangent_normal
    return normalize_planes([x * t[k] + y * up[k] + z * n[k] for k in range(3)])
