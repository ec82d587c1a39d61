"""Wardrobes in the user's cache: building one takes seconds."""

import dataclasses
import hashlib
import json
import typing

import numpy as np

from facejax.attachments.wardrobe import Wardrobe, build_wardrobe
from facejax.host.arrays import read_npz
from facejax.host.cache import cached
from facejax.morphable.model import MorphableModel
from facejax.morphable.storage import content_digest, write_arrays

_VERSION = 1  # of everything that build_wardrobe depends on; part of the cache's key


def load_wardrobe(model: MorphableModel) -> Wardrobe:
    """The `Wardrobe` of a face model, from the cache folder or built and put there.

    A damaged cache file is built again with a warning; where the folder cannot be written, the
    wardrobe is built every time (with a warning).

    Args:
      model: with 68 landmarks and ears.

    Returns:
      Numpy arrays; pass it to jitted functions as an argument.

    Raises:
      ValueError: the model has no outer surface or no ears.
    """
    used = {"mean_shape": model.mean_shape, "exp_std": model.exp_std}
    used |= {"exp_basis": model.exp_basis, "triangles": model.topology.mesh.triangles}
    used |= {"landmarks68": model.topology.landmarks68} | model.topology.masks
    content = content_digest({k: np.asarray(v) for k, v in used.items()})
    key = json.dumps(dict(version=_VERSION, content=content))
    digest = hashlib.blake2b(key.encode(), digest_size=10).hexdigest()
    return cached(
        f"wardrobe-{digest}.npz",
        f"the wardrobe of the face model {model.topology.name!r}",
        lambda: build_wardrobe(model),
        lambda path: _unpack(Wardrobe, read_npz(path), ""),
        lambda path, wardrobe: write_arrays(path, _pack(wardrobe, "")),
    )


def _pack(tree, prefix) -> dict[str, np.ndarray]:
    """Arrays of nested dataclasses by their path, 'hair.offset'."""
    out = {}
    for field in dataclasses.fields(tree):
        value = getattr(tree, field.name)
        if dataclasses.is_dataclass(value):
            out |= _pack(value, f"{prefix}{field.name}.")
        else:
            out[prefix + field.name] = value
    return out


def _unpack(kind, arrays, prefix):
    """Inverse of `_pack`, after the types that the fields are declared with."""
    hints = typing.get_type_hints(kind)
    values = {}
    for field in dataclasses.fields(kind):
        name = prefix + field.name
        nested = dataclasses.is_dataclass(hints[field.name])
        values[field.name] = (
            _unpack(hints[field.name], arrays, name + ".") if nested else arrays[name]
        )
    return kind(**values)
