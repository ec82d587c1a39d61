"""Where TBGAN's examples come from, checked against its networks."""

import logging
import warnings
from typing import Any

import jax
import numpy as np

from facejax.data.models import model_of
from facejax.data.source import Source
from facejax.systems.tbgan.networks import NetworkConfig

_log = logging.getLogger(__name__)
SOURCES = ("model", "packed", "tfrecords", "black")
LABEL_KINDS = ("auto", "probabilities", "logits", "indices")


class BlackSource(Source):
    """Black maps with zero labels, to measure speed (the original's SyntheticDataset)."""

    def __init__(self, net: NetworkConfig):
        self._net = net
        self.meta: dict[str, Any] = {
            "channels": net.num_channels,
            "resolution": net.resolution,
            "num_labels": net.label_size,
            "label_names": [f"label {k}" for k in range(net.label_size)],
        }

    def __len__(self) -> int:
        return 1 << 20

    def draw(self, indices: np.ndarray, resolution: int) -> dict[str, np.ndarray]:
        """'maps' [B, r, r, C] of -1 and 'labels' [B, K] of 0."""
        shape = (len(indices), resolution, resolution, self._net.num_channels)
        return {
            "maps": np.full(shape, -1.0, np.float32),
            "labels": np.zeros((len(indices), self._net.label_size), np.float32),
        }


def resolve_label_kind(kind: str, labels: np.ndarray | None, net: NetworkConfig) -> str:
    """What the stored labels are.

    Args:
      kind: 'probabilities', 'logits', 'indices' or 'auto'.
      labels: [N, L] all labels of the set, or None where they are made on the fly.
      net: the networks.

    Returns:
      'probabilities', 'logits' or 'indices' ([N, 1] class numbers). 'auto' takes one column of
      whole numbers for indices, rows that are positive and sum to one for probabilities, and
      anything else for logits.

    Raises:
      ValueError: an unknown kind, or numbers that are no classes.
    """
    if kind not in LABEL_KINDS:
        raise ValueError(f"data.label_kind must be one of {LABEL_KINDS}, found {kind!r}")
    if labels is None or not net.label_size:
        return "probabilities" if kind == "auto" else kind
    whole = labels.shape[1] == 1 and bool((labels == np.rint(labels)).all())
    if kind == "auto":
        if whole and net.label_size > 1:
            kind = "indices"
        else:
            sums = labels.sum(1)
            simplex = (labels >= 0).all() and np.allclose(sums, 1, atol=1e-3)
            scores = simplex or not labels.any() or net.label_size == 1  # softmax of one is 1
            kind = "probabilities" if scores else "logits"
    if kind == "indices" and not (whole and 0 <= labels.min() and labels.max() < net.label_size):
        raise ValueError(
            f"class indices must be one column of whole numbers in 0 .. {net.label_size - 1}, "
            f"found {labels.shape[1]} column(s) spanning {labels.min():g} .. {labels.max():g}: set "
            "--config.model.label_size to the number of classes, or another data.label_kind"
        )
    return kind


class _Source(Source):
    """A source whose labels are cut to the network's label size and made probabilities.

    Labels that are stored as 'logits' (the original's un-normalised network outputs) go through a
    softmax; 'probabilities', or any scores that the networks are to see as they are, do not.
    """

    def __init__(self, source, net: NetworkConfig, label_kind: str, model):
        self._source, self._net, self.model = source, net, model
        self._indices, self.in_threads = label_kind == "indices", source.in_threads
        label_kind = "probabilities" if self._indices else label_kind
        self.codec = getattr(source, "codec", None)
        names = source.meta.get("label_names") or [
            f"label {k}" for k in range(source.meta.get("num_labels", net.label_size))
        ]
        if self._indices:
            names = [f"class {k}" for k in range(net.label_size)]
        self.label_names = tuple(names)[: net.label_size]
        self.meta = dict(source.meta) | {"label_kind": label_kind}
        if hasattr(source, "labelled") and len(names) == net.label_size:
            self.labelled = source.labelled

    def __len__(self) -> int:
        return len(self._source)

    def draw(self, indices: np.ndarray, resolution: int) -> dict[str, Any]:
        drawn = self._source.draw(indices, resolution=resolution)
        labels = drawn["labels"][:, : self._net.label_size]
        if self._indices:
            labels = np.eye(self._net.label_size, dtype=np.float32)[labels[:, 0].astype(np.int64)]
        return drawn | {"labels": labels}

    def tables(self, resolution: int) -> Any:
        return self._source.tables(resolution=resolution)

    @property
    def has_make(self) -> bool:
        return self._source.has_make or self.meta["label_kind"] == "logits"

    def make(self, tables: Any, drawn: dict[str, Any], resolution: int) -> dict[str, Any]:
        made = self._source.make(tables, drawn, resolution=resolution)
        labels = drawn["labels"]
        logits = self.meta["label_kind"] == "logits"
        return {"maps": made["maps"], "labels": jax.nn.softmax(labels) if logits else labels}


