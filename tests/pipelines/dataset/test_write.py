"""Rendering and writing, in one file: every program compiled costs seconds."""

import dataclasses
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.camera import Camera, project
from facejax.host import machine
from facejax.host.locks import LockError, folder_lock
from facejax.host.machine import MachineError
from facejax.io.images import read_image, write_image
from facejax.io.meshes import load_mesh
from facejax.morphable import decode_shape, landmarks, save_npz
from facejax.pipelines.dataset import FaceMaker, Options, PackedFaces, records, write_dataset
from facejax.pipelines.dataset.containers import Clock, FolderContainer
from facejax.pipelines.dataset.records import RecordContainer
from facejax.pipelines.dataset.render import triangle_regions
from tests.disks import leftovers, short_files, small_disk

ROOT = pathlib.Path(__file__).resolve().parents[3]
SIZE, NUM, BATCH = 40, 9, 32
OPTIONS = Options(size=SIZE, seed=5, background="gradient", look="head")


@pytest.fixture(scope="module")
def maker(model):
    """On four devices; in batches of 32 one program serves all tests."""
    assert len(jax.devices()) == 4
    return FaceMaker(model, OPTIONS)


def made(maker, indices):
    """Faces in batches of 32."""
    indices = list(indices)
    padded = indices + indices[:1] * (-len(indices) % BATCH)
    rows = [maker(padded[i : i + BATCH]) for i in range(0, len(padded), BATCH)]
    return [face for batch in rows for face in batch][: len(indices)]


@pytest.fixture(scope="module")
def faces(maker):
    return made(maker, range(NUM))


def camera_of(face):
    names = ("rotation", "translation", "focal", "center", "near", "far")
    return Camera(*(jnp.asarray(face[f"camera_{n}"]) for n in names))


def same_faces(found, wanted):
    assert list(found) == list(wanted)
    for key, value in wanted.items():
        assert found[key].dtype == value.dtype and found[key].shape == value.shape, key
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def test_one_device_and_single_faces_give_the_same_bits(model, faces):
    alone = FaceMaker(model, OPTIONS, devices=jax.devices()[:1])
    assert alone.render.num_devices == 1
    for i in (0, 7):
        same_faces(alone([i])[0], faces[i])
    for key in ("id", "alb", "image", "sh_light", "yaw_rad"):
        assert not np.array_equal(faces[0][key], faces[7][key])


def test_landmarks_are_those_of_the_mesh_and_of_the_camera(model, faces):
    for face in faces[:4]:
        vertices = decode_shape(model, face["id"], face["exp"])
        for kind in (68, 5):
            points = landmarks(model, vertices, kind)
            np.testing.assert_allclose(face[f"landmarks{kind}_mm"], points, atol=1e-3)
            pixels = project(camera_of(face), face[f"landmarks{kind}_mm"], (SIZE, SIZE))
            np.testing.assert_allclose(face[f"landmarks{kind}_px"], pixels, atol=1e-3)


def test_pose_is_what_the_labels_say(faces):
    for face in faces:
        yaw, pitch, roll = (float(face[f"{k}_rad"]) for k in ("yaw", "pitch", "roll"))
        nose = face["camera_rotation"] @ [0.0, 0.0, 1.0]
        c, s = np.cos(roll), np.sin(roll)
        x, y = c * nose[0] + s * nose[1], c * nose[1] - s * nose[0]  # rolled back
        np.testing.assert_allclose([x, y], [np.sin(yaw), -np.sin(pitch) * np.cos(yaw)], atol=1e-5)
        target = face["camera_rotation"] @ face["target_mm"] + face["camera_translation"]
        np.testing.assert_allclose(target, [0, 0, -face["distance_mm"]], atol=2e-3)
        span = face["frame_mm"] / face["distance_mm"]
        np.testing.assert_allclose(face["camera_focal"], 2 / span, rtol=1e-5)


