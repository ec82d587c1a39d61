import dataclasses
import json

import numpy as np
import pytest

from facejax.commands import compare_shapes
from facejax.geometry.mesh import Mesh
from facejax.io.meshes import save_mesh
from facejax.metrics.reconstruction import NOW_LANDMARKS
from facejax.morphable import load_morphable, save_npz

SWAPPED = [3, 2, 1, 0, 4, 6, 5]


@pytest.fixture(scope="module")
def model():
    return load_morphable("procedural", rows=32, cols=32, n_id=2, n_alb=2, draws=16, texture_size=8)


@pytest.fixture(scope="module")
def people(model):
    """The mean face, another one of the same topology, and the ids of the 68 landmarks."""
    mean = np.asarray(model.mean_shape, np.float64)
    other = mean + 2.0 * np.asarray(model.id_basis[0]) * float(model.id_std[0])
    return mean.round(4), other.round(4), np.asarray(model.topology.landmarks68)


def run(*args):
    """(exit code, figures) of the command."""
    args = [str(a) for a in args]
    out = next((a.partition("=")[2] for a in args if a.startswith("--out=")), None)
    code = compare_shapes.main(args)
    return code, json.loads(open(out).read()) if out and code == 0 else None


def test_a_scan_in_another_frame_unit_and_topology(tmp_path, capsys, model):
    save_npz(tmp_path / "model.npz", model)
    face = Mesh(vertices=np.asarray(model.mean_shape), topology=model.topology.mesh)
    save_mesh(tmp_path / "face.obj", face)
    save_mesh(tmp_path / "face.glb", face)
    moved = np.asarray(0.1 * face.vertices @ np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]]) + 7)
    scan = dataclasses.replace(face, vertices=moved.astype(np.float32))  # centimetres
    save_mesh(tmp_path / "scan.ply", scan)
    ids = np.asarray(model.topology.landmarks68)
    np.savetxt(tmp_path / "scan.txt", moved[ids])
    np.savetxt(tmp_path / "face.txt", np.asarray(face.vertices)[ids[NOW_LANDMARKS]])
    scan_args = [str(tmp_path / "scan.ply"), str(tmp_path / "face.obj")]
    marks = [f"--landmarks={tmp_path / 'scan.txt'}", "--unit=cm"]
    out = tmp_path / "found.json"
    by_model = f"--model={tmp_path / 'model.npz'}"
    for more in (f"--face_landmarks={tmp_path / 'face.txt'}", by_model):
        code, found = run(*scan_args, *marks, more, f"--out={out}")
        assert code == 0 and found["now"]["points"] > 100
        assert max(found["now"]["mean_mm"], found["micc"]["mean_mm"]) < 1e-2
    # a .glb splits the vertices of the model: its triangles tell which is which
    code, found = run(scan_args[0], tmp_path / "face.glb", *marks, by_model, f"--out={out}")
    assert code == 0 and found["now"]["mean_mm"] < 1e-2
    save_mesh(tmp_path / "scan.glb", dataclasses.replace(face, vertices=10 * scan.vertices))
    np.savetxt(tmp_path / "metres.txt", moved[ids] / 100)
    metres = [str(tmp_path / "scan.glb"), scan_args[1], f"--landmarks={tmp_path / 'metres.txt'}"]
    code, found = run(*metres, by_model, f"--out={out}")
    assert code == 0 and found["now"]["mean_mm"] < 1e-2
    assert "median_mm" in capsys.readouterr().out
    for args, word in (
        (scan_args, "wanted --landmarks=FILE"),
        ([*scan_args, f"--landmarks={out}", "--model=procedural"], "cannot be read as landmarks"),
        ([*scan_args, *marks, f"--face_landmarks={tmp_path / 'no.txt'}"], "no such file"),
        ([*scan_args, *marks, by_model, "--radius_mm=-3"], "--radius_mm"),
    ):
        assert run(*args)[0] == 2
        assert word in capsys.readouterr().err