def make_source(config, net: NetworkConfig):
    """The source that `config.data` describes.

    Args:
      config: with `data` (source, model, model_path, path, encoding, scales, num_examples,
        label_kind, skip_corrupt) and `seed`.
      net: the networks that will be trained on it.

    Raises:
      ValueError: an unknown source or label kind, or data whose channels, resolution or labels do
        not fit `net`.
    """
    c = config.data
    if c.source not in SOURCES and not c.source.startswith("tfds:"):
        raise ValueError(
            f"data.source must be one of {SOURCES} or tfds:NAME (data.path is then the data_dir), "
            f"found {c.source!r}"
        )
    skip_corrupt = c.get("skip_corrupt", False)  # runs from before this key have none
    if skip_corrupt and c.source != "tfrecords":
        raise ValueError(
            f"data.skip_corrupt is for data.source='tfrecords', found {c.source!r}: a damaged set "
            "of another kind is refused as a whole"
        )
    model = None
    if c.source == "model":
        from facejax.data.synthetic_uv import MorphableUVSource

        model = model_of(config.data)
        source = MorphableUVSource(
            model,
            resolution=net.resolution,
            num_examples=c.num_examples,
            seed=config.seed,
            encoding=c.encoding,
            texture_scale=c.texture_scale,
            shape_scale_mm=c.shape_scale_mm,
            normals_scale=c.normals_scale,
        )
    elif c.source == "black":
        source = BlackSource(net)
    elif c.source.startswith("tfds:"):
        from facejax.data.tfds import TfdsSource

        source = TfdsSource(c.source.removeprefix("tfds:"), c.path)
        if source.codec.model:
            model = model_of(config.data)
    else:
        if not c.path:
            raise ValueError(f"data.source={c.source!r} needs --config.data.path=FOLDER")
        if c.source == "packed":
            from facejax.data.packed import PackedSource

            source = PackedSource(c.path)
        else:
            source = _open_records(c.path, skip_corrupt)
        if source.codec.model:
            model = model_of(config.data)  # for meshes; the maps say which model they were made for
    labels = getattr(source, "labels", None)
    kind = resolve_label_kind(c.label_kind, labels, net)
    _check(source, net, config, kind)
    return _Source(source, net, kind, model)


def _open_records(folder: str, skip_corrupt: bool):
    """TFRecords; damaged ones that are left out are logged with file and byte, and counted."""
    from facejax.data.folders import TFRecordSource

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source = TFRecordSource(folder, skip_corrupt)
    for warning in caught:
        _log.warning("%s", warning.message)
    if skip_corrupt:
        count = len(source.skipped)
        _log.warning(
            "left out %d damaged record(s) of %d in %s", count, len(source) + count, folder
        )
        source.meta["skipped"] = count
    return source


def _check(source, net: NetworkConfig, config, label_kind: str) -> None:
    where = config.data.path or config.data.source
    channels = source.meta["channels"]
    channels = channels if isinstance(channels, int) else len(channels)
    if channels != net.num_channels:
        raise ValueError(
            f"{where} has maps of {channels} channels, but the modalities "
            f"{[n for n, _ in net.modalities]} need {net.num_channels}: set "
            f"--config.model.modalities to match the data"
        )
    if source.meta["resolution"] < net.resolution:
        raise ValueError(
            f"{where} holds maps of {source.meta['resolution']} pixels, the networks end at "
            f"{net.resolution}: set --config.model.resolution={source.meta['resolution']} or less"
        )
    labels = len(source.meta.get("label_names", ())) or source.meta.get("num_labels", 0)
    if labels < net.label_size and label_kind != "indices":
        raise ValueError(
            f"{where} has {labels} label(s), the networks want {net.label_size}: set "
            f"--config.model.label_size={labels} or less (0 trains without labels)"
        )
