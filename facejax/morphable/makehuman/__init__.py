"""The built-in head of real anatomy, from MakeHuman's CC0 data: `load_morphable('makehuman')`."""

from facejax.morphable.makehuman.build import build_makehuman
from facejax.morphable.makehuman.painted import load_makehuman
from facejax.morphable.makehuman.people import (
    People,
    sample_attributes,
    sample_identity,
    sample_people,
)

__all__ = [
    "People",
    "build_makehuman",
    "load_makehuman",
    "sample_attributes",
    "sample_identity",
    "sample_people",
]
