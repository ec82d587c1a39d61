"""Differentiable rendering: rasterise, interpolate, shade, silhouettes, UV maps."""

from facejax.render.antialias import antialias
from facejax.render.interpolate import interpolate
from facejax.render.materials import Lamps, Material
from facejax.render.overlay import draw_points, draw_wireframe
from facejax.render.rasterize import Fragments, rasterize
from facejax.render.renderer import RenderOutput, render
from facejax.render.scene import concatenate_meshes, region_labels
from facejax.render.shading import (
    AmbientLight,
    DirectionalLight,
    PointLight,
    SphericalHarmonics,
    default_light,
    sh_basis,
    shade,
)
from facejax.render.silhouette import boundary_grad
from facejax.render.texture import texture
from facejax.render.uv import UVAtlas, bake, unbake, uv_atlas
from facejax.render.visibility import lit_share, openness

__all__ = [
    "AmbientLight",
    "DirectionalLight",
    "Fragments",
    "Lamps",
    "Material",
    "PointLight",
    "RenderOutput",
    "SphericalHarmonics",
    "UVAtlas",
    "antialias",
    "bake",
    "boundary_grad",
    "concatenate_meshes",
    "default_light",
    "draw_points",
    "draw_wireframe",
    "interpolate",
    "lit_share",
    "openness",
    "rasterize",
    "region_labels",
    "render",
    "sh_basis",
    "shade",
    "texture",
    "unbake",
    "uv_atlas",
]
