"""docs/conventions.md says what the code does: its blocks run, its names exist, its signs hold."""

import pathlib
import re

import jax.numpy as jnp
import numpy as np
import pytest

import facejax
from facejax.data import MorphableUVSource, pack_source
from facejax.geometry import camera_frames
from facejax.geometry.camera import Camera, project, to_clip
from facejax.io.meshes import save_mesh
from facejax.morphable import MorphableModel, load_morphable
from facejax.render import rasterize

TEXT = (pathlib.Path(__file__).resolve().parents[1] / "docs" / "conventions.md").read_text()
OPTIONS = dict(rows=48, cols=48, n_id=4, n_alb=2, draws=8, texture_size=16)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> MorphableModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEJAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield load_morphable("procedural", **OPTIONS)


def test_the_blocks_run(model, tmp_path):
    source = MorphableUVSource(model, 16, 2, 0)
    pack_source(tmp_path / "set", source, 2)
    names = dict(folder=tmp_path / "set", options=OPTIONS)
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, names)
    shape_mm, inside = np.asarray(names["shape_mm"]), names["inside"]
    assert shape_mm.shape == (2, 16, 16, 3) and inside.shape == (16, 16)
    assert 150 < np.ptp(shape_mm[:, inside][..., 1]) < 500  # a head in mm
    assert names["vertices"].shape == (2, model.num_vertices, 3)
    away = np.linalg.norm(names["again"] - shape_mm, axis=-1)[:, inside & names["atlas"].mask]
    assert np.median(away) < 3.0  # 16 texels around a head
    bounds = np.abs(np.asarray(names["vertices"]) - np.asarray(model.mean_shape)[None])
    assert np.median(bounds) < 15.0


def test_every_name_exists():
    package = pathlib.Path(facejax.__file__).parent
    words = set(re.findall(r"\w+", "\n".join(p.read_text() for p in package.rglob("*.py"))))
    names = set(re.findall(r"`([a-zA-Z][\w.]*)`", TEXT))
    assert len(names) > 25
    missing = [name for name in names if not set(name.split(".")) <= words]
    assert not missing
    converters = [n for n in vars(camera_frames) if n.startswith(("from_", "to_"))]
    unlisted = [name for name in converters if f"`{name}`" not in TEXT]
    assert not unlisted


def test_signs_of_the_angles(model):
    nose = model.mean_shape[model.topology.landmarks5[2]][None]
    size = (100, 100)
    straight = project(Camera.look_at(), nose, size)[0]
    right = project(Camera.look_at(yaw_rad=0.3), nose, size)[0]
    down = project(Camera.look_at(pitch_rad=0.3), nose, size)[0]
    assert right[0] > straight[0] + 5  # positive yaw: toward the image's right
    assert down[1] > straight[1] + 5  # positive pitch: down, where pixel y grows


def test_sides_pixels_and_triangles(model):
    size = (64, 64)
    x, y = np.asarray(
        project(Camera.look_at(), model.mean_shape[model.topology.landmarks68], size)
    ).T
    assert x[36] < x[45] and x[48] < x[54] and x[0] < x[16]  # the subject's right: image left
    assert y[8] > y[33] > y[27] > y[19]  # pixel y runs down
    corner = project(Camera.orthographic(height_mm=100.0), jnp.array([[-50.0, 50.0, 0.0]]), size)
    np.testing.assert_allclose(corner, [[0.0, 0.0]], atol=1e-4)
    mesh = model.topology.mesh
    a, b, c = (np.asarray(model.mean_shape)[mesh.triangles[:, k]] for k in range(3))
    volume = np.einsum("fc,fc->f", a, np.cross(b, c)).sum() / 6
    assert volume > 1e6  # mm^3: counter-clockwise from outside encloses a positive volume
    clip = to_clip(Camera.look_at(), model.mean_shape, size)
    assert int((rasterize(clip, mesh, size, cull="back").triangle_id >= 0).sum()) > 500


def test_v_runs_down_and_obj_turns_it(model, tmp_path):
    mesh = model.topology.mesh
    uv = mesh.uv
    height = np.asarray(model.mean_shape)[mesh.uv_vertex, 1]
    assert height[uv[:, 1] < 0.1].mean() > height[uv[:, 1] > 0.9].mean()  # v = 0 is the crown
    face = facejax.sample_face(model, 0, "neutral")
    save_mesh(tmp_path / "face.obj", face)
    lines = (tmp_path / "face.obj").read_text().splitlines()
    written = np.array([line.split()[1:3] for line in lines if line.startswith("vt ")], float)
    np.testing.assert_allclose(written, uv * (1, -1) + (0, 1), atol=1e-5)
    points = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], float)
    assert 150 < np.ptp(points[:, 1]) < 500  # mm
