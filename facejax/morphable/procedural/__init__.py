"""A morphable head made of formulas, usable with no licensed data."""

from facejax.morphable.procedural.blendshapes import EXPRESSION_NAMES
from facejax.morphable.procedural.build import VERSION, build_procedural
from facejax.morphable.procedural.head import draw_identity, head_points
from facejax.morphable.procedural.layout import CanonicalLayout
from facejax.morphable.procedural.paint import PAINT_NAMES, Painter, draw_paint

__all__ = [
    "EXPRESSION_NAMES",
    "PAINT_NAMES",
    "VERSION",
    "CanonicalLayout",
    "Painter",
    "build_procedural",
    "draw_identity",
    "draw_paint",
    "head_points",
]
