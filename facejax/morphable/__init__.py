"""3D morphable face models: the linear model, the procedural head, ICT-FaceKit, files."""

from facejax.morphable.expressions import expression_presets, sample_coefficients
from facejax.morphable.load import load_morphable
from facejax.morphable.model import (
    Coefficients,
    FaceTopology,
    MorphableModel,
    decode_albedo,
    decode_shape,
    decode_texture,
    join_coefficients,
    landmarks,
    split_coefficients,
)
from facejax.morphable.storage import load_npz, save_npz

__all__ = [
    "Coefficients",
    "FaceTopology",
    "MorphableModel",
    "decode_albedo",
    "decode_shape",
    "decode_texture",
    "expression_presets",
    "join_coefficients",
    "landmarks",
    "load_morphable",
    "load_npz",
    "sample_coefficients",
    "save_npz",
    "split_coefficients",
]
