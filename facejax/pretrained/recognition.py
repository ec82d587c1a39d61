"""The frozen recognition network of the perceptual loss and of the graph network's input."""

import dataclasses
from typing import Any

import jax
import numpy as np

from facejax.data.face_crops import face_crop
from facejax.image.resample import resize
from facejax.nn.arcface import IResNet
from facejax.nn.blocks import initial_batch_stats
from facejax.nn.identity import IdentityNet, init_identity
from facejax.nn.inception_resnet import InceptionResNetV1
from facejax.nn.init import init_params
from facejax.pretrained.importer import load_weights
from facejax.train.runs import load_run

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


def make_recognizer(config, seed: int) -> tuple[Recognizer, dict] | None:
    """The recogniser of `config.recognition` with its weights; None for 'none'.

    Args:
      config: with `recognition`: kind; weights: the folder of an idnet run, the file of imported
        ArcFace or FaceNet weights, or '' for a network that nobody trained; size, width, features
        and depth of that one (0: as published).
      seed: of untrained weights.

    Raises:
      ValueError: an unknown kind, or no such run or file.
    """
    c = config.recognition
    if c.kind not in KINDS:
        raise ValueError(f"recognition.kind is {c.kind!r}, wanted one of {KINDS}")
    if c.kind == "none":
        return None
    net, variables = (_trained if c.weights else _untrained)(c, seed)
    if c.kind == "idnet":
        return Recognizer(c.kind, net, net.size, 8 * net.width), variables
    if c.kind == "arcface":
        return Recognizer(c.kind, net, _ARCFACE_SIZE, net.features), variables
    return Recognizer(c.kind, net, _FACENET_SIZE, 1792 * net.width // 32), variables


def _trained(c, seed) -> tuple[Any, dict]:
    del seed
    if c.kind == "idnet":
        run = load_run(c.weights, "idnet")
        stats = run.params["idnet_stats"]
        variables = {"params": run.params["idnet"]["net"], "batch_stats": stats}
        return IdentityNet(**run.config.model), variables
    net, variables, _ = load_weights(c.weights, c.kind)
    return net, variables


def _untrained(c, seed) -> tuple[Any, dict]:
    if c.kind == "idnet":
        net = IdentityNet(c.size, c.width, c.features, c.depth)
        return net, init_identity(net, seed)
    given = {k: c[k] for k in ("width", "features", "depth") if c[k]}
    size = _ARCFACE_SIZE if c.kind == "arcface" else _FACENET_SIZE
    if c.kind == "facenet":
        given.pop("depth", None)
        net = InceptionResNetV1(**given)
    else:
        net = IResNet(**given)
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    params = init_params(net.init, seed, _rule, image)
    return net, {"params": params, "batch_stats": initial_batch_stats(net.init, image)}


def _rule(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """He-normal weights, gains 1, PReLU slopes 0.25, biases 0."""
    constants = {"scale": 1.0, "slope": 0.25, "bias": 0.0}
    leaf = name.rsplit("/", 1)[-1]
    if leaf in constants:
        return np.full(shape, constants[leaf])
    return rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[:-1]))
