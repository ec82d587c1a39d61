"""One row per face for all faces: labels.csv, labels.parquet, COCO keypoints."""

import contextlib
import csv
import importlib.util
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from facejax.host.files import atomic_path

_AXES = "xyz"
_ROWS_PER_GROUP = 1000
# the iBUG order as lines, for programs that draw COCO skeletons; both ends are 0-based
_LINES = (
    (0, 16, False), (17, 21, False), (22, 26, False), (27, 30, False), (31, 35, False),
    (36, 41, True), (42, 47, True), (48, 59, True), (60, 67, True),
)  # fmt: skip


def column_names(labels: Mapping[str, np.ndarray], exp_names: Sequence[str] = ()) -> list[str]:
    """Columns of the table, one per number.

    Args:
      labels: of any face.
      exp_names: of the expression coefficients, or ().

    Returns:
      'face', then yaw_rad, ...; vectors are numbered (id_0), points have axes
      (landmarks68_px_30_x), named expressions are exp_jawOpen.
    """
    names = ["face"]
    for key, array in labels.items():
        array = np.asarray(array)
        points = key.endswith(("_mm", "_px")) and array.ndim and array.shape[-1] <= len(_AXES)
        for index in np.ndindex(array.shape):
            parts = [str(i) for i in index]
            if points:
                parts[-1] = _AXES[index[-1]]
            elif key in ("exp", "exp_before") and exp_names:
                parts = [exp_names[index[0]]]
            names.append("_".join([key, *parts]))
    return names


def row(index: int, labels: Mapping[str, np.ndarray]) -> np.ndarray:
    """The numbers of a face in the order of `column_names`, float64."""
    return np.concatenate(
        [[index], *(np.asarray(v, np.float64).reshape(-1) for v in labels.values())]
    )


class TableWriter:
    """Writes labels.csv, and labels.parquet where pyarrow is installed, row by row.

    Use as a context manager; the files appear, whole, when it ends without an error.
    """

    def __init__(self, out: pathlib.Path, columns: Sequence[str]):
        self._out, self._columns = out, list(columns)
        self._parquet = importlib.util.find_spec("pyarrow") is not None
        self._buffer: list[np.ndarray] = []

    def __enter__(self) -> "TableWriter":
        with contextlib.ExitStack() as stack:
            path = stack.enter_context(atomic_path(self._out / "labels.csv"))
            file = stack.enter_context(open(path, "w", newline="", encoding="utf-8"))
            self._csv = csv.writer(file)
            self._csv.writerow(self._columns)
            if self._parquet:
                import pyarrow
                import pyarrow.parquet

                fields = [
                    (c, pyarrow.int64() if c == "face" else pyarrow.float32())
                    for c in self._columns
                ]
                self._schema = pyarrow.schema(fields)
                path = stack.enter_context(atomic_path(self._out / "labels.parquet"))
                self._writer = pyarrow.parquet.ParquetWriter(path, self._schema)
                stack.push(self._end_parquet)
            self._files = stack.pop_all()  # they end as they would here, errors included
        return self

    def _end_parquet(self, kind, *unused) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._writer.close()

    def add(self, numbers: np.ndarray) -> None:
        """One row."""
        self._csv.writerow([f"{v:.8g}" for v in numbers])
        if self._parquet:
            self._buffer.append(numbers)
            if len(self._buffer) == _ROWS_PER_GROUP:
                self._flush()

    def _flush(self) -> None:
        import pyarrow

        if self._buffer:
            table = np.stack(self._buffer)
            arrays = [pyarrow.array(c.astype(t.type.to_pandas_dtype()))
                      for c, t in zip(table.T, self._schema, strict=True)]  # fmt: skip
            self._writer.write_table(pyarrow.Table.from_arrays(arrays, schema=self._schema))
            self._buffer.clear()

    def __exit__(self, *error) -> None:
        self._files.__exit__(*error)


def write_coco(
    path: pathlib.Path,
    faces: Iterable[tuple[int, str, Mapping[str, np.ndarray]]],
    size: int,
) -> None:
    """COCO keypoints of the 68 landmarks, one annotation per image.

    COCO's keypoints count pixels, so they are half a pixel less than `landmarks68_px`; its boxes
    are measured from the picture's corner, as our points are. v is 2 for visible landmarks, 1 for
    hidden ones, 0 (at 0, 0) for those outside the picture. The box is that of the landmarks.

    Args:
      path: of the .json.
      faces: (number, file name, labels); read once, one at a time.
      size: pixels on a side.
    """
    skeleton = []
    for first, last, closed in _LINES:
        skeleton += [[i + 1, i + 2] for i in range(first, last)]
        skeleton += [[last + 1, first + 1]] if closed else []
    category = {
        "id": 1,
        "name": "face",
        "supercategory": "person",
        "keypoints": [f"ibug_{i}" for i in range(68)],
        "skeleton": skeleton,
    }
    head = {"info": {"description": "made by facejax"}, "licenses": [], "categories": [category]}
    notes = path.with_suffix(".annotations.tmp")
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as out:
        try:
            with open(notes, "w", encoding="utf-8") as annotations:
                out.write(json.dumps(head)[:-1] + ', "images": [')
                for k, (index, name, labels) in enumerate(faces):
                    comma = ",\n" if k else "\n"
                    image = {"id": index, "file_name": name, "width": size, "height": size}
                    out.write(comma + json.dumps(image))
                    annotations.write(comma + json.dumps(_annotation(index, labels, size)))
            out.write('], "annotations": [')
            with open(notes, encoding="utf-8") as annotations:
                for line in annotations:
                    out.write(line)
            out.write("]}\n")
        finally:
            notes.unlink(missing_ok=True)


def _annotation(index: int, labels: Mapping[str, np.ndarray], size: int) -> dict[str, Any]:
    points, visible = labels["landmarks68_px"], labels["landmarks68_visible"]
    inside = ((points >= 0) & (points <= size)).all(axis=1)
    keypoints = [
        [round(float(x) - 0.5, 3), round(float(y) - 0.5, 3), 2 if v else 1] if here else [0, 0, 0]
        for (x, y), v, here in zip(points, visible, inside, strict=True)
    ]
    low = np.clip(points.min(axis=0), 0, size)
    width, height = (np.clip(points.max(axis=0), 0, size) - low).tolist()
    return {
        "id": index,
        "image_id": index,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [*low.tolist(), width, height],
        "area": width * height,
        "num_keypoints": int(inside.sum()),
        "keypoints": [v for k in keypoints for v in k],
    }
