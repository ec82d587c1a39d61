import numpy as np
import pytest

from facejax.morphable.makehuman.file import LICENCE_PATH, PATH, read_head


def _with(tmp_path, **changes):
    arrays = {k: v for k, v in (read_head() | changes).items() if v is not None}
    np.savez(tmp_path / "head.npz", **arrays)
    return tmp_path / "head.npz"


def test_it_is_small_and_its_licence_lies_beside_it():
    assert PATH.stat().st_size <= 3_000_000
    assert "CC0 1.0" in LICENCE_PATH.read_text(encoding="utf-8")
    assert PATH.with_name("PROVENANCE.md").is_file()


def test_a_missing_file_is_explained(tmp_path):
    with pytest.raises(ValueError, match="no such file.*install facejax again"):
        read_head(tmp_path / "head.npz")


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(format=np.array("facejax-morphable-1")), "wanted a head of format"),
        (dict(identity=None), "wanted a head of format"),
        (dict(mean=np.zeros((3, 3), np.float32)), "has shape"),
        (dict(attribute_mean=np.full(5, np.nan, np.float32)), "not finite"),
        (dict(quads=np.full((4646, 4), 60000, np.uint16)), "quads names other things"),
        (dict(exp_start=np.arange(53, dtype=np.int32)), "does not divide"),
    ],
)
def test_damaged_files_are_explained(changes, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        read_head(_with(tmp_path, **changes))
