"""Maps of skin from a canvas and coefficients: pure jax, batched, differentiable.

Pigments act on the logarithm of linear light (`spectra`), what lies over the skin is mixed in by
its cover in linear light, and the result is encoded as sRGB.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from facejax.image.color import linear_to_srgb
from facejax.morphable.skin.coefficients import SkinPaint
from facejax.morphable.skin.colors import hair_tone, iris_tone, linear, skin_tone
from facejax.morphable.skin.fields import Canvas

_LIPSTICK = {-1: [112, 44, 42], 0: [160, 40, 52], 1: [186, 78, 96]}
_SCLERA, _YELLOW, _VEIN = linear([212, 203, 197]), linear([204, 188, 156]), linear([176, 86, 80])
_PINK = linear([206, 126, 118])
_TEETH, _YELLOW_TEETH = linear([232, 226, 214]), linear([214, 190, 146])
_MOUTH, _TONGUE, _GUM = linear([150, 70, 68]), linear([188, 100, 98]), linear([198, 112, 110])
_LASH = linear([22, 17, 15])
_SHADE_OF_BEARD = np.array([0.26, 0.20, 0.15], np.float32)  # bluish: hair under the skin
_UNDER_EYE = np.array([0.14, 0.13, 0.06], np.float32)


@struct.dataclass
class SkinMaps:
    """Textures of painted skin, row 0 at v = 0.

    Attributes:
      albedo: [..., T, T, 3] sRGB in [0, 1]; no light in it, except for `SkinPaint.catchlight`.
      normal: [..., T, T, 3] unit, tangent space (x along u, y against v, z out; glTF's frame), as
        `render(normal_map_space='tangent')` takes it.
      roughness: [..., T, T] in [0, 1]; a GGX lobe has alpha = roughness^2 (Burley 2012).
      specular: [..., T, T] in [0, 1]: reflection at normal incidence is 0.08 times it (Burley).
      occlusion: [T, T] in [0, 1], the share of the sky that the mean face at rest leaves open; not
        in the albedo: ambient light may be multiplied by it.
    """

    albedo: jax.Array
    normal: jax.Array
    roughness: jax.Array
    specular: jax.Array
    occlusion: jax.Array


@jax.jit
def paint(canvas: Canvas, coefficients: SkinPaint) -> SkinMaps:
    """Paints one or many faces.

    Args:
      canvas: from `canvas(model, size)`.
      coefficients: leaves [...] that broadcast to one batch shape; values beyond their ranges are
        clipped to them.

    Returns:
      Maps with the batch shape in front (`occlusion` has none).
    """
    ranges = SkinPaint.ranges()
    leaves = {
        f.name: jnp.asarray(getattr(coefficients, f.name), jnp.float32)
        for f in dataclasses.fields(coefficients)
    }
    batch = jnp.broadcast_shapes(*(x.shape for x in leaves.values()))
    flat = {
        k: jnp.broadcast_to(jnp.clip(x, *ranges[k][:2]), batch).reshape(-1)
        for k, x in leaves.items()
    }
    maps = jax.vmap(lambda c: _paint_one(canvas, SkinPaint(**c)))(flat)
    maps = jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), maps)
    return SkinMaps(*maps, occlusion=canvas.occlusion)


def hair_color(coefficients: SkinPaint) -> jax.Array:
    """sRGB of the hair, [..., 3]: what brows, beard and scalp are painted with."""
    c = coefficients
    melanin, red, grey = jnp.broadcast_arrays(c.hair_melanin, c.hair_red, c.hair_grey)
    return linear_to_srgb(hair_tone(melanin, red, grey))


def _paint_one(canvas: Canvas, c: SkinPaint):
    """albedo, normal, roughness, specular of one face."""
    tone, by_melanin, by_blood = skin_tone(c.melanin, c.blood, c.carotene)
    hair = hair_tone(c.hair_melanin, c.hair_red, c.hair_grey)
    face_hair = hair_tone(c.hair_melanin, c.hair_red, 0.65 * c.hair_grey)  # greys later
    log = _skin(canvas, c, tone, by_melanin, by_blood)
    color = [jnp.exp(p) for p in log]
    beard = _beard_cover(canvas, c)
    color = _blend(color, face_hair * jnp.array([1.05, 0.95, 0.9]), beard)
    scalp = _scalp_cover(canvas, c)
    lighter = 1.0 + 0.30 * canvas["strand"] * (0.4 + 0.6 * (1 - c.hair_melanin))
    strands = jnp.clip(lighter, 0.35, 2.0)
    color = _blend(color, [hair[k] * strands for k in range(3)], scalp)
    rough, specular = _surface(canvas, c, beard, scalp)
    shape = rough.shape
    flat = [jnp.reshape(p, -1) for p in (*color, rough, specular)]
    for name, layer in (("brow", _brow), ("eye", _eye), ("inside", _inside)):
        if name in canvas.patches:
            patch = canvas.patches[name]
            under = [p[patch.ids] for p in flat]
            over = layer(patch, c, under, jnp.exp(tone), face_hair)
            flat = [p.at[patch.ids].set(o) for p, o in zip(flat, over, strict=True)]
    *color, rough, specular = (p.reshape(shape) for p in flat)
    albedo = linear_to_srgb(jnp.clip(jnp.stack(color, axis=-1), 1e-4, 1.0))
    normal = _normal(canvas, c, beard, scalp)
    return albedo, normal, jnp.clip(rough, 0.04, 1.0), jnp.clip(specular, 0.0, 1.0)


def _smoothstep(x, start, end):
    s = jnp.clip((x - start) / (end - start), 0.0, 1.0)
    return s * s * (3.0 - 2.0 * s)


def _levels(canvas, name, count, amount):
    """Cover by the share `amount` of the marks: linear between the levels of the canvas."""
    total = 0.0
    for k in range(1, count + 1):
        hat = jnp.maximum(1.0 - jnp.abs(amount * count - k), 0.0)
        total = total + hat * canvas[f"{name}_{k}"]
    return total


def _skin(canvas, c, tone, by_melanin, by_blood):
    """Planes: the logarithm of linear light of bare, made-up skin and lips."""
    f = canvas
    even = 1.0 - 0.6 * c.makeup
    mottle, blotch = f["mottle"], f["blotch"]
    fair = 1.0 - 0.7 * c.melanin
    lips, lids = f["lips"], f["lids"]
    off_lips = 1.0 - lips
    marks = (
        0.30 * c.freckles * fair * _levels(f, "freckles", 2, c.freckles)
        + 0.26 * _levels(f, "age_spots", 2, c.age_spots) * (0.4 + 0.6 * c.age_spots)
        + 0.75 * fair * _levels(f, "moles", 3, c.moles)
    )
    melanin = (
        even * c.mottle * (0.013 * blotch + 0.011 * mottle)
        + (1 - 0.4 * c.makeup) * marks
        + 0.06 * lids
        + 0.07 * c.under_eye * f["under_eyes"]
    )
    blood = (
        even * c.mottle * (0.07 * mottle - 0.05 * blotch)
        + c.redness * (0.55 * f["cheeks"] + 0.70 * f["flushed"])
        + 0.22 * lids
        + 0.30 * f["rim"]
        + 0.28 * c.under_eye * f["under_eyes"]
        - 0.10 * f["oily"]
    )
    lines = sum(
        getattr(c, name) * f[name] * weight
        for name, weight in (
            ("forehead_lines", 0.34), ("eye_lines", 0.30), ("fold_lines", 0.34),
            ("neck_lines", 0.30),
        )
    )  # fmt: skip
    pores = c.pores * 0.035 * f["pores"] * off_lips
    shade = lines - pores + 1.5 * f["nostril"] + 0.55 * f["between"]
    area = f["moustache"] + f["chin_beard"] + f["jaw_beard"]
    stubble = c.stubble * jnp.minimum(area, 1.0)
    under = c.under_eye * f["under_eyes"]
    crack = lips * f["lip_cracks"] * 0.22
    shadow = c.makeup * lids * 0.55
    stick = _between_three(c.makeup_hue, *(linear(_LIPSTICK[k]) for k in (-1, 0, 1)))
    stick = jnp.log(stick) + 0.3 * (tone - jnp.log(0.4))
    out = []
    for k in range(3):
        lip = (
            by_blood[k] * (0.32 + 0.62 * c.lip_blood)
            + by_melanin[k] * (0.03 + 0.40 * c.lip_melanin)
            - (0.0, 0.12, 0.04)[k]
        )
        lip = lip + (stick[k] - tone[k] - lip) * (0.75 * c.makeup)
        plane = (
            tone[k]
            + by_melanin[k] * melanin * off_lips
            + by_blood[k] * blood * off_lips
            + lips * (lip + 0.05 * mottle)
            - crack
            - shade * (0.9, 1.0, 1.0)[k]
            - stubble * _SHADE_OF_BEARD[k]
            - under * _UNDER_EYE[k]
            - shadow * (0.55, 0.75, 0.70)[k]
        )
        out.append(plane)
    # eyeliner and lashes over everything on the skin
    liner = jnp.minimum(f["rim"] * (0.70 + 0.28 * c.makeup), 1.0)
    lash = f["lash"] * (0.25 + 0.75 * c.lashes)
    dark = jnp.clip(1.0 - (1.0 - 0.85 * liner) * (1.0 - 0.9 * lash), 0.0, 1.0)
    return [p + (float(np.log(_LASH[k])) - p) * dark for k, p in enumerate(out)]


def _between_three(t, low, middle, high):
    return jnp.where(t < 0, middle + (low - middle) * -t, middle + (high - middle) * t)


def _beard_cover(canvas, c):
    areas = {name: canvas[name] for name in ("moustache", "chin_beard", "jaw_beard")}
    grown = sum(getattr(c, name) * area for name, area in areas.items())
    shadow = 0.55 * c.stubble * jnp.minimum(sum(areas.values()), 1.0)
    amount = jnp.clip(shadow + grown, 0.0, 1.0)
    opacity = jnp.clip(0.45 + 0.55 * grown, 0.0, 0.96)
    return _levels(canvas, "bristle", 3, amount) * opacity


def _scalp_cover(canvas, c):
    depth = canvas["hair_depth"] - 6.0 * c.hairline - 30.0 * c.recession * canvas["temples"]
    amount = c.scalp_hair * _smoothstep(depth, -4.0, 11.0)
    amount = amount * (1.0 - 0.9 * c.recession * canvas["crown"])
    return _levels(canvas, "hair", 3, amount) * (0.45 + 0.53 * amount)


def _surface(canvas, c, beard, scalp):
    """Planes: roughness and specular of skin, lips and hair."""
    f = canvas
    hairy = jnp.maximum(beard, scalp)
    rough = 0.50 - 0.20 * c.oil * f["oily"] + 0.02 * c.pores * f["pores"]
    rough = rough + (0.34 - 0.10 * c.makeup - rough) * f["lips"]
    rough = rough + (0.45 - rough) * hairy
    cavity = f["between"] + f["nostril"] + 0.5 * c.fold_lines * f["fold_lines"]
    specular = 0.35 + 0.08 * c.oil * f["oily"] - 0.03 * c.pores * f["pores"]
    specular = (specular + (0.55 - specular) * hairy) * (1.0 - jnp.clip(cavity, 0.0, 0.9))
    return rough, specular


def _normal(canvas, c, beard, scalp):
    """[T, T, 3] unit normals of pores, lines, lips, moles and hair."""
    weights = dict(
        pores=0.25 + 1.1 * c.pores,
        lips=1.0,
        moles=c.moles,
        hair=2.0 * jnp.maximum(beard, scalp),
        forehead_lines=c.forehead_lines,
        eye_lines=c.eye_lines,
        fold_lines=c.fold_lines,
        neck_lines=c.neck_lines,
    )
    x, y = (
        -sum(w * canvas[f"{name}_{axis}"] for name, w in weights.items()) for axis in ("x", "y")
    )
    z = 1.0 / jnp.sqrt(1.0 + x * x + y * y)
    return jnp.stack([x * z, y * z, z], axis=-1)


def _brow(patch, c, under, skin, hair):
    """Hairs whose roots lie inside the shape of the brow, over skin that they shade."""

    def inside(s, t, soft):
        s = s - 0.13 * c.brow_gap * jnp.clip(0.5 - s, 0.0, 1.0)
        reach = jnp.clip(s, 0.0, 1.0)
        middle = 2.0 * c.brow_height + c.brow_arch * (2.0 * jnp.sin(np.pi * reach**1.4) - 0.9)
        middle = middle + 1.3 * (1.0 - reach) ** 2
        taper = 0.80 + 0.95 * reach - 1.42 * reach * reach
        half = (1.5 + 3.1 * c.brow_thickness) * jnp.maximum(taper, 0.15)
        across = _smoothstep(jnp.abs(t - middle) / half, 1.0 + soft, 1.0 - soft)
        return across * _smoothstep(s, -0.04 - soft / 4, 0.24) * _smoothstep(s, 1.10, 0.92)

    one = patch["cover_1"] * inside(patch["s_1"], patch["t_1"], 0.35)
    two = patch["cover_2"] * inside(patch["s_2"], patch["t_2"], 0.35)
    hairs = (1.0 - (1.0 - one) * (1.0 - two)) * (0.30 + 0.75 * c.brow_density)
    shade = inside(patch["s"], patch["t"], 0.6) * (0.10 + 0.45 * c.brow_density)
    cover = jnp.clip(1.0 - (1.0 - hairs) * (1.0 - shade * 0.75), 0.0, 0.95)
    *color, rough, specular = under
    return [*_blend(color, 0.75 * hair, cover), rough + (0.5 - rough) * cover, specular]


def _blend(below, above, weight):
    """Three planes over three planes (or numbers)."""
    return [b + (above[k] - b) * weight for k, b in enumerate(below)]


def _eye(patch, c, under, skin, hair):
    """Sclera with veins, iris with fibres, limbal ring and collarette, pupil, catch light."""
    r, fibre = patch["radius"], patch["fibre"]
    white = _SCLERA + (_YELLOW - _SCLERA) * c.sclera_yellow
    white = white * (1.0 - 0.12 * c.melanin)
    red = jnp.clip(0.55 * c.sclera_veins * patch["vein"] + 0.10 * c.sclera_veins, 0.0, 1.0)
    color = _blend([white[k] for k in range(3)], _VEIN, red)
    color = _blend(color, _PINK * (0.65 + 0.35 * skin / skin.max()), patch["caruncle"])
    pupil = 0.26 + 0.22 * c.pupil
    around = c.collarette * _smoothstep(r, pupil + 0.34, pupil + 0.02)
    melanin = c.iris_melanin + 0.10 * fibre * (1.2 - c.iris_melanin)
    melanin = melanin + 0.30 * around * (1.1 - c.iris_melanin)
    iris = iris_tone(jnp.clip(melanin, 0.0, 1.0), jnp.broadcast_to(c.iris_green, r.shape))
    ring = _smoothstep(r, 0.72, 1.0) * (0.25 + 0.65 * c.iris_ring)
    shade = jnp.clip(1.0 + 0.22 * fibre, 0.4, 1.7) * (1.0 - 0.8 * ring)
    iris = [iris[:, k] * shade for k in range(3)]
    color = _blend(color, iris, _smoothstep(r, 1.07, 0.95))
    color = _blend(color, (0.004,) * 3, _smoothstep(r, pupil + 0.05, pupil - 0.05))
    away = jnp.hypot(patch["x"] - 0.30, patch["y"] - 0.16)
    color = _blend(color, (1.0,) * 3, 0.95 * c.catchlight * _smoothstep(away, 0.24, 0.12))
    return _cover(under, [*color, 0.06, 0.32], patch.cover)


def _cover(under, over, cover):
    return [u + (o - u) * cover for u, o in zip(under, over, strict=True)]


def _inside(patch, c, under, skin, hair):
    """Mouth, tongue, gums, teeth, the wet rims of the lids, strips of lashes."""
    dim = patch["dim"]
    blood = 0.75 + 0.25 * (1.0 - c.melanin)
    enamel = _TEETH + (_YELLOW_TEETH - _TEETH) * c.teeth_yellow
    rim = 0.45 * _PINK + 0.55 * skin * jnp.array([1.0, 0.72, 0.70])
    lash = patch["lash"] * (patch["hair"] * (0.5 + 0.5 * c.lashes))  # strips: hairs and gaps
    gaps = patch["lash"] - lash
    tongue = patch["tongue"] * (1.0 + 0.10 * patch["rough"])
    teeth = patch["enamel"] * (1.0 - 0.7 * patch["gap"])
    color = [
        dim
        * (
            patch["mouth"] * (_MOUTH[k] * blood)
            + tongue * (_TONGUE[k] * blood)
            + patch["gum"] * (_GUM[k] * (0.6 + 0.4 * blood))
            + teeth * enamel[k]
            + patch["rim"] * rim[k]
            + lash * _LASH[k]
            + gaps * (0.55 * skin[k])
        )
        for k in range(3)
    ]
    wet = 0.25 - 0.08 * patch["enamel"] + 0.45 * patch["lash"]
    return _cover(under, [*color, wet, 0.35 * dim], patch.cover)
