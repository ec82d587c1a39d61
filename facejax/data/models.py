"""The face model that a configuration's data section names."""

from facejax.morphable import MorphableModel, load_morphable


def model_of(data) -> MorphableModel:
    """The face model of `config.data`.

    Args:
      data: with `model`, a name; `model_path`, '' or a file: of what the name says, or of a saved
        model in place of the procedural one; and perhaps `model_options`, of which those that are
        0 or empty are left out.

    Raises:
      ValueError: see `facejax.morphable.load_morphable`.
    """
    if data.model_path and data.model == "procedural":
        return load_morphable(data.model_path)
    path = {"path": data.model_path} if data.model_path else {}
    options = {k: v for k, v in data.get("model_options", {}).items() if v}
    return load_morphable(data.model, **path, **options)
