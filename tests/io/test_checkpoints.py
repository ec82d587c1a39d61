import errno
import importlib
import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from facejax.io import checkpoints as module
from facejax.io.checkpoints import (
    CheckpointError,
    Checkpoints,
    DamagedCheckpointError,
    ForeignCheckpointError,
    UnreadableCheckpointError,
)

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _tree(seed=0):
    rng = np.random.default_rng(seed)
    params = {"gen": {"dense": {"kernel": rng.normal(size=(64, 32)).astype(np.float32)}}}
    opt = {"gen": optax.scale_by_adam().init(params["gen"])}
    return {"step": np.int32(seed), "params": params, "opt": opt, "ema": {"gen": params["gen"]}}


def _data_files(folder, item):
    return [p for p in sorted((folder / item).rglob("*")) if p.is_file() and p.parent.name == "d"]


@pytest.fixture
def saved(tmp_path):
    """Steps 1, 2 and 3 of different trees."""
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, _tree(step), {"images": 10 * step, "config": {"lr": 1e-3}})
    return Checkpoints(tmp_path / "checkpoints")


def _assert_equal(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_round_trip_keeps_structure_dtypes_and_meta(saved):
    tree, meta = saved.restore_latest(like=_tree())
    _assert_equal(tree, _tree(3))
    assert meta["images"] == 30 and meta["step"] == 3 and meta["config"] == {"lr": 1e-3}


def test_relative_folder_and_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoints = Checkpoints("run/checkpoints")
    assert checkpoints.steps() == [] and checkpoints.restore_latest() is None
    assert not (tmp_path / "run").exists()
    with checkpoints:
        checkpoints.save(0, _tree(), {})
    assert checkpoints.steps() == [0]


def test_keeps_the_newest(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, _tree(step), {})
        checkpoints.wait()
        assert checkpoints.steps() == [2, 3]


def test_only_some_entries(saved):
    tree, _ = saved.restore_latest(only=("ema",))
    assert set(tree) == {"ema"}
    np.testing.assert_array_equal(
        tree["ema"]["gen"]["dense"]["kernel"], _tree(3)["ema"]["gen"]["dense"]["kernel"]
    )
    # The other entries are not even opened.
    shutil.rmtree(saved.folder / "3" / "opt")
    assert saved.restore_latest(only=("ema",))[1]["step"] == 3
    assert saved.restore_latest()[1]["step"] == 2


def _flip(step):
    file = max(_data_files(step, "params"), key=lambda p: p.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _truncate(step):
    for file in _data_files(step, "opt"):
        file.write_bytes(file.read_bytes()[:-7])


def _edit_meta(step):
    file = next(p for p in (step / "meta").iterdir() if b"images" in p.read_bytes())
    file.write_bytes(file.read_bytes().replace(b"30", b"31"))


def _remove_meta(step):
    shutil.rmtree(step / "meta")


def _empty(step):
    shutil.rmtree(step)
    step.mkdir()


@pytest.mark.parametrize("damage", [_flip, _truncate, _edit_meta, _remove_meta, _empty])
def test_damage_is_named_and_the_step_before_is_used(saved, damage, caplog):
    damage(saved.folder / "3")
    with caplog.at_level(logging.WARNING):
        tree, meta = saved.restore_latest(like=_tree())
    assert meta["step"] == 2
    _assert_equal(tree, _tree(2))
    assert any("checkpoints/3 is damaged" in record.getMessage() for record in caplog.records)
    with pytest.raises(DamagedCheckpointError, match="3 is damaged"):
        saved.restore(3)


def test_a_damaged_step_does_not_block_the_run_that_goes_on(saved):
    _flip(saved.folder / "3")
    with saved:
        saved.save(3, _tree(7), {"images": 30})
    assert saved.steps() == [1, 2, 3]
    assert (saved.folder / "3.damaged").is_dir()
    _assert_equal(Checkpoints(saved.folder).restore_latest(like=_tree())[0], _tree(7))


def test_all_damaged_is_an_error_not_a_fresh_start(saved):
    for step in (1, 2, 3):
        _remove_meta(saved.folder / str(step))
    with pytest.raises(DamagedCheckpointError, match="all checkpoints .* damaged"):
        saved.restore_latest()


def test_another_model_is_an_error_that_names_the_difference(saved):
    like = _tree()
    like["params"]["gen"]["dense"]["kernel"] = np.zeros((64, 16), np.float32)
    like["params"]["gen"]["bias"] = np.zeros(3, np.float32)
    with pytest.raises(
        ForeignCheckpointError, match=r"gen/bias is missing.*\(64, 32\), wanted .*16\)"
    ):
        saved.restore_latest(like=like)


def test_left_over_temporary_folders_are_ignored_and_cleaned(saved):
    temporary = saved.folder / "4.orbax-checkpoint-tmp"
    temporary.mkdir()
    assert saved.steps() == [1, 2, 3]
    with saved:
        saved.save(4, _tree(4), {})
    assert not temporary.exists() and saved.steps() == [2, 3, 4]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with the steps 1 and 2 of a tiny tree, to copy."""
    folder = tmp_path_factory.mktemp("small") / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, {"params": {"x": np.full(100, step, np.float32)}}, {})
    return folder


def _copied(small, tmp_path):
    shutil.copytree(small, tmp_path / "checkpoints")
    return Checkpoints(tmp_path / "checkpoints")


def _cut_file(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty_file(path):
    path.write_bytes(b"")


def _zero_file(path):
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [_cut_file, _empty_file, _zero_file, pathlib.Path.unlink])
def test_damage_to_any_file_is_damage_or_does_no_harm(small, tmp_path, damage):
    files = sorted(p.relative_to(small) for p in (small / "2").rglob("*") if p.is_file())
    seen = set()
    for k, file in enumerate(files):
        copy = _copied(small, tmp_path / str(k))
        damage(copy.folder / file)
        tree, meta = copy.restore_latest()
        seen.add(meta["step"])
        np.testing.assert_array_equal(tree["params"]["x"], np.full(100, meta["step"]))
    assert seen == {1, 2}  # marks of orbax that nobody reads, and all else


@pytest.fixture
def open_folder():
    """A folder that every user may look into; pytest's own are closed."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="facejax-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def _as_nobody(function):
    """Runs a function as a user who owns nothing."""
    if os.geteuid():
        return function()
    os.seteuid(65534)
    try:
        return function()
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.name != "posix", reason="permissions are of POSIX")
@pytest.mark.parametrize("place", ["2/params", "2/params/d", "2/meta", "2/meta/metadata", "2", "."])
def test_what_this_user_may_not_read_is_not_called_damaged(small, open_folder, place):
    copy = _copied(small, open_folder)
    copy.restore_latest()  # imports all that is needed,
    importlib.import_module("grp")  # but what epath looks owners up with
    path = copy.folder / place
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        with pytest.raises(UnreadableCheckpointError) as error:
            _as_nobody(copy.restore_latest)
        with pytest.raises(UnreadableCheckpointError):
            _as_nobody(lambda: copy.save(2, {"params": {"x": np.zeros(3, np.float32)}}, {}))
    finally:
        path.chmod(mode)
        copy.close()
    text = str(error.value)
    assert "Permission denied" in text and "let this user read" in text and "damaged" not in text
    assert str(path) in text and "\n" not in text
    assert sorted(p.name for p in copy.folder.iterdir()) == ["1", "2"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE])
