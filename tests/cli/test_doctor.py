import json
import pathlib
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from facejax import doctor, selftest
from facejax.commands import doctor as command
from facejax.geometry.mesh import vertex_normals
from facejax.morphable import ict
from tests.oracles import selftest as oracle

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def reference():
    with np.load(selftest.REFERENCE, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(autouse=True)
def _no_ict(monkeypatch):
    monkeypatch.delenv("FACEJAX_ICT", raising=False)
    monkeypatch.setattr(command, "enable_compile_cache", lambda: None)


def failed(checks):
    return {check.name for check in checks if not check.passed}


def test_the_shipped_reference_is_what_the_oracle_computes(reference):
    wanted = oracle.reference()
    assert set(reference) == set(wanted)
    for name, value in wanted.items():
        atol = 0.01 if name == "landmarks_mm" else 1e-5
        message = f"{name}: run `python -m tests.oracles.selftest` after a change of the head"
        np.testing.assert_allclose(reference[name], value, atol=atol, rtol=1e-6, err_msg=message)


def test_the_reference_is_worth_checking(reference):
    ids, hit = reference["triangle_id"], reference["triangle_id"] >= 0
    assert 150 < hit.sum() < ids.size / 2 and len(np.unique(ids)) > 50
    for flipped in (ids[::-1], ids[:, ::-1]):
        assert (ids != flipped).sum() > 50  # a mirrored picture cannot pass
    assert reference["depth_mm"][hit].min() > 500 and reference["depth_mm"][hit].max() < 600
    outward = np.einsum("vc,vc->v", reference["vertices"], np.asarray(
        vertex_normals(jnp.asarray(reference["vertices"]), selftest.MeshTopology(
            reference["triangles"], len(reference["vertices"])))))  # fmt: skip
    assert (outward > 0).all()
    x, y, z = reference["landmarks_mm"].T
    assert (np.diff(x[:17]) > 0).all()  # jaw from the subject's right, which is image left
    assert 55 < x[42:48].mean() - x[36:42].mean() < 75  # between the eyes
    assert z.argmax() in range(29, 34)  # the nose leads
    assert y[8] == y.min() and y[17:27].mean() > y[36:48].mean() > y[33] > y[51]


def test_every_check_passes(reference):
    checks = selftest.run()
    assert len(checks) == 9
    assert not failed(checks), checks
    assert len({check.name for check in checks}) == 9


@pytest.mark.parametrize(
    "flip", [lambda x: x[::-1], lambda x: x[:, ::-1], lambda x: jnp.roll(x, 1, axis=1)]
)
def test_wrong_pictures_fail(reference, monkeypatch, flip):
    original_rasterize, original_render = selftest.rasterize, selftest.render

    def rasterize(*args):
        f = original_rasterize(*args)
        return f.replace(triangle_id=flip(f.triangle_id))

    def render(*args, **options):
        out = original_render(*args, **options)
        return out.replace(image=flip(out.image), normal=flip(out.normal), depth=flip(out.depth))

    monkeypatch.setattr(selftest, "rasterize", rasterize)
    monkeypatch.setattr(selftest, "render", render)
    assert "rasteriser: triangle of each pixel" in failed(selftest.check_rasterizer(reference))
    found = failed(selftest.check_renderer(reference))
    assert found == {"renderer: depth", "renderer: normals", "renderer: shading"}


def test_wrong_numbers_fail(reference, monkeypatch):
    def broken(name, function, check):
        with monkeypatch.context() as patch:
            patch.setattr(selftest, name, function(getattr(selftest, name)))
            return failed(check(reference))

    def fragments(old):
        return lambda *a: (f := old(*a)).replace(barycentric=f.barycentric[..., [1, 0, 2]])

    assert "rasteriser: barycentrics" in broken("rasterize", fragments, selftest.check_rasterizer)

    def no_gradient(old):
        return lambda image, *rest: image + 0 * rest[0].sum()

    found = broken("boundary_grad", no_gradient, selftest.check_rasterizer)
    assert found == {"rasteriser: silhouette gradient"}

    def dim(old):
        return lambda *a, **k: (out := old(*a, **k)).replace(image=out.image * 0.999)

    assert broken("render", dim, selftest.check_renderer) == {"renderer: shading"}

    def upside_down(old):
        return lambda *a: old(*a)[::-1]

    found = broken("bake", upside_down, selftest.check_uv_maps)
    assert found == {"UV maps: texel centres", "UV maps: vertices there and back"}

    def shifted(old):
        return lambda atlas, uv_map: old(atlas, jnp.roll(uv_map, 1, axis=0))

    found = broken("unbake", shifted, selftest.check_uv_maps)
    assert found == {"UV maps: vertices there and back"}

    def noisy(old):
        return lambda *a: 1.01 * old(*a)

    assert broken("decode_shape", noisy, selftest.check_face_model) == {"face model: landmarks"}

    def nan(old):
        return lambda *a: jnp.nan * old(*a)

    assert broken("decode_shape", nan, selftest.check_face_model) == {"face model: landmarks"}


def test_an_exception_is_a_failed_check(monkeypatch):
    def explode(*args, **options):
        raise RuntimeError("out of\nmemory")

    for name in ("rasterize", "render", "uv_atlas"):
        monkeypatch.setattr(selftest, name, explode)
    checks = selftest.run()
    assert [c.name for c in checks if not c.passed] == ["rasteriser", "renderer", "UV maps"]
    assert checks[0].note == "RuntimeError: out of memory"


@pytest.mark.parametrize("error", [0.5, 2.0, float("nan")])
def test_the_exit_code_follows_the_checks(monkeypatch, capsys, error):
    checks = [selftest.Check("renderer: depth", error, 1.0, "mm"), selftest.Check("x", 0.0, 0.0)]
    monkeypatch.setattr(selftest, "run", lambda: checks)
    good = error == 0.5
    assert command.main(["--json"]) == (0 if good else 1)
    report = json.loads(capsys.readouterr().out)
    assert report["healthy"] is good
    assert report["self_test"][0]["passed"] is good
    assert report["self_test"][0]["error"] == (error if error == error else None)
    assert command.main([]) == (0 if good else 1)
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if "renderer: depth" in line)
    assert line.split()[0] == ("PASS" if good else "FAIL")
    assert ("All is well." in text) is good
    assert ("Something is wrong" in text) is not good


