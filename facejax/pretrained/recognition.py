"""The frozen recognition network of the perceptual loss and of the graph network's input."""

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from facejax.data.face_crops import face_crop
from facejax.image.resample import resize
from facejax.nn.arcface import IResNet
from facejax.nn.blocks import initial_batch_stats
from facejax.nn.identity import IdentityNet, init_identity
from facejax.nn.inception_resnet import InceptionResNetV1
from facejax.nn.init import init_params, only_shapes
from facejax.pretrained.importer import load_weights
from facejax.train.config import load_config
from facejax.train.runs import load_run, read_run_config
from facejax.train.system import Frozen

KINDS = ("idnet", "arcface", "facenet", "none")
_FACENET_SIZE, _ARCFACE_SIZE = 160, 112


@dataclasses.dataclass(frozen=True)
class Recognizer:
    """A network from photos to identity features; its weights are an argument.

    Attributes:
      kind: 'idnet' and 'arcface' see aligned crops, 'facenet' sees the whole picture.
      net: the module.
      size: side of the pictures that it is given.
      num_pooled: length of the pooled features.
    """

    kind: str
    net: Any
    size: int
    num_pooled: int

    def __call__(
        self, variables: dict, image: jax.Array, landmarks: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Features [B, E] (any length) and pooled features [B, num_pooled].

        Args:
          variables: the network's collections; no gradient flows into them.
          image: [B, S, S, 3] in [0, 1].
          landmarks: [B, 68, 2] pixels, y up, which align the crop; no gradient flows into them.
        """
        variables = jax.lax.stop_gradient(variables)
        if self.kind == "facenet":
            picture = resize(image, (self.size, self.size), "bilinear")
            return self.net.apply(variables, (255.0 * picture - 127.5) / 128.0)
        out = self.net.apply(variables, 2.0 * face_crop(image, landmarks, self.size) - 1.0)
        return out if self.kind == "idnet" else (out, out)


def make_recognizer(config) -> Recognizer | None:
    """The recogniser of `config.recognition`, without its weights; None for 'none'.

    Args:
      config: with `recognition`: kind; run: the folder of an idnet run; weights: the file of
        imported ArcFace or FaceNet weights; size, width, features and depth of a network that
        nobody trained, where both are '' (0: as published); train: the configuration whose network
        `run` holds, where that has yet to be trained.

    Raises:
      ValueError: an unknown kind, or no such run or file.
    """
    c = config.recognition
    if c.kind not in KINDS:
        raise ValueError(f"recognition.kind is {c.kind!r}, wanted one of {KINDS}")
    if c.kind == "none":
        return None
    if c.run and c.kind != "idnet":
        raise ValueError(
            f"recognition.run is {c.run!r}, but only kind='idnet' is trained by a run: give "
            f"imported weights of {c.kind!r} as recognition.weights"
        )
    if c.kind == "idnet":
        net = IdentityNet(**_idnet_options(c))
        return Recognizer(c.kind, net, net.size, 8 * net.width)
    net = load_weights(c.weights, c.kind)[0] if c.weights else _untrained(c)
    if c.kind == "arcface":
        return Recognizer(c.kind, net, _ARCFACE_SIZE, net.features)
    return Recognizer(c.kind, net, _FACENET_SIZE, 1792 * net.width // 32)


def recognizer_weights(config, recognizer: Recognizer, seed: int) -> Frozen:
    """The variables of a recogniser: of a run, of a file, or drawn.

    Args:
      config: see `make_recognizer`.
      recognizer: made of it.
      seed: of weights that nobody trained.

    Raises:
      ValueError: no such run or file, or no checkpoint yet.
    """
    c, net = config.recognition, recognizer.net
    run_folder = _run_of(c)
    if run_folder and only_shapes() and not (pathlib.Path(run_folder) / "config.json").is_file():
        return Frozen(init_identity(net, seed), f"{run_folder}, to be trained")
    if run_folder:
        run = load_run(run_folder, "idnet")
        trained = {
            "params": run.params["idnet"]["net"], "batch_stats": run.params["idnet_stats"]
        }  # fmt: skip
        return Frozen(trained, f"{run_folder}, step {run.meta['step']}")
    if c.weights:
        _, variables, meta = load_weights(c.weights, c.kind)
        return Frozen(variables, f"{c.weights} ({meta['origin']})")
    origin = f"an untrained {c.kind} of seed {seed}"
    if c.kind == "idnet":
        return Frozen(init_identity(net, seed), origin)
    image = jax.ShapeDtypeStruct((1, recognizer.size, recognizer.size, 3), np.float32)
    params = init_params(net.init, seed, _rule, image)
    stats = initial_batch_stats(net.init, image)
    return Frozen({"params": params, "batch_stats": stats}, origin)


def _run_of(c) -> str:
    """The folder of an idnet run, '' for none; `weights` named it before there was `run`."""
    return c.run or (c.weights if c.kind == "idnet" else "")


def _idnet_options(c) -> dict[str, int]:
    """Attributes of the network of a run, also of one that has yet to be trained."""
    folder = _run_of(c)
    if not folder:
        return {k: c[k] for k in ("size", "width", "features", "depth")}
    if folder != c.run or (pathlib.Path(folder) / "config.json").is_file():
        return dict(read_run_config(folder, "idnet").model)
    return dict(load_config(c.train).model)


def _untrained(c) -> Any:
    given = {k: c[k] for k in ("width", "features", "depth") if c[k]}
    if c.kind == "arcface":
        return IResNet(**given)
    given.pop("depth", None)
    return InceptionResNetV1(**given)


def _rule(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """He-normal weights, gains 1, PReLU slopes 0.25, biases 0."""
    constants = {"scale": 1.0, "slope": 0.25, "bias": 0.0}
    leaf = name.rsplit("/", 1)[-1]
    if leaf in constants:
        return np.full(shape, constants[leaf])
    return rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[:-1]))
