"""Checks that this machine computes what it should: renderer and face model against known numbers.

The reference (selftest.npz) was not recorded from this package: a float64 ray caster, exact
quadrature and plain sums over the model's arrays wrote it (tests/oracles/selftest.py).
"""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from facejax.geometry.camera import Camera, to_clip
from facejax.geometry.mesh import Mesh, MeshTopology
from facejax.morphable import decode_shape, landmarks
from facejax.morphable.procedural import build_procedural
from facejax.morphable.storage import model_from_arrays
from facejax.render import (
    SphericalHarmonics,
    bake,
    boundary_grad,
    rasterize,
    render,
    unbake,
    uv_atlas,
)

REFERENCE = pathlib.Path(__file__).with_suffix(".npz")
MODEL = dict(rows=48, cols=48, n_id=2, n_alb=2, draws=8, texture_size=8)
ID_COEFFS = (1.0, -1.0)
EXPRESSION = {"jawOpen": 0.6, "mouthSmile_L": 0.8, "browInnerUp_L": 1.0}
ATLAS_PX = 64


@dataclasses.dataclass(frozen=True)
class Check:
    """One line of the self-test.

    Attributes:
      name: what was checked.
      error: the worst difference found; NaN where the check could not run.
      tolerance: the largest difference allowed, in the same unit.
      unit: of both.
      note: what went wrong where the check could not run.
    """

    name: str
    error: float
    tolerance: float
    unit: str = ""
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the difference is a number within the tolerance."""
        return bool(self.error <= self.tolerance)


def run() -> list[Check]:
    """All checks; an exception inside one becomes a failed check. About ten seconds of compiling.

    Returns:
      Checks in the order of the pipeline: rasteriser, renderer, UV maps, face model.
    """
    with np.load(REFERENCE, allow_pickle=False) as file:
        reference = {name: file[name] for name in file.files}
    parts: list[tuple[str, Callable]] = [
        ("rasteriser", check_rasterizer),
        ("renderer", check_renderer),
        ("UV maps", check_uv_maps),
        ("face model", check_face_model),
    ]
    checks = []
    for name, part in parts:
        try:
            checks += part(reference)
        except Exception as error:  # whatever breaks is a finding, not the end of the report
            note = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            checks.append(Check(name, float("nan"), 0.0, note=note))
    return checks


def _worst(found, wanted, where=None) -> float:
    """Largest absolute difference; NaN wins over every number."""
    difference = np.abs(np.asarray(found, np.float64) - wanted)
    return float(np.max(difference if where is None else difference[where]))


def _scene(reference):
    topology = MeshTopology(reference["triangles"], len(reference["vertices"]))
    distance, yaw, pitch, fov = (float(x) for x in reference["camera"])
    camera = Camera.look_at(distance, yaw, pitch, fov_rad=fov)
    return Mesh(jnp.asarray(reference["vertices"]), topology), camera


def check_rasterizer(reference: dict) -> list[Check]:
    """Triangle ids, barycentrics and the silhouette gradient of an ellipsoid.

    Pushing the whole surface across the image by dx changes the sum of mask * x by the covered area
    times dx: so the silhouette gradient, summed over the vertices, has to be the area in pixels.
    """
    mesh, camera = _scene(reference)
    wanted = reference["triangle_id"]
    height, width = wanted.shape
    clip = to_clip(camera, mesh.vertices, wanted.shape)
    fragments = rasterize(clip, mesh.topology, wanted.shape)
    ids = np.asarray(fragments.triangle_id)
    same = (ids == wanted) & (wanted >= 0)
    mask = (fragments.triangle_id >= 0).astype(jnp.float32)[..., None]
    row, column = np.mgrid[:height, :width].astype(np.float32)

    def moment(clip, position):
        seen = boundary_grad(mask, clip, mesh.topology, fragments)[..., 0]
        return jnp.sum(seen * position)

    gradient = jax.jit(jax.grad(moment))
    by_x, by_y = gradient(clip, column), gradient(clip, row)
    weight = np.asarray(clip[:, 3])  # a step in ndc is a step of w times that in clip space
    area = (wanted >= 0).sum()
    ratio = [
        np.sum(by_x[:, 0] * weight) * 2 / width / area,
        -np.sum(by_y[:, 1] * weight) * 2 / height / area,
    ]
    return [
        Check("rasteriser: triangle of each pixel", float((ids != wanted).sum()), 3, "pixels"),
        Check(
            "rasteriser: barycentrics",
            _worst(fragments.barycentric, reference["barycentric"], same),
            1e-4,
        ),
        Check("rasteriser: silhouette gradient", _worst(ratio, 1.0), 1e-3, "of the area"),
    ]


def check_renderer(reference: dict) -> list[Check]:
    """Depth, normals and shading by spherical harmonics of the same ellipsoid."""
    mesh, camera = _scene(reference)
    light = SphericalHarmonics(jnp.asarray(reference["sh"]), convention="lambert")
    mesh = mesh.replace(vertex_colors=jnp.ones_like(mesh.vertices))
    size = reference["triangle_id"].shape
    out = render(mesh, camera, light, size, color_space="raw", clip_colors=False)
    inside = (np.asarray(out.triangle_id) == reference["triangle_id"]) & (
        reference["triangle_id"] >= 0
    )
    return [
        Check("renderer: depth", _worst(out.depth, reference["depth_mm"], inside), 0.02, "mm"),
        Check("renderer: normals", _worst(out.normal, reference["normal"], inside), 1e-4),
        Check("renderer: shading", _worst(out.image, reference["color"], inside), 1e-4),
    ]


def check_uv_maps(reference: dict) -> list[Check]:
    """A map of its own UV coordinates holds texel centres; vertices survive a map and back."""
    del reference
    corner = np.array([[0.1, 0.2], [0.1, 0.8], [0.9, 0.8], [0.9, 0.2]], np.float32)
    square = MeshTopology([[0, 1, 2], [0, 2, 3]], 4, uv=corner)
    atlas = uv_atlas(square, (16, 32))
    baked = bake(atlas, corner)
    row, column = np.mgrid[:16, :32] + 0.5
    centers = np.stack([column / 32, row / 16], axis=-1)
    inside = ((centers > 0.1) & (centers < 0.9))[..., 0] & ((centers > 0.2) & (centers < 0.8))[
        ..., 1
    ]
    wanted = np.where(inside[..., None], centers, 0.0)
    model = _small_model()
    vertices = model.mean_shape
    atlas = uv_atlas(model.topology.mesh, ATLAS_PX)
    back = unbake(atlas, bake(atlas, vertices))
    away = np.linalg.norm(np.asarray(back - vertices), axis=-1)
    return [
        Check("UV maps: texel centres", _worst(baked, wanted), 1e-5),
        Check("UV maps: vertices there and back", float(np.median(away)), 1.0, "mm, median"),
    ]


def check_face_model(reference: dict) -> list[Check]:
    """Landmarks of one face of a small procedural model."""
    model = _small_model()
    weights = np.zeros(model.num_exp, np.float32)
    for name, weight in EXPRESSION.items():
        weights[model.topology.exp_index[name]] = weight
    found = landmarks(model, decode_shape(model, jnp.asarray(ID_COEFFS), weights))
    return [Check("face model: landmarks", _worst(found, reference["landmarks_mm"]), 0.2, "mm")]


def _small_model():
    return model_from_arrays(build_procedural(**MODEL))