def write_obj(path, vertices, triangles, kind="plain"):
    """A Wavefront file that stores the same surface in one of several ways."""
    lines = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in vertices]
    number = triangles + 1
    if kind == "flat normals":
        lines += ["vn 0 0 1"] * len(number)
        lines += [f"f {a}//{k} {b}//{k} {c}//{k}" for k, (a, b, c) in enumerate(number, 1)]
    elif kind == "own vertices":  # every triangle has three of its own
        lines = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in vertices[triangles.reshape(-1)]]
        lines += [f"f {3 * k + 1} {3 * k + 2} {3 * k + 3}" for k in range(len(number))]
    elif kind == "relative":
        lines += [f"f {a} {b} {c}" for a, b, c in number - len(vertices) - 1]
    elif kind == "groups":
        lines += ["o a", "g left", "usemtl skin"]
        lines += [f"f {a} {b} {c}" for a, b, c in number[:100]]
        lines += ["o b", "g right", "usemtl other"]
        lines += [f"f {a}/1 {b}/2 {c}/3" for a, b, c in number[100:]]
        lines = ["vt 0 0", "vt 0 1", "vt 1 1", *lines]
    elif kind == "loose":  # vertices without a triangle, not finite
        lines += ["v nan nan nan", "v 1e9 0 0"]
        lines += [f"f {a} {b} {c}" for a, b, c in number]
    else:
        lines += [f"f {a} {b} {c}" for a, b, c in number]
    path.write_text("\n".join(lines) + "\n")
    return path


KINDS = ("plain", "flat normals", "own vertices", "relative", "groups", "loose")


def test_how_a_file_splits_its_vertices_changes_no_figure(tmp_path, model, people):
    truth, other, ids = people
    triangles, mesh = model.topology.mesh.triangles, model.topology.mesh
    np.savetxt(tmp_path / "truth.txt", truth[ids])
    np.save(tmp_path / "other.npy", other[ids[NOW_LANDMARKS]])
    marks = [f"--landmarks={tmp_path / 'truth.txt'}", f"--face_landmarks={tmp_path / 'other.npy'}"]
    scans = [write_obj(tmp_path / f"scan {k}.obj", truth, triangles, k) for k in KINDS]
    faces = [write_obj(tmp_path / f"face {k}.obj", other, triangles, k) for k in KINDS]
    for name, vertices in (("scan", truth), ("face", other)):
        for suffix in ("ply", "glb"):
            save_mesh(tmp_path / f"{name}.{suffix}", Mesh(vertices, mesh))
    pairs = [(s, faces[0]) for s in scans] + [(scans[0], f) for f in faces]
    pairs += [(scans[1], faces[1]), (scans[2], faces[1]), (tmp_path / "scan.ply", faces[1])]
    out = f"--out={tmp_path / 'found.json'}"
    wanted = None
    for scan, face in pairs:
        code, found = run(scan, face, "--same_vertices", out)
        assert code == 0, (scan, face)
        wanted = wanted or found
        assert found["vertices"]["mean_mm"] == pytest.approx(wanted["vertices"]["mean_mm"])
        assert found["vertices"]["points"] == wanted["vertices"]["points"]
    assert wanted["vertices"]["mean_mm"] > 1
    for scan, face in ((tmp_path / "scan.glb", faces[0]), (scans[1], tmp_path / "face.glb")):
        code, found = run(scan, face, "--same_vertices", out)
        assert found["vertices"]["mean_mm"] == pytest.approx(
            wanted["vertices"]["mean_mm"], rel=1e-5
        )
    wanted = None
    for scan, face in (pairs[0], (scans[1], faces[2]), (scans[5], faces[4])):
        code, found = run(scan, face, *marks, out)
        assert code == 0
        wanted = wanted or found
        for measure in ("now", "micc"):
            assert found[measure] == pytest.approx(wanted[measure], rel=1e-6)
    # both measures fit the scale of the reconstruction, whatever its unit is said to be
    write_obj(tmp_path / "metres.obj", other / 1000, triangles)
    np.savetxt(tmp_path / "metres.txt", other[ids] / 1000)
    metres = f"--face_landmarks={tmp_path / 'metres.txt'}"
    code, found = run(scans[0], tmp_path / "metres.obj", marks[0], metres, out)
    assert code == 0
    assert found["now"]["median_mm"] == pytest.approx(wanted["now"]["median_mm"], rel=1e-2)
    assert found["micc"]["mean_mm"] == pytest.approx(wanted["micc"]["mean_mm"], rel=1e-2)