@pytest.mark.parametrize("layer", ["orbax", "meta", "later"])
def test_a_disk_that_fails_is_not_called_damage(small, tmp_path, monkeypatch, number, layer):
    from orbax import checkpoint as ocp

    copy = _copied(small, tmp_path)

    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number), "the file")

    def wrapped(*args, **kwargs):
        try:
            fail()
        except OSError as error:
            raise ValueError("cannot restore") from error

    def unknown(*args, **kwargs):
        raise ValueError("cannot restore")  # and only reading the files tells why

    if layer == "meta":
        monkeypatch.setattr(pathlib.Path, "read_bytes", fail)
    elif layer == "orbax":
        monkeypatch.setattr(ocp.StandardCheckpointer, "restore", wrapped)
    else:
        monkeypatch.setattr(ocp.StandardCheckpointer, "restore", unknown)
        monkeypatch.setattr(module, "open", fail, raising=False)
    with pytest.raises(UnreadableCheckpointError, match=os.strerror(number)):
        copy.restore_latest()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no more"),
        ImportError("no module named zstd"),
        ValueError("RESOURCE_EXHAUSTED: too many open files"),
        RuntimeError("UNAVAILABLE: no answer"),
        RuntimeError("can't start new thread"),
    ],
)
def test_what_fails_outside_the_files_is_not_called_damage(small, tmp_path, monkeypatch, error):
    from orbax import checkpoint as ocp

    def fail(*args, **kwargs):
        raise error

    copy = _copied(small, tmp_path)
    monkeypatch.setattr(ocp.StandardCheckpointer, "restore", fail)
    with pytest.raises((CheckpointError, MemoryError, ImportError)) as found:
        copy.restore_latest()
    assert not isinstance(found.value, DamagedCheckpointError) and str(error) in str(found.value)


