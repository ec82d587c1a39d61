"""Synthetic faces with their ground truth, as files: coefficients, pose, light, picture, labels.

Face i depends only on (seed, i): any subset, in any order, gives the same files.
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from facejax.geometry.camera import Camera, project
from facejax.geometry.mesh import Mesh
from facejax.io.files import atomic_path
from facejax.io.images import image_grid, write_image
from facejax.morphable import decode_albedo, decode_shape, landmarks, sample_coefficients
from facejax.render.renderer import render
from facejax.render.shading import SphericalHarmonics
from facejax.systems.manifold import denoise as manifold
from facejax.systems.manifold.system import ManifoldSystem

SAMPLING = ("normal", "uniform", "manifold")
_SHEET = 16  # faces of the contact sheet


@dataclasses.dataclass(frozen=True)
class Options:
    """What faces are drawn and how they are seen.

    Attributes:
      sampling: 'normal' (Gaussian identities, drawn expressions), 'uniform', or 'manifold'
        (uniform, then denoised by a trained run).
      uniform_range: width of 'uniform' in standard deviations of each component.
      size: pixels on a side.
      yaw_deg, pitch_deg: largest rotation of the camera around the head, drawn uniformly.
      seed: >= 0.
    """

    sampling: str = "normal"
    uniform_range: float = 10.0
    size: int = 256
    yaw_deg: float = 60.0
    pitch_deg: float = 20.0
    seed: int = 0

    def __post_init__(self):
        if self.sampling not in SAMPLING:
            raise ValueError(f"found sampling {self.sampling!r}, wanted one of {SAMPLING}")
        if self.size < 16 or self.seed < 0 or self.uniform_range <= 0:
            raise ValueError(
                f"size must be at least 16, seed not negative, uniform_range positive; found "
                f"{self.size}, {self.seed}, {self.uniform_range}"
            )


class FaceMaker:
    """Draws and renders single faces of a model.

    Args:
      model: the face model.
      options: see `Options`.
      run: a trained Face Manifold with both denoisers, for 'uniform' and 'manifold' sampling.
    """

    def __init__(self, model, options: Options, run: manifold.Trained | None = None):
        self.model, self.options, self.run = model, options, run
        if options.sampling != "normal":
            if run is None or set(run.nets) != set(manifold.KEYS):
                raise ValueError(
                    f"sampling {options.sampling!r} needs a trained run of configs/manifold.py "
                    "with both denoisers: give --workdir"
                )
            rows = {t: r.train for t, r in ManifoldSystem(run.config).rows.items()}
            lengths = {"shape": model.num_id, "expression": model.num_exp}
            for target, train in rows.items():
                if train.shape[1] != lengths[target]:
                    raise ValueError(
                        f"the run has {train.shape[1]} {target} coefficients, the face model "
                        f"{lengths[target]}: use the model that the run was trained for"
                    )
            self._moments = {t: (r.mean(axis=0), r.std(axis=0)) for t, r in rows.items()}
        self._render = jax.jit(_render, static_argnames="size")

    def draw(self, index: int) -> dict[str, np.ndarray]:
        """Coefficients, pose, light and background of face `index`."""
        o = self.options
        rng = np.random.default_rng([o.seed, index])
        faces = sample_coefficients(self.model, rng, 1)
        drawn = {"shape": faces.id[0], "expression": faces.exp[0]}
        out = {"alb": faces.alb[0]}
        for target, key in (("shape", "id"), ("expression", "exp")):
            if o.sampling != "normal":
                mean, std = self._moments[target]
                value = mean + o.uniform_range * std * rng.uniform(-0.5, 0.5, mean.shape)
                out[f"{key}_before"] = value.astype(np.float32)
                if o.sampling == "manifold":
                    value = manifold.denoise(self.run, target, value[None])[0]
                drawn[target] = value
            out[key] = np.asarray(drawn[target], np.float32)
        angles = np.deg2rad([o.yaw_deg, o.pitch_deg]) * rng.uniform(-1, 1, 2)
        out["yaw_pitch_rad"] = angles.astype(np.float32)
        out["distance_mm"] = np.float32(rng.uniform(750.0, 1100.0))
        light = np.zeros((9, 3))
        light[0] = rng.uniform(2.2, 3.0) * rng.uniform(0.9, 1.1, 3)
        light[1:4] = rng.uniform([-0.6, 0.1, -0.6], [0.6, 0.8, 0.6])[:, None]  # y, z, x; z in front
        out["sh_light"] = light.astype(np.float32)
        out["background"] = rng.uniform(0.1, 0.9, 3).astype(np.float32)
        return out

    def __call__(self, index: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """(drawn values, rendered arrays) of face `index`, for the keys see `write_dataset`."""
        drawn = self.draw(index)
        rendered = self._render(self.model, drawn, size=self.options.size)
        return drawn, {k: np.asarray(v) for k, v in rendered.items()}


def _render(model, drawn, *, size):
    vertices = decode_shape(model, drawn["id"], drawn["exp"])
    colors = jnp.clip(decode_albedo(model, drawn["alb"]), 0.0, 1.0)
    yaw, pitch = drawn["yaw_pitch_rad"]
    camera = Camera.look_at(drawn["distance_mm"], yaw, pitch)
    mesh = Mesh(vertices, model.topology.mesh, vertex_colors=colors)
    out = render(
        mesh, camera, SphericalHarmonics(drawn["sh_light"]), (size, size),
        background=drawn["background"], supersample=2,
    )  # fmt: skip
    result = {"image": out.image, "mask": out.mask, "depth_mm": out.depth, "normal": out.normal}
    if out.uv is not None:
        result["uv"] = out.uv
    for kind in (68, 5):
        points = landmarks(model, vertices, kind)
        result[f"landmarks{kind}_mm"] = points
        result[f"landmarks{kind}_px"] = project(camera, points, (size, size))
    return result


def write_dataset(
    maker: FaceMaker, out: str | pathlib.Path, indices: Iterable[int]
) -> dict[str, int]:
    """Writes faces: images/NNNNNN.png and labels/NNNNNN.npz; faces that are there are kept.

    An .npz holds id, exp, alb (and id_before, exp_before of 'uniform' and 'manifold' sampling);
    yaw_pitch_rad, distance_mm, sh_light [9, 3], background [3]; mask [H, W]; depth_mm [H, W];
    normal [H, W, 3] object space; uv [H, W, 2] of models with UV; landmarks68 and landmarks5, `_mm`
    [K, 3] in object space and `_px` [K, 2] (x, y; the first pixel's centre is (.5, .5)). Also
    written: dataset.json and contact_sheet.png of the first faces.

    Args:
      maker: draws and renders.
      out: folder; made if missing.
      indices: numbers of the faces, >= 0.

    Returns:
      {'written': faces made now, 'kept': faces found}.

    Raises:
      ValueError: the folder holds faces of other settings.
    """
    from tqdm import tqdm

    out, indices = pathlib.Path(out), list(indices)
    _check_settings(maker, out)
    counts = {"written": 0, "kept": 0}
    for i in tqdm(indices, desc="faces", disable=None):
        picture, labels = _files(out, i)
        if labels.is_file():  # written last, whole or not at all
            counts["kept"] += 1
            continue
        drawn, rendered = maker(i)
        write_image(picture, rendered.pop("image"))
        with atomic_path(labels) as temporary:
            np.savez(temporary, **drawn, **rendered)
        counts["written"] += 1
    if indices:
        from facejax.io.images import read_image

        sheet = [read_image(_files(out, i)[0]) for i in indices[:_SHEET]]
        write_image(out / "contact_sheet.png", image_grid(sheet, pad=4, background=1.0))
    return counts


def _files(out, index):
    return out / "images" / f"{index:06d}.png", out / "labels" / f"{index:06d}.npz"


def _check_settings(maker, out) -> None:
    settings = dataclasses.asdict(maker.options) | {
        "model": maker.model.topology.name,
        "model_digest": maker.model.topology.digest,
    }
    path = out / "dataset.json"
    if path.is_file():
        found = json.loads(path.read_text())
        changed = sorted(k for k in settings if settings[k] != found.get(k))
        if changed:
            raise ValueError(
                f"{out} holds faces with other settings: "
                + ", ".join(f"{k} {found.get(k)!r}, now {settings[k]!r}" for k in changed)
                + ". Give another --out"
            )
        return
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(settings, indent=2) + "\n")
