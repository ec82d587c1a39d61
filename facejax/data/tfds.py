"""UV maps as TensorFlow Datasets in array_record files, written and read without TensorFlow."""

import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from facejax.data.source import check_indices
from facejax.data.uvmaps import UVCodec, pyramid

VERSION = "1.0.0"
DEFAULT_FOLDER = "~/tensorflow_datasets"


def write_tfds(
    folder: str | os.PathLike,
    batches: Iterable[Mapping[str, Any]],
    *,
    num_examples: int,
    resolution: int,
    codec: UVCodec,
    label_names: Sequence[str] = (),
) -> pathlib.Path:
    """Writes a data set that `tfds.builder_from_directory` and `tfds.data_source` read.

    Features: 'maps' float32 [R, R, C] in network channels, 'labels' float32 [L], 'name' text.

    Args:
      folder: DATA_DIR/NAME; the set goes to DATA_DIR/NAME/1.0.0, with its codec beside.
      batches: as in `facejax.data.packed.write_packed`.
      num_examples: the examples that all batches hold together.
      resolution: R, a power of two.
      codec: what the channels mean.
      label_names: L names.

    Returns:
      The folder of the version.

    Raises:
      ValueError: the folder exists, its name is no snake_case, or the batches do not fit.
    """
    import tensorflow_datasets as tfds

    folder = pathlib.Path(folder).expanduser()
    if folder.exists():
        raise ValueError(f"{folder} exists: choose another folder or remove it")
    if not (folder.name.isidentifier() and folder.name == folder.name.lower()):
        raise ValueError(f"{folder.name!r} is no name of a data set: wanted snake_case")
    shape, labels = (resolution, resolution, codec.channels), (len(label_names),)
    written = 0

    class Maps(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = folder.name

        def _info(self):
            features = {
                "maps": tfds.features.Tensor(shape=shape, dtype=np.float32),
                "labels": tfds.features.Tensor(shape=labels, dtype=np.float32),
                "name": tfds.features.Text(),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            nonlocal written
            for batch in batches:
                maps = np.asarray(batch["maps"], np.float32)
                rows = np.asarray(batch["labels"], np.float32)
                names = batch.get("names") or [f"{written + i:08d}" for i in range(len(maps))]
                if maps.shape[1:] != shape or rows.shape != (len(maps), *labels):
                    raise ValueError(
                        f"maps {maps.shape} and labels {rows.shape}, wanted [B, {shape}] and "
                        f"[B, {labels}]"
                    )
                for example in zip(maps, rows, names, strict=True):
                    yield written, dict(zip(("maps", "labels", "name"), example, strict=True))
                    written += 1

    Maps.VERSION = tfds.core.Version(VERSION)
    builder = Maps(data_dir=str(folder.parent), file_format="array_record")
    builder.download_and_prepare()
    if written != num_examples:
        raise ValueError(f"{num_examples} examples were announced but {written} were given")
    out = pathlib.Path(builder.data_dir)
    codec.save(out)
    (out / "labels.json").write_text(json.dumps(list(label_names)) + "\n")
    return out


class TfdsSource:
    """A `Source` over such a data set; lower resolutions are made when they are asked for.

    Attributes:
      meta: channels, resolution, count, label names.
      codec: the UV encoding.
      label_names: L names.
      resolutions: 4 up to the stored one.
    """

    def __init__(self, name: str, data_dir: str | os.PathLike = ""):
        """Opens a set.

        Args:
          name: of the set.
          data_dir: where sets lie; ~/tensorflow_datasets by default.

        Raises:
          ValueError: there is no such set, or not one that `write_tfds` wrote.
        """
        import tensorflow_datasets as tfds

        root = pathlib.Path(data_dir or DEFAULT_FOLDER).expanduser() / name
        versions = sorted(p.parent for p in root.glob("*/dataset_info.json"))
        if not versions:
            raise ValueError(
                f"{root} holds no TFDS data set: make one with `data_prep/dataset_tool.py convert "
                f"DIR {root} --format=tfds`, or give its data_dir as --config.data.path"
            )
        self.folder = versions[-1]
        self.codec = UVCodec.load(self.folder)
        self.label_names = tuple(json.loads((self.folder / "labels.json").read_text()))
        builder = tfds.builder_from_directory(str(self.folder))
        self._data = builder.as_data_source(split="train")
        resolution = builder.info.features["maps"].shape[0]
        self.resolutions = tuple(1 << k for k in range(2, resolution.bit_length()))
        self.meta: dict[str, Any] = {
            "format": "tfds",
            "count": len(self._data),
            "resolution": resolution,
            "channels": self.codec.channels,
            "dtype": "float32",
            "label_names": list(self.label_names),
        }

    def __len__(self) -> int:
        return len(self._data)

    def batch(self, indices: np.ndarray, resolution: int | None = None) -> dict[str, np.ndarray]:
        """'maps' [B, r, r, C] and 'labels' [B, L] of examples by number; r the highest by default.

        Raises:
          ValueError: an index or a resolution that the set does not hold.
        """
        resolution = self.resolutions[-1] if resolution is None else resolution
        if resolution not in self.resolutions:
            raise ValueError(f"{self.folder} holds {self.resolutions} px, found {resolution} px")
        indices = check_indices(indices, len(self))
        examples = self._data.__getitems__(indices.tolist())
        maps = np.stack([e["maps"] for e in examples])
        maps = pyramid(maps, self.codec.mask(maps.shape[-2]), smallest=resolution)[0][resolution]
        return {
            "maps": np.asarray(maps, np.float32),
            "labels": np.stack([e["labels"] for e in examples]).astype(np.float32),
        }
