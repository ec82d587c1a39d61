import errno
import os
import pathlib
import shutil

import jax
import pytest

from facejax.host import cache, machine


@pytest.fixture(autouse=True)
def _fresh_warnings():
    cache._say.cache_clear()
    yield
    cache._say.cache_clear()


def test_a_user_without_a_home(nobody, monkeypatch):
    for question in (machine.home_folder, machine.cache_folder, machine.compile_cache_folder):
        with pytest.raises(machine.MachineError, match="no home folder.*Set FACEJAX_CACHE_DIR"):
            question()
    with pytest.raises(machine.MachineError, match="no home folder"):
        machine.expand_user("~/tensorflow_datasets")
    assert machine.expand_user("a/~/b") == pathlib.Path("a/~/b")
    monkeypatch.setenv("FACEJAX_CACHE_DIR", nobody)
    assert machine.cache_folder("x") == pathlib.Path(nobody, "x")
    monkeypatch.setenv("HOME", "/somewhere")
    assert machine.expand_user("~/a/b") == pathlib.Path("/somewhere/a/b")


def test_writing_is_tried_and_leaves_nothing(tmp_path):
    machine.check_writable(tmp_path / "new" / "folder")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(machine.MachineError, match=f"{folder}: .*file is a file, wanted a"):
            machine.check_writable(folder)


@pytest.mark.skipif(os.name == "nt", reason="permission bits are those of Unix")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o555)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("root may write everywhere")
        with pytest.raises(machine.MachineError, match=r"cannot write there \(Permission denied"):
            machine.check_writable(tmp_path / "new")
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
def test_what_the_system_says_is_told(tmp_path, monkeypatch, number):
    def refuse(**kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refuse)
    full = ": make room, or choose another folder" if number == errno.ENOSPC else ""
    with pytest.raises(machine.MachineError) as caught:
        machine.check_writable(tmp_path)
    assert str(caught.value) == f"{tmp_path}: cannot write there ({os.strerror(number)}){full}"


def test_room_on_the_disk(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage._replace(free=3 << 20))
    assert machine.free_bytes(tmp_path / "new" / "file") == 3 << 20
    machine.check_space(tmp_path, 3 << 20)
    with pytest.raises(machine.MachineError, match="3.5 MiB are needed and 3 MiB are free"):
        machine.check_space(tmp_path / "new", 7 << 19)


def test_a_current_folder_that_was_removed(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    try:
        (tmp_path / "gone").rmdir()
    except OSError:
        pytest.skip("this system keeps the folder")
    for ask in (machine.working_folder, lambda: machine.check_writable("out")):
        with pytest.raises(machine.MachineError, match="does not exist any more"):
            ask()


@pytest.mark.parametrize(
    "platforms, error, words",
    [
        ("cuda", AssertionError(), ["JAX_PLATFORMS=cuda", "facejax[gpu]", "set it to cpu"]),
        ("tpu", RuntimeError("no libtpu\n(set JAX_PLATFORMS='' to"), ["(no libtpu)", "[tpu]"]),
        ("gpu", RuntimeError("rocm"), ["are called cuda"]),
        ("CUDA, cpu", RuntimeError("x"), ["without blanks: cuda,cpu"]),
        ("gqu", RuntimeError("not in the list: ['cpu']"), ["JAX_PLATFORMS=gqu", "['cpu']"]),
        ("", RuntimeError("CUDA plugin"), ["no device starts (CUDA plugin)", "JAX_PLATFORMS=cpu"]),
    ],
)
def test_a_platform_that_is_missing_is_one_line(monkeypatch, platforms, error, words):
    def fail():
        raise error

    monkeypatch.setattr(jax, "devices", fail)
    old = jax.config.jax_platforms
    jax.config.update("jax_platforms", platforms)
    try:
        with pytest.raises(machine.MachineError) as caught:
            machine.devices()
    finally:
        jax.config.update("jax_platforms", old)
    text = str(caught.value)
    assert all(word in text for word in words) and "\n" not in text


def test_trouble_of_the_machine_is_not_that_of_one_file(tmp_path):
    photo, out = tmp_path / "photo.png", tmp_path / "out"

    def stops(number, filename=None):
        return machine.stops_all(OSError(number, "text", filename), photo, out)

    assert stops(errno.ENOSPC) and stops(errno.EMFILE, str(photo))
    assert stops(errno.EACCES, str(out / "x.png"))
    assert not stops(errno.EACCES, str(photo)) and not stops(errno.ENOENT, str(photo))
    assert not machine.stops_all(OSError("image file is truncated"), photo, out)
    assert not machine.stops_all(ValueError("no photo"), photo, out)


# --- The cache ------------------------------------------------------------------------------------


def cached(counts):
    def make():
        counts.append(1)
        return len(counts)

    return cache.cached(
        "number.txt",
        "the number",
        make,
        lambda path: int(path.read_text(encoding="utf-8")),
        lambda path, value: path.write_text(str(value), encoding="utf-8"),
    )


def test_a_cached_thing_is_made_once_and_again_where_it_is_damaged(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("FACEJAX_CACHE_DIR", str(tmp_path))
    counts = []
    assert [cached(counts), cached(counts)] == [1, 1]
    (tmp_path / "number.txt").write_text("one")
    assert [cached(counts), cached(counts)] == [2, 2]
    assert len(caplog.messages) == 1 and "the number: made again" in caplog.text


def test_without_a_cache_there_is_one_warning(tmp_path, monkeypatch, caplog, nobody):
    counts = []
    assert [cached(counts), cached(counts)] == [1, 2]
    assert len(caplog.messages) == 1 and "no home folder" in caplog.text
    caplog.clear()
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("FACEJAX_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert [cached(counts), cached(counts)] == [3, 4]
    assert len(caplog.messages) == 1 and "Set FACEJAX_CACHE_DIR" in caplog.text


def test_a_shared_cache_that_can_only_be_read_is_read(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("FACEJAX_CACHE_DIR", str(tmp_path))
    counts = []
    cached(counts)

    def refuse(folder):
        raise machine.MachineError(f"{folder}: cannot write there")

    monkeypatch.setattr(machine, "check_writable", refuse)
    assert cached(counts) == 1 and not caplog.messages


def test_buckets_are_not_folders(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "gs://bucket/x")
    assert cache.is_usable(machine.compile_cache_folder)
    assert machine._describe_folder(machine.compile_cache_folder)["writable"]
