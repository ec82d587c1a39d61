"""New identities in chosen poses and expressions, and strips of them."""

import functools
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from facejax.io.images import add_text_labels, image_grid, to_uint8, write_image
from facejax.morphable import decode_shape, expression_presets, sample_coefficients
from facejax.systems.varitex import data, geometry, images

if TYPE_CHECKING:
    from facejax.train.runs import Run

_PAD = 2
_EXTERIORS = 5


class Demo:
    """Renders codes of a trained run with any geometry of its face model.

    Args:
      run: of VariTex, with a checkpoint.

    Raises:
      ValueError: the run names no face model.
    """

    def __init__(self, run: "Run"):
        self.system, self.trees = run.system, run.params
        if self.system.model is None:
            raise ValueError(
                f"{run.folder}: the run has no face model to draw UV maps with: set "
                "data.model_path in its config.json to the model of its data"
            )
        c = run.config
        self.model = self.system.model
        self._inside = jnp.asarray(data.face_triangles(self.model))
        self._v_up, self._depth = bool(c.data.v_up), float(c.data.ranges.depth)
        self._predict = jax.jit(self.system.predict)
        self._repose = jax.jit(self.system.repose)

    @functools.cached_property
    def translation(self) -> np.ndarray:
        """[3]: puts the mean head before the camera."""
        center = np.asarray(self.model.mean_shape).mean(axis=0)
        return np.array([0.0, 0.0, -self._depth]) - geometry.DEFAULT_S * center

    def uv_maps(self, identity, expression, theta_deg) -> jax.Array:
        """UV maps [B, S, S, 2] of faces.

        Args:
          identity: [B, D_id] coefficients of unit variance.
          expression: [B, D_exp].
          theta_deg: [B, 3] degrees: pitch up, yaw left, roll clockwise.
        """
        shape = decode_shape(self.model, jnp.asarray(identity), jnp.asarray(expression))
        turn = geometry.rotation_of(np.asarray(theta_deg, np.float32))
        count = len(shape)
        posed = geometry.pose(
            shape, turn, np.tile(self.translation, (count, 1)).astype(np.float32),
            np.full(count, geometry.DEFAULT_S, np.float32),
        )  # fmt: skip
        size = self.system.generator.image_size
        return geometry.uv_map(posed, self.model.topology.mesh, size, self._v_up, self._inside)

    def run(self, code, identity, expression, theta_deg):
        """`Rendered` pictures of codes [B, latent] with geometry, see `uv_maps`."""
        return self._predict(self.trees, code, self.uv_maps(identity, expression, theta_deg))

    def repose(self, texture, exterior, identity, expression, theta_deg):
        """`Rendered` pictures of kept textures, see `VariTexSystem.repose`."""
        uv = self.uv_maps(identity, expression, theta_deg)
        return self._repose(self.trees, texture, exterior, uv)

    def pictures(self, rendered) -> list[np.ndarray]:
        """Pictures [S, S, 3] in [0, 1] of what `run` returned, the background white."""
        found = images.composite(rendered.image, rendered.probability, 1.0, soft=False)
        return list(np.asarray(found))


def strip(rows: Sequence[Sequence[np.ndarray]], columns: Sequence[str], scale: int = 1):
    """A labelled grid [H, W, 3] uint8 of rows of pictures.

    Args:
      rows: pictures [S, S, 3] in [0, 1].
      columns: a label for each column.
      scale: enlargement by repeated pixels.
    """
    flat = [x.repeat(scale, 0).repeat(scale, 1) for row in rows for x in row]
    grid = image_grid(flat, columns=len(rows[0]), pad=_PAD, background=1.0)
    names = [f"person {k + 1}" for k in range(len(rows))]
    return to_uint8(add_text_labels(grid, names, list(columns), pad=_PAD))


def _expressions(model, rng: np.random.Generator) -> tuple[list[str], np.ndarray]:
    """Names and coefficients of some expressions: the presets, or random ones."""
    if model.topology.exp_names:
        names, weights = expression_presets(model)
        return list(names), weights
    drawn = sample_coefficients(model, rng, 5).exp
    drawn[0] = 0.0
    return ["neutral", *(f"random {k}" for k in range(1, 5))], drawn


def generate(
    run: "Run",
    out: str | os.PathLike,
    *,
    num: int = 4,
    seed: int = 0,
    std: float = 1.0,
    yaws_deg: Sequence[float] = (-30.0, -15.0, 0.0, 15.0, 30.0),
) -> list[pathlib.Path]:
    """Writes strips of new people: turned, with expressions, between two of them, with other hair.

    Args:
      run: of VariTex.
      out: folder; made where it is missing. Gets yaw.png, expression.png, interpolation.png,
        exterior.png and a picture of each person from the front, face_000.png.
      num: people.
      seed: person k depends only on (seed, k).
      std: of the codes, 1 as the prior has it.
      yaws_deg: of yaw.png.

    Returns:
      The strips.
    """
    demo, out = Demo(run), pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    latent = demo.system.generator.latent
    rngs = [np.random.default_rng([seed, k]) for k in range(num)]
    codes = np.stack([std * r.standard_normal(latent) for r in rngs]).astype(np.float32)
    people = np.concatenate([sample_coefficients(demo.model, r, 1).id for r in rngs])
    names, expressions = _expressions(demo.model, np.random.default_rng(seed))
    scale = max(1, 96 // demo.system.generator.image_size)
    level, neutral = np.zeros((num, 3)), np.zeros((num, demo.model.num_exp), np.float32)

    def column(code=codes, expression=neutral, theta=level):
        return demo.pictures(demo.run(code, people, expression, theta))

    def write(name, columns, labels):
        rows = list(zip(*columns, strict=True))
        return write_image(out / f"{name}.png", strip(rows, labels, scale))

    def turned(yaw):
        return level + np.array([0.0, yaw, 0.0])

    front = column()
    for k, picture in enumerate(front):
        write_image(out / f"face_{k:03d}.png", to_uint8(picture))
    yaws = [column(theta=turned(yaw)) for yaw in yaws_deg]
    faces = [column(expression=np.tile(e, (num, 1))) for e in expressions]
    steps = np.stack([
        images.interpolate_codes(codes[k], codes[(k + 1) % num], 5, "spherical")
        for k in range(num)
    ], axis=1)  # fmt: skip
    between = [column(code=np.asarray(step)) for step in steps]
    texture = demo.run(codes, people, neutral, level).texture
    others = []
    for k in range(_EXTERIORS):
        drawn = np.random.default_rng([seed, num, k]).standard_normal((num, latent // 2))
        exterior = codes[:, latent // 2 :] if k == 0 else (std * drawn).astype(np.float32)
        others.append(demo.pictures(demo.repose(texture, exterior, people, neutral, level)))
    return [
        write("yaw", yaws, [f"yaw {yaw:g}" for yaw in yaws_deg]),
        write("expression", faces, names),
        write("interpolation", between, [f"{k / 4:g}" for k in range(5)]),
        write("exterior", others, ["own", *(f"exterior {k}" for k in range(1, _EXTERIORS))]),
    ]