def test_without_a_device_nothing_is_read_and_nothing_is_damaged(small):
    code = f"""
from facejax.host.machine import MachineError
from facejax.io.checkpoints import Checkpoints
try:
    Checkpoints({str(small)!r}).restore_latest()
except MachineError as error:
    print(error)
"""
    environment = os.environ | {"JAX_PLATFORMS": "tpu_of_nobody"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert "JAX_PLATFORMS=tpu_of_nobody" in done.stdout and "damaged" not in done.stdout
    assert done.stderr == ""


def _edited_meta(folder, **changes):
    path = folder / "meta" / "metadata"
    meta = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(meta | {"meta_digest": module._meta_digest(meta)}))


def test_a_newer_version_is_named_and_no_older_step_is_used_instead(small, tmp_path):
    copy = _copied(small, tmp_path)
    _edited_meta(copy.folder / "2", format=2, new_way_of_writing_digests=True)
    with pytest.raises(ForeignCheckpointError, match="written by a newer version of facejax"):
        copy.restore_latest()
    with pytest.raises(ForeignCheckpointError):
        copy.save(2, {"params": {"x": np.zeros(3, np.float32)}}, {})
    copy.close()
    assert copy.steps() == [1, 2]


def _flax_msgpack(folder):
    folder.mkdir()
    (folder / "checkpoint").write_bytes(b"msgpack")


def _other_orbax(folder):
    from orbax import checkpoint as ocp

    with ocp.CheckpointManager(folder.parent) as manager:
        manager.save(int(folder.name), args=ocp.args.StandardSave({"x": np.zeros(3)}))


def _bare_orbax(folder):
    from orbax import checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder, {"x": np.zeros(3)})


def _file(folder):
    folder.write_text("3")


@pytest.mark.parametrize("write", [_flax_msgpack, _other_orbax, _bare_orbax, _file])
def test_a_step_of_another_program_is_not_called_damaged(small, tmp_path, write):
    copy = _copied(small, tmp_path)
    write(copy.folder / "3")
    with pytest.raises(ForeignCheckpointError, match="3 is not one of facejax's"):
        copy.restore_latest()


def test_a_good_step_is_never_renamed(saved):
    with saved, pytest.raises(CheckpointError, match="step 2 that is in order"):
        saved.save(2, _tree(7), {})
    assert sorted(p.name for p in saved.folder.iterdir()) == ["1", "2", "3"]
    _assert_equal(Checkpoints(saved.folder).restore_latest(like=_tree())[0], _tree(3))


def test_a_step_that_a_run_removes_while_it_is_read_is_passed_over(saved, monkeypatch):
    real = Checkpoints.restore

    def restore(self, step, **options):
        if step == 3:
            shutil.rmtree(self.folder / "3")
            with Checkpoints(self.folder) as writer:
                writer.save(5, _tree(5), {})
        return real(self, step, **options)

    monkeypatch.setattr(Checkpoints, "restore", restore)
    assert saved.restore_latest()[1]["step"] == 5


def test_device_arrays_on_another_number_of_devices(tmp_path):
    def mesh(count):
        devices = jax.devices()[:count]
        return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=devices)

    tree = jax.device_put(_tree(5), NamedSharding(mesh(1), PartitionSpec()))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, tree, {})
        tree = jax.jit(lambda t: jax.tree.map(jnp.zeros_like, t), donate_argnums=0)(tree)
    restored, _ = Checkpoints(tmp_path).restore_latest(like=_tree())
    on_four = jax.device_put(restored, NamedSharding(mesh(4), PartitionSpec()))
    _assert_equal(jax.device_get(on_four), _tree(5))


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot write a checkpoint"):
        Checkpoints(tmp_path / "checkpoints").save(1, _tree(), {})


def test_full_disk_leaves_earlier_steps_intact(saved, monkeypatch):
    from orbax import checkpoint as ocp

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ocp.CheckpointManager, "save", full)
    with pytest.raises(CheckpointError, match="No space left on device.*steps \\[1, 2, 3\\]") as e:
        saved.save(4, _tree(4), {})
    assert "\n" not in str(e.value)
    _assert_equal(Checkpoints(saved.folder).restore_latest(like=_tree())[0], _tree(3))


def test_a_write_that_fails_in_the_background_is_reported_and_earlier_steps_stay(saved):
    import resource

    # Files may not grow beyond the limit: a real failure below orbax, without a full disk.
    big = {"params": np.random.default_rng(0).normal(size=(512, 1024)).astype(np.float32)}
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, old[1]))
    try:
        with pytest.raises(CheckpointError, match="cannot write a checkpoint") as error:
            saved.save(4, big, {})
            saved.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "\n" not in str(error.value) and "steps [1, 2, 3]" in str(error.value)
    _assert_equal(Checkpoints(saved.folder).restore_latest(like=_tree())[0], _tree(3))
    saved.close()
    assert sorted(p.name for p in saved.folder.iterdir()) == ["1", "2", "3"]
    with Checkpoints(saved.folder) as again:
        again.save(4, _tree(4), {})
    assert 4 in again.steps()
