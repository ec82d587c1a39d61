"""Random faces as numbers: coefficients, pose, camera, light and scene, on the host."""

import pathlib

import numpy as np

from facejax.data.photographs import (
    Look,
    PictureRanges,
    choose_look,
    diffuse_harmonics,
    draw_picture,
)
from facejax.morphable import MorphableModel, sample_coefficients
from facejax.pipelines.dataset.backgrounds import Backgrounds
from facejax.pipelines.dataset.options import Options
from facejax.systems.manifold.data import TARGETS
from facejax.systems.manifold.denoise import Denoisers, denoisers_of
from facejax.systems.manifold.system import ManifoldSystem
from facejax.train.runs import load_run

KEYS = dict(zip(("id", "exp"), TARGETS, strict=True))  # coefficients: target of a denoiser
_MOMENT_DRAWS = 2048


def load_denoisers(workdir: str | pathlib.Path) -> Denoisers:
    """The denoisers of a trained Face Manifold, for 'manifold' sampling.

    Raises:
      ValueError: the folder holds no such run, or no checkpoint yet.
    """
    return denoisers_of(load_run(workdir, "manifold"))


def coefficient_units(model: MorphableModel, run: Denoisers) -> dict[str, np.ndarray]:
    """What coefficients of a face model are multiplied by to become those of a run.

    1 unless a run was trained on files of raw Basel coefficients (300W-3D and relatives) and the
    model is a BFM.mat, whose loader gives them unit variance.
    """
    raw = run.config.data.source != "procedural" and model.topology.name == "bfm"
    stds = {"id": model.id_std, "exp": model.exp_std}
    return {k: np.asarray(s, np.float32) if raw else np.ones_like(s) for k, s in stds.items()}


class Drawer:
    """Draws faces by number; face i is a pure function of (options, model, run, i).

    Args:
      model: the face model.
      options: what to draw.
      run: a trained Face Manifold. 'manifold' sampling needs it; 'uniform' takes mean and standard
        deviation of its training rows, and those of 2048 normal faces without it.
      look: what people look like; None for the one that the options name.

    Attributes:
      backgrounds: where backgrounds come from.

    Raises:
      ValueError: the run is missing, lacks a denoiser or was trained for another face model.
    """

    def __init__(
        self,
        model: MorphableModel,
        options: Options,
        run: Denoisers | None = None,
        look: Look | None = None,
    ):
        self.model, self.options = model, options
        self._look = look or choose_look(options.look, model)
        ranges = PictureRanges()
        self._ranges = ranges.ideal() if options.camera == "ideal" else ranges
        self.backgrounds = Backgrounds(options.background, options.size)
        self._moments = {}
        if options.sampling == "manifold":
            _check_run(run, options)
        if options.wide:
            self._moments = _moments(model, run)

    def __call__(self, index: int) -> dict[str, np.ndarray]:
        """Face `index`.

        Returns:
          float32 arrays: id, exp, alb (before denoising); yaw_rad, pitch_rad, roll_rad,
          distance_mm, frame_mm; target_mm [3], the point in the middle of the picture; sh_light,
          sky_light [9, 3], lamp_directions, lamp_colors [3, 3], as exposed. 'look', what the look
          drew, and 'picture', the numbers of `draw_picture`, are dicts. Also background [H, W, 3]
          uint8 where it is an image, background_image, its number in the folder or -1, and
          noise_seed int32.

        Raises:
          ValueError: an image of the background folder cannot be read.
        """
        o = self.options
        rng = np.random.default_rng([o.seed, index])
        look = self._look.person(rng)
        look |= self._look.photo(rng, look)
        out = {k: look.pop(k) for k in ("id", "exp", "alb")}
        ranges = {"id": o.shape_range, "exp": o.exp_range}
        for key in o.wide:
            mean, std = self._moments[key]
            value = mean + ranges[key] * std * rng.uniform(-0.5, 0.5, mean.shape)
            out[key] = value.astype(np.float32)
        angles = np.deg2rad([o.yaw_deg, o.pitch_deg, o.roll_deg]) * rng.uniform(-1, 1, 3)
        for name, angle in zip(("yaw", "pitch", "roll"), angles, strict=True):
            out[f"{name}_rad"] = np.float32(angle)
        out["distance_mm"] = np.float32(rng.uniform(*o.distance_mm))
        out["frame_mm"] = np.float32(rng.uniform(*o.frame_mm))
        out["target_mm"] = np.array([*rng.uniform(-o.shift_mm, o.shift_mm, 2), 0.0], np.float32)
        picture = draw_picture(rng, self._ranges)
        gain = picture["gain"]
        out |= {
            "sh_light": diffuse_harmonics(picture) * gain,
            "sky_light": picture["sky"] * gain,
            "lamp_directions": picture["lamp_directions"],
            "lamp_colors": picture["lamp_colors"] * gain,
            "look": look,
            "picture": picture,
            "noise_seed": np.int32(rng.integers(2**31)),
        }
        image, number = self.backgrounds.draw(rng)
        if image is not None:
            out["background"] = image
        return out | {"background_image": np.int32(number)}


def _check_run(run, options) -> None:
    wanted = {KEYS[k] for k in options.wide}
    if run is None or not wanted <= set(run.nets):
        raise ValueError(
            f"sampling 'manifold' needs a trained run of configs/manifold.py with denoisers for "
            f"{sorted(wanted)}: give --workdir"
        )


def _moments(model, run) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(mean, standard deviation) of the components of 'id' and 'exp'."""
    drawn = sample_coefficients(model, np.random.default_rng(0), _MOMENT_DRAWS)
    rows = {"id": drawn.id, "exp": drawn.exp}
    if run is not None:
        units = coefficient_units(model, run)
        for target, found in ManifoldSystem(run.config).rows.items():
            key = {t: k for k, t in KEYS.items()}[target]
            length = rows[key].shape[1]
            if found.train.shape[1] != length:
                raise ValueError(
                    f"the run has {found.train.shape[1]} {target} coefficients, the face model "
                    f"{length}: use the model that the run was trained for"
                )
            rows[key] = found.train / units[key]
    return {k: (r.mean(axis=0), r.std(axis=0)) for k, r in rows.items()}
