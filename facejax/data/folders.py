"""Opens a data set on disk, whatever its format."""

import os
import pathlib

from facejax.data.packed import PackedSource
from facejax.data.source import Source
from facejax.data.uvmaps import KINDS, UVCodec
from facejax.host.files import list_files
from facejax.io.tfrecord_images import MultiResolutionTFRecords


class TFRecordSource(MultiResolutionTFRecords, Source):
    """Multi-resolution TFRecords of UV maps.

    Attributes:
      codec: from codec.json, if the folder holds one; otherwise 3, 6 or 9 channels are texture,
        shape and normals in the absolute encoding with nominal units.
      names: numbers, as records have no names.
      label_names: 'label0', ...
    """

    in_threads = True
    draw = MultiResolutionTFRecords.batch

    def __init__(self, folder: str | os.PathLike, skip_corrupt: bool = False):
        """Opens a set.

        Args:
          folder: holds *-rLL.tfrecords.
          skip_corrupt: leave damaged records out; their numbers are in `skipped`.

        Raises:
          ValueError: the channels do not match the encoding.
        """
        super().__init__(folder, skip_corrupt=skip_corrupt)
        channels = self.meta["channels"]
        if (self.folder / "codec.json").is_file():
            self.codec = UVCodec.load(self.folder)
        elif channels in (3, 6, 9):
            kinds = tuple((kind, 3) for kind in KINDS[: channels // 3])
            self.codec = UVCodec(modalities=kinds, encoding="absolute")
        else:
            raise ValueError(f"{folder}: {channels} channels, wanted 3, 6 or 9")
        if self.codec.channels != channels:
            raise ValueError(
                f"{self.folder / 'codec.json'}: the records have {channels} channels, but the "
                f"modalities {list(self.codec.slices())} have {self.codec.channels}"
            )
        self.names = [f"{i:08d}" for i in range(len(self))]
        self.label_names = tuple(f"label{k}" for k in range(self.labels.shape[1]))

    def mask(self, resolution: int):
        """[r, r] bool, true inside the UV layout."""
        return self.codec.mask(resolution)


def open_dataset(
    folder: str | os.PathLike, skip_corrupt: bool = False
) -> PackedSource | TFRecordSource:
    """A source with `codec`, `labels`, `names`, `label_names` and `resolutions`.

    Args:
      folder: a packed set (meta.json), or multi-resolution TFRecords.
      skip_corrupt: leave damaged records of TFRecords out. A damaged packed set is always refused.

    Raises:
      ValueError: the folder is neither, or both, or damaged.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; wanted a data set")
    packed, records = (folder / "meta.json").is_file(), list_files(folder, (".tfrecords",))
    if packed and records:
        raise ValueError(
            f"{folder} holds two sets, a packed one (meta.json) and TFRecords ({records[0].name}): "
            "move one of them away"
        )
    if packed:
        return PackedSource(folder)
    if records:
        return TFRecordSource(folder, skip_corrupt)
    raise ValueError(
        f"{folder} holds neither meta.json nor *.tfrecords: it is not a data set (make one with "
        "data_prep/dataset_tool.py)"
    )
