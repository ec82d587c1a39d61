"""`load_morphable`: a face model by name or by path, recognised by its content."""

import difflib
import hashlib
import inspect
import os
import pathlib
from collections.abc import Callable

import jax
from absl import logging

from facejax.host.arrays import npz_names
from facejax.host.files import list_files, some_names
from facejax.host.hdf5 import hdf5_names, is_hdf5
from facejax.host.matlab import read_mat
from facejax.morphable import bfm, bfm09, bfm17, ict, makehuman, procedural
from facejax.morphable.foreign import describe_foreign, describe_models_in
from facejax.morphable.model import MorphableModel
from facejax.morphable.storage import FORMAT, cached_model, load_npz

_NAMES = ("makehuman", "procedural", "ict", "bfm17")
_REFERENCE = dict(rows=64, cols=64, n_id=1, n_alb=1, draws=4, texture_size=8)
_MAT = {"bfm": bfm.load_bfm, "bfm_front": bfm09.load_bfm_front}


def load_morphable(
    name_or_path: str | os.PathLike = "makehuman", *, on_host: bool = False, **options
) -> MorphableModel:
    """A face model, by name or from a file or folder that is recognised by its content.

    Models that take seconds to build are kept in a cache folder (`host.machine.cache_folder`).

    Args:
      name_or_path: 'makehuman' or 'procedural' (always available); 'ict' or 'bfm17' with `path=`;
        or a path: a file written by `save_npz`, a checkout of ICT-FaceKit, an .npz converted from
        it, face3d's `BFM.mat`, Deep3D's `BFM_model_front.mat` or a Basel model of 2017 or 2019
        (.h5).
      **options: of `load_makehuman`, `build_procedural` or `build_ict` (sizes, number of
        components, seed) or of `load_bfm17` (layout, landmarks, components); none for files written
        by `save_npz` and for .mat files.
      on_host: numpy arrays; no device is touched.

    Returns:
      The model, its arrays on the default device. Pass it to jitted functions as an argument.

    Raises:
      ValueError: unknown name, missing or foreign file, unknown option.
    """
    model = _load(os.fspath(name_or_path), options)
    return model if on_host else jax.device_put(model)


def _load(name: str, options: dict) -> MorphableModel:
    if name == "makehuman":
        return makehuman.load_makehuman(**_arguments(name, makehuman.load_makehuman, options))
    if name == "procedural":
        values = _arguments("procedural", procedural.build_procedural, options)
        key = dict(version=procedural.VERSION, **values)
        return cached_model(name, key, lambda: procedural.build_procedural(**values))
    if name == "ict":
        if options.get("path") is None:
            raise ValueError(
                "found no path for the model 'ict', wanted a checkout of ICT-FaceKit (MIT licence, "
                "https://github.com/ICT-VGL/ICT-FaceKit) or an .npz converted from it; call "
                "load_morphable('ict', path='.../ICT-FaceKit'), or use 'procedural'"
            )
        return _load_path(pathlib.Path(options.pop("path")), options, kinds=("ict",))
    if name == "bfm17" and "path" in options:
        return _load_path(pathlib.Path(options.pop("path")), options, kinds=("bfm17",))
    return _load_path(pathlib.Path(name), options, kinds=("saved", "ict", "bfm17", *_MAT))


def _arguments(name: str, build: Callable, options: dict) -> dict:
    """All size options of a builder as integers, defaults filled in."""
    defaults = {
        k: p.default
        for k, p in inspect.signature(build).parameters.items()
        if p.default is not inspect.Parameter.empty
    }
    unknown = sorted(set(options) - set(defaults))
    if unknown:
        near = difflib.get_close_matches(unknown[0], defaults, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"found the options {unknown} for the model {name!r}, wanted some of "
            f"{list(defaults)}{hint}"
        )
    return {k: int(options.get(k, v)) for k, v in defaults.items()}


