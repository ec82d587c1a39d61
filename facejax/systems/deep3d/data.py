"""Where Deep3D's photos come from: rendered on the fly, or read from preprocessed folders."""

import pathlib

from facejax.data.photo_folders import PhotoFolder
from facejax.data.plain_photos import photo_source
from facejax.data.synthetic_photos import HELD_OUT, PhotoSource

SOURCES = ("synthetic", "folder")


def synthetic_photos(config, model, num_examples: int, seed: int) -> PhotoSource:
    """Rendered photos of random faces.

    Args:
      config: with `data` (image_size, ranges).
      model: the face model.
      num_examples: the length of the set.
      seed: other seeds are other faces.
    """
    c = config.data
    return photo_source(
        c.get("look", "plain"), model, c.image_size, num_examples, seed, ranges=c.ranges
    )


def held_out_photos(config, model, num: int) -> PhotoSource:
    """Rendered photos of `num` faces that training does not see."""
    return synthetic_photos(config, model, num, config.seed + HELD_OUT)


def make_source(config, model):
    """The training examples that `config.data` describes.

    Raises:
      ValueError: an unknown source, or no path for a folder.
    """
    c = config.data
    if c.source not in SOURCES:
        raise ValueError(f"data.source must be one of {SOURCES}, found {c.source!r}")
    if c.source == "synthetic":
        if c.path:
            raise ValueError("data.path is set, but not data.source='folder', which reads it")
        return synthetic_photos(config, model, c.num_examples, config.seed)
    if not c.path:
        raise ValueError(
            "data.source='folder' needs --config.data.path=FOLDER, made by "
            "data_prep/preprocess_images.py"
        )
    return PhotoFolder(pathlib.Path(c.path), c.image_size)


def make_val_source(config) -> PhotoFolder | None:
    """The photos of `data.val_path`, or None."""
    c = config.data
    return PhotoFolder(pathlib.Path(c.val_path), c.image_size) if c.get("val_path") else None