def cast(vertices, triangles, direction, eye):
    """(depth along the ray, triangle, weights [3]) of the first surface; a loop over nothing."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    p = np.cross(direction, c - a)
    det = ((b - a) * p).sum(1)
    det = np.where(np.abs(det) < 1e-12, np.inf, det)
    u = ((eye - a) * p).sum(1) / det
    q = np.cross(eye - a, b - a)
    v = (q * direction).sum(1) / det
    t = (q * (c - a)).sum(1) / det
    t = np.where((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0), t, np.inf)
    i = int(t.argmin())
    return t[i], i, np.array([1 - u[i] - v[i], u[i], v[i]])


def test_maps_are_those_of_a_ray_caster(model, faces, rng):
    topology = model.topology.mesh
    for face in faces[:3]:
        vertices = np.asarray(decode_shape(model, face["id"], face["exp"]), np.float64)
        rotation = face["camera_rotation"].astype(np.float64)
        eye = -rotation.T @ face["camera_translation"]
        checked, wrong = 0, 0
        for row, col in rng.integers(0, SIZE, (60, 2)):
            x, y = (col + 0.5) * 2 / SIZE - 1, 1 - (row + 0.5) * 2 / SIZE
            ray = np.array([x, y, 0]) / face["camera_focal"][0] + [0, 0, -1]
            depth, i, weight = cast(vertices, topology.triangles, rotation.T @ ray, eye)
            if not np.isfinite(depth):
                wrong += face["regions"][row, col] != 0 or face["depth_mm"][row, col] != 0
                continue
            checked += 1
            uv = weight @ topology.uv[topology.uv_triangles[i]]
            off = np.abs(face["uv"][row, col] - uv)
            off[0] = min(off[0], 1 - off[0])  # u goes round
            close = abs(face["depth_mm"][row, col] - depth) < 0.02 and off.max() < 2e-3
            corner = vertices[topology.triangles[i]]
            flat = np.cross(corner[1] - corner[0], corner[2] - corner[0])
            close &= face["normal"][row, col] @ flat > 0.3 * np.linalg.norm(flat)
            wrong += not close
        assert checked > 15 and wrong <= 1  # a ray may just miss the edge that a pixel hits


def test_regions_cover_the_mask(maker, model, faces):
    names = maker.render.regions
    assert names[:2] == ("background", "other") and "lips" in names
    seen = set()
    for face in faces:
        before = face["regions"] == len(names) - 1
        shown = (face["regions"] > 0) & ~before
        assert shown[face["mask"] == 255].all()
        assert not shown[(face["mask"] == 0)].any()
        assert 0.2 < ((face["mask"] == 255) | before).mean() < 0.95
        np.testing.assert_array_equal(shown, (face["depth_mm"] > 0) & ~before)
        seen |= {names[k] for k in np.unique(face["regions"])}
    assert {"background", "face", "skin", "hair"} <= seen and names[-1] == "occluder"
    labels, masks = triangle_regions(model), model.topology.masks
    for name in ("lips", "hair"):  # keep their names though they are skin too
        inside = masks[name][model.topology.mesh.triangles].mean(axis=1) >= 0.55
        assert inside.any() and (labels[inside] < names.index("face")).all()


def test_an_ideal_camera_changes_the_picture_alone(model, faces):
    ideal = FaceMaker(model, dataclasses.replace(OPTIONS, camera="ideal"))
    many = made(ideal, range(NUM))
    for face, real in zip(many, faces, strict=True):
        for key in ("id", "alb", "depth_mm", "normal", "landmarks68_px", "yaw_rad"):
            np.testing.assert_array_equal(face[key], real[key], err_msg=key)
        assert not np.array_equal(face["image"], real["image"])
        assert face["regions"].max() < len(ideal.render.regions) - 1
        background = ideal.draw(0)["background"] if face is many[0] else None
        if background is not None:
            outside = face["mask"] == 0
            off = face["image"].astype(int) - background.astype(int)
            assert np.abs(off)[outside].max() <= 1


def test_occluders_are_no_face(maker):
    """Of many faces some are behind things; these are a region, and landmarks there are hidden."""
    number, found = len(maker.render.regions) - 1, 0
    for face in made(maker, range(2 * BATCH)):
        before = face["regions"] == number
        if not before.any():
            continue
        found += 1
        assert face["mask"][before].max() <= 128
        column, row = np.floor(face["landmarks68_px"]).astype(int).T
        inside = (column >= 0) & (column < SIZE) & (row >= 0) & (row < SIZE)
        hidden = before[row.clip(0, SIZE - 1), column.clip(0, SIZE - 1)] & inside
        assert not face["landmarks68_visible"][hidden].any()
    assert found > 2


def test_hidden_landmarks(maker):
    """The far side of the jaw is hidden in profile; from the front nearly all are visible."""
    many = made(maker, range(2 * BATCH))
    right, left = np.arange(0, 5), np.arange(12, 17)  # of the jaw; right is on the image's left
    for face in many:
        seen = face["landmarks68_visible"]
        inside = ((face["landmarks68_px"] >= 0) & (face["landmarks68_px"] <= SIZE)).all(1)
        assert not seen[~inside].any()
        if (face["regions"] == len(maker.render.regions) - 1).any():
            continue  # something before the face hides others
        turned = np.degrees(face["yaw_rad"])
        if abs(turned) > 45:  # towards the image's right: the left side is hidden
            hidden, shown = (left, right) if turned > 0 else (right, left)
            assert seen[hidden].sum() < seen[shown].sum()
        if abs(turned) < 10:
            assert seen.sum() >= 0.8 * inside.sum()


def test_containers_shards_and_resuming(maker, faces, tmp_path, monkeypatch):
    pytest.importorskip("array_record")
    monkeypatch.setattr(records, "FACES_PER_FILE", 4)
    out = {c: tmp_path / f"set_{c}" for c in ("folder", "packed", "tfds")}
    for container, folder in out.items():
        do = dict(container=container, batch_size=BATCH, threads=2)
        do |= dict(meshes="ply") if container == "folder" else {}
        first = write_dataset(maker, folder, NUM, num_shards=2, shard=1, **do)
        assert first.found == 0 and first.missing == NUM - first.written == 5
        assert not (folder / "labels.csv").exists()
        last = write_dataset(maker, folder, NUM, num_shards=2, shard=0, **do)
        assert (last.written, last.missing) == (5, 0)
        before = (folder / "labels.csv").stat().st_mtime_ns
        again = write_dataset(maker, folder, NUM, **do)
        assert (again.written, again.found) == (0, NUM)
        assert (folder / "labels.csv").stat().st_mtime_ns == before
        for name in ("contact_sheet", "outputs", "statistics"):
            assert read_image(folder / f"{name}.png").shape[-1] == 3
    clock = Clock()
    outputs = json.loads((out["tfds"] / "dataset.json").read_text())["outputs"]
    plain = FolderContainer(out["folder"], NUM, clock)
    arrays = RecordContainer(out["tfds"], NUM, outputs, clock)
    packed = PackedFaces(out["packed"], verify=True)
    batch = packed.batch(np.arange(NUM))
    for i, face in enumerate(faces):
        for sink in (plain, arrays):
            same_faces(sink.labels(i) | sink.pictures(i), dict(sorted_like(face, sink, i)))
        same_faces({k: batch[k][i] for k in face}, face)
    tables = [(folder / "labels.csv").read_bytes() for folder in out.values()]
    assert tables[0] == tables[1] == tables[2]
    surface = load_mesh(out["folder"] / "meshes/000003.ply")
    vertices = decode_shape(maker.model, faces[3]["id"], faces[3]["exp"])
    np.testing.assert_allclose(surface.vertices, vertices, atol=1e-3)
    # one face more: a folder grows, the other files have a size
    grown = write_dataset(maker, out["folder"], NUM + 1, batch_size=BATCH, coco=True, meshes="ply")
    assert (grown.written, grown.found) == (1, NUM)
    coco = json.loads((out["folder"] / "coco_keypoints.json").read_text())
    assert len(coco["images"]) == len(coco["annotations"]) == NUM + 1
    with pytest.raises(ValueError, match="num 9, now 10"):
        write_dataset(maker, out["packed"], NUM + 1, container="packed")
    damaged = out["packed"] / "depth_mm.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(ValueError, match="depth_mm.npy is damaged"):
        PackedFaces(out["packed"])


def sorted_like(face, sink, index):
    """The items of a face in the order in which a container gives them."""
    return [(k, face[k]) for k in sink.labels(index) | sink.pictures(index)]


def test_after_kill_9_the_set_is_the_same(maker, model, tmp_path):
    save_npz(tmp_path / "model.npz", model)
    num, out = 300, tmp_path / "faces"
    command = [
        sys.executable, str(ROOT / "launch/make_dataset.py"), f"--model={tmp_path / 'model.npz'}",
        f"--num={num}", f"--out={out}", f"--resolution={SIZE}", "--seed=5",
        "--background=gradient", "--look=head", f"--batch_size={BATCH}",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.time() + 120
        while len(list((out / "labels").glob("0*.npz"))) < 5 and time.time() < deadline:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    there = {p.name: p.stat().st_mtime_ns for p in (out / "labels").glob("0*.npz")}
    assert 5 <= len(there) < num
    summary = write_dataset(maker, out, num, batch_size=BATCH)
    assert (summary.found, summary.written) == (len(there), num - len(there))
    assert all((out / "labels" / n).stat().st_mtime_ns == t for n, t in there.items())
    files = sorted(p.name for p in (out / "images").iterdir())
    assert files == [f"{i:06d}.png" for i in range(num)]  # and no halves
    plain = FolderContainer(out, num, Clock())
    indices = sorted({int(n[:6]) for n in there} | set(range(0, num, 29)))
    for i, face in zip(indices, made(maker, indices), strict=True):
        same_faces(plain.labels(i) | plain.pictures(i), dict(sorted_like(face, plain, i)))
    summary = write_dataset(maker, out, num, batch_size=BATCH)
    assert (summary.found, summary.written) == (num, 0)


@pytest.fixture
def held(tmp_path):
    """Holds locks in another thread: hold(folder, purpose, part)."""
    ends, threads = threading.Event(), []

    def hold(*arguments):
        ready = threading.Event()

        def work():
            with folder_lock(*arguments):
                ready.set()
                ends.wait(60)

        threads.append(threading.Thread(target=work))
        threads[-1].start()
        ready.wait(60)

    yield hold
    ends.set()
    for thread in threads:
        thread.join()


def test_a_share_has_one_writer_and_shards_do_not_hinder_each_other(maker, tmp_path, held):
    held(tmp_path / "a", "making faces", "shard-0-of-2")
    do = dict(batch_size=BATCH)
    for shards in (dict(), dict(num_shards=2, shard=0), dict(num_shards=3, shard=1)):
        with pytest.raises(LockError, match="a is in use by this process .making faces"):
            write_dataset(maker, tmp_path / "a", 2, **do, **shards)
    assert write_dataset(maker, tmp_path / "a", 2, **do, num_shards=2, shard=1).missing == 1
    held(tmp_path / "b", "making faces")
    for shards in (dict(), dict(num_shards=2, shard=0)):
        with pytest.raises(LockError, match="b is in use"):
            write_dataset(maker, tmp_path / "b", 2, **do, **shards)
    held(tmp_path / "c", "writing tables", "report")  # the process of the other shard is faster
    write_dataset(maker, tmp_path / "c", 1, **do, num_shards=2, shard=0)
    assert not (tmp_path / "c" / "labels.csv").exists()


def test_a_background_that_goes_bad_loses_no_face(model, tmp_path):
    folder, out = tmp_path / "pictures", tmp_path / "faces"
    for k in range(4):
        write_image(folder / f"{k}.png", np.full((30, 30, 3), 0.2 * k))
    (folder / "bad.png").write_bytes(b"no image")
    options = Options(size=SIZE, seed=5, background=str(folder), look="head")
    maker = FaceMaker(model, options)
    with pytest.raises(ValueError, match=r"1 of 5 .*\(bad.png\).*--skip_bad"):
        write_dataset(maker, out, 8, batch_size=BATCH)
    assert not out.exists()
    first = write_dataset(maker, out, 8, batch_size=BATCH, skip_bad=True)
    assert first.written == 8 and set(first.left_out) == {"bad.png"}
    files = {p.name: p.read_bytes() for p in (out / "images").iterdir()}
    # The user removes the picture, and one that was good: what is done is found.
    (folder / "bad.png").unlink()
    (folder / "2.png").unlink()
    again = write_dataset(FaceMaker(model, options), out, 8, batch_size=BATCH)
    assert (again.written, again.found) == (0, 8)
    with pytest.raises(ValueError, match="2.png is not there any more. Faces that are done are"):
        write_dataset(FaceMaker(model, options), out, 16, batch_size=BATCH)
    more = write_dataset(FaceMaker(model, options), out, 16, batch_size=BATCH, skip_bad=True)
    assert (more.written, more.found) == (8, 8) and set(more.left_out) == {"2.png"}
    assert all((out / "images" / name).read_bytes() == old for name, old in files.items())
    # Faces that had other pictures are those of a set that lost none.
    write_image(folder / "2.png", np.full((30, 30, 3), 0.4))
    write_dataset(FaceMaker(model, options), tmp_path / "whole", 16, batch_size=BATCH)
    plain, whole = (FolderContainer(p, 16, Clock()) for p in (out, tmp_path / "whole"))
    same = [i for i in range(16) if whole.labels(i)["background_image"] != 2]
    assert 8 <= len(same) < 16
    for i in same:
        same_faces(plain.labels(i), whole.labels(i))


MANY = 64 << 20
MOMENTS = 20 if os.environ.get("FACEJAX_SLOW") else 1


@pytest.mark.parametrize("container", ["folder", "packed", "tfds"])
def test_a_full_disk_is_one_error_and_the_same_call_finishes(maker, tmp_path, container):
    do = dict(container=container, batch_size=BATCH, threads=2)
    with small_disk(tmp_path / "disk", MANY) as disk:
        write_dataset(maker, disk.path / "faces", NUM, **do)
        used, wanted = disk.used(), content_of(disk.path / "faces")
    rng = random.Random(container)
    for k in range(MOMENTS):
        size = int(rng.uniform(0.02, 0.95) * used)
        with small_disk(tmp_path / f"disk{k}", size) as disk:
            out = disk.path / "faces"
            with pytest.raises((OSError, MachineError)) as error:
                write_dataset(maker, out, NUM, **do)
            assert str(disk.path) in str(error.value), error.value
            disk.resize(MANY)
            write_dataset(maker, out, NUM, **do)
            assert content_of(out) == wanted
            assert leftovers(out) == []


def content_of(folder):
    """{name: bytes} of all files."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("container", ["folder", "packed"])
