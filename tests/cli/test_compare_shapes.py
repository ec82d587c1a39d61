import dataclasses
import json

import numpy as np

from facejax.commands import compare_shapes
from facejax.geometry.mesh import Mesh
from facejax.io.meshes import save_mesh
from facejax.metrics.reconstruction import NOW_LANDMARKS
from facejax.morphable import load_morphable, save_npz


def test_a_scan_in_another_frame_unit_and_topology(tmp_path, capsys):
    model = load_morphable(
        "procedural", rows=32, cols=32, n_id=2, n_alb=2, draws=16, texture_size=8
    )
    save_npz(tmp_path / "model.npz", model)
    face = Mesh(vertices=np.asarray(model.mean_shape), topology=model.topology.mesh)
    save_mesh(tmp_path / "face.obj", face)
    moved = np.asarray(0.1 * face.vertices @ np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]]) + 7)
    scan = dataclasses.replace(face, vertices=moved.astype(np.float32))  # centimetres
    save_mesh(tmp_path / "scan.ply", scan)
    ids = np.asarray(model.topology.landmarks68)
    np.savetxt(tmp_path / "scan.txt", moved[ids])
    np.savetxt(tmp_path / "face.txt", np.asarray(face.vertices)[ids[NOW_LANDMARKS]])
    scan_args = [str(tmp_path / "scan.ply"), str(tmp_path / "face.obj")]
    marks = [f"--landmarks={tmp_path / 'scan.txt'}", "--unit=cm"]
    out = tmp_path / "found.json"
    for more in (f"--face_landmarks={tmp_path / 'face.txt'}", f"--model={tmp_path / 'model.npz'}"):
        assert compare_shapes.main([*scan_args, *marks, more, f"--out={out}"]) == 0
        found = json.loads(out.read_text())
        assert found["now"]["points"] > 100
        assert max(found["now"]["mean_mm"], found["micc"]["mean_mm"]) < 1e-2
    save_mesh(tmp_path / "scan.glb", dataclasses.replace(face, vertices=10 * scan.vertices))
    np.savetxt(tmp_path / "metres.txt", moved[ids] / 100)
    metres = [str(tmp_path / "scan.glb"), scan_args[1], f"--landmarks={tmp_path / 'metres.txt'}"]
    assert compare_shapes.main([*metres, f"--model={tmp_path / 'model.npz'}", f"--out={out}"]) == 0
    assert json.loads(out.read_text())["now"]["mean_mm"] < 1e-2
    assert "median_mm" in capsys.readouterr().out
    same = [str(tmp_path / "face.obj"), str(tmp_path / "face.obj"), "--same_vertices"]
    assert compare_shapes.main(same) == 0
    assert "mean_mm" in capsys.readouterr().out
    for args, word in (
        (scan_args, "wanted --landmarks=FILE"),
        ([*scan_args, f"--landmarks={out}", "--model=procedural"], "no list of points"),
        ([*scan_args, *marks, f"--face_landmarks={tmp_path / 'no.txt'}"], "no list of points"),
    ):
        assert compare_shapes.main(args) == 2
        assert word in capsys.readouterr().err
