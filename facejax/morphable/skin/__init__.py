"""Skin painted by formulas, for any face model with UVs: albedo, normal, roughness, specular maps.

    head = load_morphable('makehuman')
    people = sample_skin(rng, age_years, masculinity, ancestry)     # numpy, on the host
    maps = paint(canvas(head, 512), people)                         # jax, pure and batched

Nothing is taken from photographs or scans: all of it is code and figures of this package, under its
licence; the physical constants of `spectra` are published measurements and named there.
"""

from facejax.morphable.skin.coefficients import SkinPaint, sample_skin
from facejax.morphable.skin.fields import VERSION, Canvas, Patch, canvas
from facejax.morphable.skin.linear import LinearAlbedo, at_vertices, linear_albedo
from facejax.morphable.skin.maps import SkinMaps, hair_color, paint

__all__ = [
    "VERSION",
    "Canvas",
    "LinearAlbedo",
    "Patch",
    "SkinMaps",
    "SkinPaint",
    "at_vertices",
    "canvas",
    "hair_color",
    "linear_albedo",
    "paint",
    "sample_skin",
]
