"""Where Deep3D's photos come from: rendered on the fly, or read from preprocessed folders."""

import pathlib

from facejax.data.photo_folders import PhotoFolder
from facejax.data.synthetic_photos import PhotoRanges, SyntheticPhotoSource

SOURCES = ("synthetic", "folder")
HELD_OUT = 1_000_003  # seed of the held-out faces, beside that of the run


def load_model(config):
    """The face model of `config.data`: by name with its options, or from `model_path`."""
    from facejax.morphable import load_morphable

    c = config.data
    if c.model_path and c.model == "procedural":
        return load_morphable(c.model_path, on_host=True)
    options = {"path": c.model_path} if c.model_path else {}
    chosen = {k: v for k, v in c.model_options.items() if v}
    return load_morphable(c.model, on_host=True, **options, **chosen)


def synthetic_photos(config, model, num_examples: int, seed: int) -> SyntheticPhotoSource:
    """Rendered photos of random faces.

    Args:
      config: with `data` (image_size, ranges).
      model: the face model.
      num_examples: the length of the set.
      seed: other seeds are other faces.
    """
    c = config.data
    return SyntheticPhotoSource(
        model, c.image_size, num_examples, seed, ranges=PhotoRanges(**c.ranges)
    )


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
