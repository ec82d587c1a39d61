import re

import pytest

from facejax.commands import make_dataset
from facejax.morphable import save_npz

CASES = {
    "background folder": (["--background={dir}/none"], "none': no such folder"),
    "empty background folder": (["--background={dir}/empty"], "no image in this folder"),
    "unreadable background": (["--background={dir}/bad"], "photo.jpg: not a readable image"),
    "size": (["--resolution=5"], "size is 5, wanted 16 to 4096"),
    "distance": (["--distance_mm=9,8"], "distance_mm is"),
    "shard": (["--num_shards=4", "--shard=4"], "0 to 3"),
    "coco": (["--coco", "--container=packed"], "coco needs container 'folder'"),
    "manifold": (["--sampling=manifold"], "give --workdir"),
    "no run": (["--sampling=manifold", "--workdir={dir}/none"], "none"),
    "model": (["--model={dir}/none.npz"], "no face model called"),
    "not a set": (["--out={dir}/bad"], "is no set of faces"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_message_and_exit_code_2(case, model, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "photo.jpg").write_bytes(b"no photo")
    save_npz(tmp_path / "model.npz", model)
    arguments, message = CASES[case]
    arguments = [a.format(dir=tmp_path) for a in arguments]
    defaults = {"--model": tmp_path / "model.npz", "--out": tmp_path / "out", "--num": 2}
    given = {a.split("=")[0] for a in arguments}
    arguments += [f"{k}={v}" for k, v in defaults.items() if k not in given]
    assert make_dataset.main(arguments) == 2
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert len(lines) == 1 and re.search(message, lines[0]), lines
    assert not (tmp_path / "out" / "labels").exists()


def test_numbers_are_checked_by_their_flags(capsys):
    with pytest.raises(SystemExit) as caught:
        make_dataset.main(["--num=0"])
    assert caught.value.code == 2
    assert "found '0', wanted a whole number from 1" in capsys.readouterr().err


def test_flags_of_the_original():
    args = make_dataset.parser().parse_args(
        "-mode exp -size 7 -shape_range 4 -exp_range 3 -out x".split()
    )
    assert (args.mode, args.num, args.shape_range, args.exp_range) == ("exp", 7, 4.0, 3.0)
    for wrong in (["--container=zip"], ["--sampling=gauss"], ["--distance_mm=a,b"]):
        with pytest.raises(SystemExit) as error:
            make_dataset.parser().parse_args(["--out=x", *wrong])
        assert error.value.code == 2