def test_what_cannot_be_a_face_is_refused_with_the_reason(tmp_path, capsys, model, people):
    truth, other, ids = people
    triangles, seven = model.topology.mesh.triangles, ids[NOW_LANDMARKS]

    def mesh(name, vertices, faces=triangles, kind="plain"):
        return write_obj(tmp_path / f"{name}.obj", vertices, faces, kind)

    def points(name, values):
        np.savetxt(tmp_path / f"{name}.txt", values)
        return tmp_path / f"{name}.txt"

    scan, face = mesh("scan", truth), mesh("face", other)
    marks, own = points("scan", truth[seven]), points("face", other[seven])
    mirrored = [-1, 1, 1]
    cases = [
        # a unit that was forgotten, of the scan, of one file's landmarks
        (mesh("m", truth / 1000), face, points("m", truth[seven] / 1000), own, "--unit=m"),
        (mesh("cm", truth / 10), face, points("cm", truth[seven] / 10), own, "--unit=cm"),
        (scan, face, points("m", truth[seven] / 1000), own, "times 1000 they would"),
        (scan, face, marks, points("face cm", other[seven] / 10), "times 10 they would"),
        (scan, face, points("else", truth[seven] + 300), own, "another mesh, or in another frame"),
        # orders
        (scan, face, points("sides", truth[seven][SWAPPED]), own, "right and left are swapped"),
        (scan, face, points("up", truth[seven][::-1]), own, "seem to be the points 7 6 5 4 3 2 1"),
        (scan, face, marks, points("one", other[seven][[0, 1, 2, 3, 5, 4, 6]]), "1 2 3 4 6 5 7"),
        (scan, face, points("flat", truth[seven][[0] * 7]), own, "one spot"),
        (scan, face, points("no", truth[[5, 60, 99, 200, 300, 404, 505]]), own, "fit no face"),
        (mesh("mirror", truth * mirrored), face, points("mirror", truth[seven] * mirrored), own,
         "left-handed"),
        # meshes
        (mesh("nan", np.where(np.arange(len(truth))[:, None] == 17, np.nan, truth)), face, marks,
         own, "vertex 17 (counted from 0)"),
        (scan, mesh("cloud", other, triangles[:0]), marks, own, "no triangles"),
        (scan, mesh("empty", other[:0], triangles[:0]), marks, own, "0 vertices and no triangles"),
        (scan, mesh("cut", other[:50]), marks, own, "the file is cut"),
        (scan, mesh("flat", other, np.repeat(triangles[:, :1], 3, axis=1)), marks, own,
         "none with an area"),
    ]  # fmt: skip
    for first, second, landmarks, others, words in cases:
        code, _ = run(first, second, f"--landmarks={landmarks}", f"--face_landmarks={others}")
        error = capsys.readouterr().err
        assert code == 2 and words in error, (words, error)
        assert error.count("\n") == 1
    shuffled = np.random.default_rng(0).permutation(len(other))
    for first, second, words in (
        (mesh("m", truth / 1000), face, "--unit=m"),
        (scan, mesh("dm", other / 100), "--face_unit=dm"),
        (scan, mesh("mixed", other[shuffled]), "is not vertex k of"),
        (scan, mesh("mirror", other * mirrored), "mirror images"),
        (scan, mesh("fewer", other, triangles[:-9], "own vertices"), "equally many of either"),
    ):
        assert run(first, second, "--same_vertices")[0] == 2
        error = capsys.readouterr().err
        assert words in error, (words, error)


def test_landmarks_in_any_layout_and_a_distance_that_is_far(tmp_path, capsys, model, people):
    truth, other, ids = people
    triangles, seven = model.topology.mesh.triangles, ids[NOW_LANDMARKS]
    scan = write_obj(tmp_path / "scan.obj", truth, triangles)
    face = write_obj(tmp_path / "face.obj", other, triangles)
    (tmp_path / "scan.txt").write_bytes(
        "\n".join(", ".join(f"{x:.6f}" for x in p) for p in truth[ids]).encode("utf-8-sig")
    )
    np.save(tmp_path / "face.npy", other[seven].T)
    code, figures = run(
        scan, face, f"--landmarks={tmp_path / 'scan.txt'}",
        f"--face_landmarks={tmp_path / 'face.npy'}", f"--out={tmp_path / 'out.json'}",
    )  # fmt: skip
    assert code == 0 and 0.1 < figures["now"]["median_mm"] < 1.0
    blown = write_obj(tmp_path / "blown.obj", other * [1.0, 1.25, 0.8], triangles)
    assert run(scan, blown, "--same_vertices")[0] == 0
    assert "mm is far" in capsys.readouterr().err
