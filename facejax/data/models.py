"""The face model that a configuration's data section names."""

from facejax.morphable import MorphableModel, load_morphable


def model_of(data, on_host: bool = False) -> MorphableModel:
    """The face model of `config.data`.

    Args:
      data: with `model`, a name; `model_path`, '' or a file: of what the name says, or of a saved
        model in place of the procedural one; and perhaps `model_options`, of which those that are
        0 or empty are left out.
      on_host: see `facejax.morphable.load_morphable`.

    Raises:
      ValueError: see `facejax.morphable.load_morphable`.
    """
    if data.model_path and data.model == "procedural":
        return load_morphable(data.model_path, on_host=on_host)
    path = {"path": data.model_path} if data.model_path else {}
    options = {k: v for k, v in data.get("model_options", {}).items() if v}
    return load_morphable(data.model, on_host=on_host, **path, **options)