def test_the_report(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "tensorboard" else "1.0")
    report = doctor.collect(self_test=False)
    assert report["healthy"] and report["self_test"] == []
    assert report["devices"] == dict(backend="cpu", kinds={"cpu": 4}, processes=1)
    text = doctor.describe(report)
    assert "metrics.jsonl holds the same numbers" in text
    assert "Self-test" not in text
    assert {m["name"]: m["found"] for m in report["face_models"]} == dict(
        makehuman=True, procedural=True, ict=False, bfm=False, flame=False
    )
    assert all(x["commercial"] for x in report["licences"])
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "optax" else "1.0")
    assert command.main(["--no-self_test"]) == 1
    assert "optax MISSING" in capsys.readouterr().out


def test_a_device_that_does_not_start(monkeypatch, capsys):
    import jax

    def devices():
        raise RuntimeError("Unable to initialize backend 'cuda'")

    monkeypatch.setattr(jax, "devices", devices)
    assert command.main([]) == 1
    text = capsys.readouterr().out
    assert "FAIL: JAX_PLATFORMS=" in text and "(Unable to initialize backend 'cuda')" in text


def test_ict(tmp_path, monkeypatch):
    def found(path):
        return next(m for m in doctor.collect(path, False)["face_models"] if m["name"] == "ict")

    assert "FACEJAX_ICT" in found(None)["note"]
    assert "no such file" in found(str(tmp_path / "absent"))["note"]
    assert "no ICT-FaceKit" in found(str(tmp_path))["note"]
    (tmp_path / "broken.npz").write_bytes(b"nothing")
    assert not found(str(tmp_path / "broken.npz"))["found"]
    np.savez(tmp_path / "ict.npz", **{key: np.zeros(1) for key in ict.RAW_KEYS})
    assert found(str(tmp_path / "ict.npz"))["found"]
    monkeypatch.setenv("FACEJAX_ICT", str(tmp_path / "ict.npz"))
    assert found(None)["found"]


def test_a_cache_folder_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "a").write_bytes(bytes(1 << 20))
    monkeypatch.setenv("FACEJAX_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    assert command.main(["--no-self_test"]) == 0
    text = capsys.readouterr().out
    assert "1 files, 1.0 MiB" in text and " free" in text and "NOT WRITABLE" not in text
    monkeypatch.setenv("FACEJAX_CACHE_DIR", str(tmp_path / "cache" / "a" / "below"))
    assert command.main(["--no-self_test"]) == 1
    text = capsys.readouterr().out
    assert text.count("NOT WRITABLE") == 3 and "All is well." not in text
    assert "a is a file, wanted a folder. Set FACEJAX_CACHE_DIR" in text


def test_a_user_without_a_home(monkeypatch, capsys, nobody):
    assert command.main(["--no-self_test"]) == 1
    text = capsys.readouterr().out
    assert "NOT WRITABLE: this user has no home folder" in text and "All is well." not in text
    monkeypatch.setenv("FACEJAX_CACHE_DIR", nobody)  # all that such a user needs
    assert command.main(["--no-self_test"]) == 0


def test_the_command_runs_anywhere(tmp_path):
    line = [sys.executable, str(ROOT / "launch" / "doctor.py"), "--json", "--no-self_test"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["systems"]
