"""`load_morphable`: a face model by name or by path, recognised by its content."""

import difflib
import inspect
import os
import pathlib

from facejax.morphable.model import MorphableModel
from facejax.morphable.procedural import VERSION, build_procedural
from facejax.morphable.storage import cached_model


def _load_procedural(**options) -> MorphableModel:
    accepted = inspect.signature(build_procedural)
    unknown = sorted(set(options) - set(accepted.parameters))
    if unknown:
        raise ValueError(
            f"found the options {unknown} for the procedural model, wanted some of "
            f"{list(accepted.parameters)}"
        )
    arguments = accepted.bind(**options)
    arguments.apply_defaults()
    values = {k: int(v) for k, v in arguments.arguments.items()}
    return cached_model(
        "procedural", dict(version=VERSION, **values), lambda: build_procedural(**values)
    )


_BY_NAME = {"procedural": _load_procedural}


def load_morphable(name_or_path: str | os.PathLike, **options) -> MorphableModel:
    """A face model.

    Args:
      name_or_path: 'procedural'.
      **options: of that model.

    Raises:
      ValueError: unknown name.
    """
    name = os.fspath(name_or_path)
    if name in _BY_NAME:
        return _BY_NAME[name](**options)
    if not pathlib.Path(name).exists():
        near = difflib.get_close_matches(name, _BY_NAME, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"found {name!r}, wanted one of {sorted(_BY_NAME)} or a path{hint}")
    raise ValueError(f"{name}: not recognised")
