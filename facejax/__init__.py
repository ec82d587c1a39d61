"""facejax: 3D morphable faces, differentiable rendering and face generators in JAX.

`import facejax as fj` reads no file, touches no device and imports nothing heavy: public names are
loaded on first use.
"""

from facejax.version import __version__

__all__ = [
    "Camera",
    "Coefficients",
    "Mesh",
    "MorphableModel",
    "__version__",
    "decode_face",
    "load_morphable",
    "render_image",
    "sample_face",
    "save_asset",
    "save_image",
]


def __getattr__(name: str):
    if name in __all__:
        from facejax import api

        return getattr(api, name)
    raise AttributeError(f"module 'facejax' has no attribute {name!r}; public names: {__all__}")


def __dir__() -> list[str]:
    return sorted(__all__)
