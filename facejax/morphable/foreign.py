"""Face models of other kinds, told by their content: what they are, and what they lack."""

import mmap
import os
import pathlib

from facejax.host.arrays import npz_names
from facejax.host.files import describe_content, list_files
from facejax.host.hdf5 import SIGNATURE

_LOOKED_AT = 20  # files of a folder
_LICENSED = (
    "use the Basel model of 2009 (data_prep/import_bfm.py, or face3d's BFM.mat), ICT-FaceKit or "
    "'procedural'"
)
_WORDS = (  # what a file must hold, and what it is then
    (
        {"v_template", "shapedirs"},
        "FLAME, or another model of the SMPL family: it is not read, as it has no colours per "
        f"vertex and its 68 landmarks lie in a file of their own, inside triangles; {_LICENSED}",
    ),
    (
        {"tex_dir", "mean"},
        f"FLAME's texture space, which is no model of a shape; {_LICENSED}",
    ),
    (
        {"pcaBasis"},
        "a statistical model in HDF5 (of Statismo or Scalismo) without the three parts shape, "
        "expression and color of a Basel model of 2017 or 2019: it is not read; give the whole "
        f"file, or {_LICENSED}",
    ),
)


def describe_foreign(path: str | os.PathLike) -> str:
    """What a model file is that facejax does not read; '' where that is unknown.

    Args:
      path: of a file. Nothing in it is unpickled.
    """
    path = pathlib.Path(path)
    with open(path, "rb") as file:
        head = file.read(8)
        if head.startswith(b"PK"):
            try:
                names = npz_names(path)
            except ValueError:
                return ""
        elif head.startswith((SIGNATURE, b"\x80", b"(d")):  # names are plain text in it
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                wanted = set().union(*(words for words, _ in _WORDS))
                names = {word for word in wanted if content.find(word.encode()) >= 0}
        else:
            return describe_content(path)
    hdf5 = head == SIGNATURE
    return next(
        (text for words, text in _WORDS if words <= names and hdf5 == ("pcaBasis" in words)), ""
    )


def describe_models_in(folder: pathlib.Path) -> str:
    """What a folder holds of face models of other kinds, in words; '' for none."""
    for path in list_files(folder, (".pkl", ".h5", ".hdf5", ".npz"))[:_LOOKED_AT]:
        if words := describe_foreign(path):
            return f"{path.name}, {words}"
    return ""