def test_files_that_cannot_grow_are_one_error_that_names_one(maker, tmp_path, container):
    do = dict(container=container, batch_size=BATCH, threads=2)
    with short_files(6000), pytest.raises(OSError, match="File too large: .*faces") as error:
        write_dataset(maker, tmp_path / "faces", NUM, **do)
    assert "/." not in error.value.filename  # what the user knows, not a temporary name
    write_dataset(maker, tmp_path / "faces", NUM, **do)
    assert leftovers(tmp_path / "faces") == []


def test_a_packed_set_that_will_not_fit_is_refused_first(maker, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "free_bytes", lambda path: 100_000)
    with pytest.raises(MachineError, match=r"faces: [\d.]+ .iB are needed and 97.7 KiB are free"):
        write_dataset(maker, tmp_path / "faces", NUM, container="packed", batch_size=BATCH)
    assert not list((tmp_path / "faces").glob("*.npy"))


def test_a_folder_of_something_else_is_refused(maker, model, tmp_path):
    write_dataset(maker, tmp_path / "a", 1, batch_size=BATCH)
    other = FaceMaker(model, Options(size=SIZE, seed=6, look="head"))
    with pytest.raises(ValueError, match="background 'gradient', now 'scene', seed 5, now 6"):
        write_dataset(other, tmp_path / "a", 1)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match="no set of faces"):
        write_dataset(maker, tmp_path / "b", 1)
    (tmp_path / "a" / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match="dataset.json, line 1: damaged JSON"):
        write_dataset(maker, tmp_path / "a", 1)
    for change, message in (
        (dict(container="zip"), "one of"),
        (dict(coco=True, container="packed"), "coco needs"),
        (dict(meshes="glb", container="tfds"), "meshes needs"),
        (dict(num_shards=2, shard=2), "0 to 1"),
        (dict(batch_size=0), "batch_size is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            write_dataset(maker, tmp_path / "c", 1, **change)
    assert not (tmp_path / "c").exists()
    with pytest.raises(ValueError, match="snake_case"):
        write_dataset(maker, tmp_path / "My-Set", 1, container="tfds", batch_size=BATCH)