def _load_path(path: pathlib.Path, options: dict, kinds: tuple[str, ...]) -> MorphableModel:
    if not path.exists():
        near = difflib.get_close_matches(str(path), _NAMES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"found no face model called {str(path)!r} and no such file, wanted one of "
            f"{list(_NAMES)} or the path of a model{hint}"
        )
    kind, found = recognise(path)
    if kind not in kinds:
        wanted = {
            "saved": "a file written by save_npz",
            "ict": "ICT-FaceKit (folder or .npz)",
            "bfm": "a face3d-style BFM.mat",
            "bfm_front": "Deep3D's BFM_model_front.mat",
            "bfm17": "a Basel model of 2017 or 2019 (.h5)",
        }
        raise ValueError(
            f"{path}: found {found}, wanted {' or '.join(wanted[k] for k in kinds)}; give another "
            "path, or use 'procedural', which needs no file"
        )
    if kind in ("saved", *_MAT):
        if options:
            raise ValueError(
                f"{path}: found the options {sorted(options)}, wanted none: a saved model is "
                "loaded as it is; drop them"
            )
        return load_npz(path) if kind == "saved" else _MAT[kind](path)
    if kind == "bfm17":
        return _load_bfm17(path, options)
    values = _arguments("ict", ict.build_ict, options)
    versions = [ict.VERSION, procedural.VERSION]  # its paint is the procedural one
    key = dict(versions=versions, content=_fingerprint(path), **values)
    return cached_model("ict", key, lambda: ict.build_ict(path, **values))


def _load_bfm17(path: pathlib.Path, options: dict) -> MorphableModel:
    known = [k for k in inspect.signature(bfm17.load_bfm17).parameters if k != "reference"]
    unknown = sorted(set(options) - set(known[1:]))
    if unknown:
        raise ValueError(
            f"{path}: found the options {unknown} for the model 'bfm17', wanted some of {known[1:]}"
        )
    if not options.get("landmarks"):
        logging.warning(
            "%s does not tell which vertices are the 68 landmarks: those nearest to the "
            "procedural head's are taken; give landmarks=FILE for exact ones", path
        )  # fmt: skip
        head = _load("procedural", dict(_REFERENCE))
        options = options | {"reference": head.mean_shape[head.topology.landmarks68]}
    return bfm17.load_bfm17(path, **options)


def recognise(path: str | os.PathLike) -> tuple[str | None, str]:
    """What kind of face model a file or folder holds, by its content; nothing is unpickled.

    Args:
      path: of something that exists.

    Returns:
      ('saved', 'ict', 'bfm', 'bfm_front', 'bfm17' or None; what was found, in words).

    Raises:
      ValueError: an .mat or an HDF5 file that cannot be read.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        if ict.find_obj_folder(path) is not None:
            return "ict", "a checkout of ICT-FaceKit"
        files = list_files(path, (".npz", ".mat"))
        names = f"; name one of its files: {some_names(p.name for p in files)}" if files else ""
        found = describe_models_in(path)
        return None, f"a folder that is no checkout of ICT-FaceKit{names}" + (
            f"; it holds {found}" if found else ""
        )
    if path.suffix.lower() == ".mat":
        kind, found = bfm.mat_kind(read_mat(path))
        return (kind if kind in _MAT else None), found
    if is_hdf5(path) and bfm17.REQUIRED <= hdf5_names(path):
        return "bfm17", "a Basel model of 2017 or 2019"
    if found := describe_foreign(path):
        return None, found
    try:
        names = npz_names(path)
    except ValueError:
        return None, f"a file of {path.stat().st_size} bytes that is no readable .npz archive"
    if {"format", "meta", "mean_shape"} <= names:
        return "saved", f"a {FORMAT} file"
    if set(ict.RAW_KEYS) <= names:
        return "ict", "a converted ICT-FaceKit"
    return None, f"an .npz with the arrays {sorted(names)[:8]}"


def _fingerprint(path: pathlib.Path) -> str:
    """Changes when the file, or a file of the folder, changes (folders: by name, size and time)."""
    h = hashlib.blake2b(digest_size=16)
    if path.is_dir():
        folder = ict.find_obj_folder(path)
        for file in sorted([*folder.glob("*.obj"), *folder.glob("*.json")]):
            stat = file.stat()
            h.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns};".encode())
    else:
        h.update(path.read_bytes())
    return h.hexdigest()
