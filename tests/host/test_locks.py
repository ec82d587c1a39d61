"""Locks of folders: real processes, killed ones, races, other machines."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from facejax.host import locks
from facejax.host.locks import LOCK, LockError, folder_lock, held_parts, new_folder

ROOT = pathlib.Path(__file__).resolve().parents[2]


def start(folder, *arguments):
    command = [sys.executable, "-m", "tests.host.lock_process", str(folder), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)


def first_line(process):
    return process.stdout.readline().strip()


def end(process):
    process.communicate("", timeout=30)
    return process.returncode


def kill(process):
    process.kill()  # SIGKILL
    process.communicate()


@pytest.fixture
def owner(tmp_path):
    """A process that holds the lock of tmp_path / 'run'."""
    process = start(tmp_path / "run")
    assert first_line(process) == "held"
    yield process
    kill(process)


def test_a_second_process_is_told_who_holds_the_folder_and_what_to_do(tmp_path, owner):
    second = start(tmp_path / "run")
    line = first_line(second)
    assert end(second) == 1
    assert f"{tmp_path / 'run'} is in use by process {owner.pid} on " in line
    assert "(training, since 2" in line and "Wait until it has ended" in line
    with pytest.raises(LockError, match=f"process {owner.pid} "):
        folder_lock(tmp_path / "run", "evaluating").__enter__()
    assert end(owner) == 0
    with folder_lock(tmp_path / "run", "evaluating"):
        pass


def test_a_lock_is_gone_after_the_block_and_after_an_error(tmp_path):
    with folder_lock(tmp_path, "training"):
        assert (tmp_path / LOCK / "owner.json").is_file()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError, match="no luck"), folder_lock(tmp_path, "training"):
        raise RuntimeError("no luck")
    assert list(tmp_path.iterdir()) == []


def test_folders_made_for_a_lock_go_again_when_nothing_came_into_them(tmp_path):
    with folder_lock(tmp_path / "a" / "b", "training"):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []
    with folder_lock(tmp_path / "a" / "b", "training"):
        (tmp_path / "a" / "b" / "x").write_text("kept")
    assert (tmp_path / "a" / "b" / "x").is_file()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, owner):
    kill(owner)
    with folder_lock(tmp_path / "run", "training") as lock:
        lock.check()
        second = start(tmp_path / "run")
        assert f"process {os.getpid()} on " in first_line(second)
        end(second)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_killed_process_that_nobody_waited_for_is_dead(tmp_path, owner):
    os.kill(owner.pid, signal.SIGKILL)  # a zombie until it is waited for
    deadline = time.monotonic() + 10
    while locks._started(owner.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    with folder_lock(tmp_path / "run", "training"):
        pass


def test_a_number_that_another_process_got_is_not_the_owner(tmp_path):
    with folder_lock(tmp_path, "training"):
        record = json.loads((tmp_path / LOCK / "owner.json").read_text())
        left = tmp_path / "left"
        (left / LOCK).mkdir(parents=True)
        record |= {"id": "0" * 32, "pid": os.getppid(), "started": "1"}
        (left / LOCK / "owner.json").write_text(json.dumps(record))
        with folder_lock(left, "training"):
            pass


@pytest.mark.parametrize("dead", [False, True])
def test_of_eight_that_try_at_once_one_gets_the_folder(tmp_path, dead):
    for trial in range(2):
        folder = tmp_path / f"run{trial}"
        if dead:
            process = start(folder)
            assert first_line(process) == "held"
            kill(process)
        racers = [start(folder) for _ in range(8)]
        lines = [first_line(racer) for racer in racers]
        assert lines.count("held") == 1, lines
        winner = racers[lines.index("held")]
        assert all(f"process {winner.pid} " in line for line in lines if line != "held")
        assert sorted(end(racer) for racer in racers) == [0] + [1] * 7
        assert not folder.exists() or list(folder.iterdir()) == []


def test_threads_that_race_for_the_lock_of_a_dead_owner_never_hold_it_together(tmp_path):
    inside, most, errors = [], [], []

    def work():
        for _ in range(40):
            try:
                with folder_lock(tmp_path, "racing") as lock:
                    inside.append(1)
                    most.append(len(inside))
                    # As if it was killed: the record stays, and is nobody's.
                    path = next((tmp_path / LOCK).rglob("owner.json"))
                    if len(most) % 3 == 0 and path.parent.name == LOCK:
                        record = json.loads(path.read_text())
                        record |= {"pid": 2**22 + 1, "id": "dead" + record["id"][4:]}
                        path.write_text(json.dumps(record))
                    else:
                        lock.check()
                    inside.pop()
            except LockError:
                time.sleep(0.001)
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and max(most) == 1 and len(most) > 8


def test_another_machine_counts_by_its_heartbeat(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_FRESH_SECONDS", 0.4)
    monkeypatch.setattr(locks, "_WATCH_SECONDS", 0.6)
    process = start(tmp_path / "run", "another machine")
    assert first_line(process) == "held"
    with pytest.raises(LockError, match="nothing was heard of it for 1 s"):
        folder_lock(tmp_path / "run", "training").__enter__()
    # A clock that is an hour behind, or ahead: what counts is that it goes on.
    record, now = tmp_path / "run" / LOCK / "owner.json", time.time()
    monkeypatch.setattr(os, "utime", os.utime)
    for skew in (-3600, 3600):
        times = iter(range(1000))
        monkeypatch.setattr(locks, "_touched", lambda where, s=skew, t=times: now + s + next(t))
        with pytest.raises(LockError, match="another"):
            monkeypatch.setattr(locks, "_words", lambda owner: "another")
            folder_lock(tmp_path / "run", "training").__enter__()
    monkeypatch.undo()
    monkeypatch.setattr(locks, "_FRESH_SECONDS", 0.4)
    monkeypatch.setattr(locks, "_WATCH_SECONDS", 0.6)
    kill(process)
    time.sleep(0.5)
    with folder_lock(tmp_path / "run", "training"):
        assert record.is_file()


@pytest.mark.skipif(not shutil.which("ps"), reason="no ps")
def test_systems_without_proc_ask_ps(tmp_path, owner, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    found = locks._started(owner.pid)
    assert found and found == locks._started(owner.pid) != locks._started(1)
    os.kill(owner.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while locks._started(owner.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.05)  # a zombie until it is waited for, and dead
    assert locks._started(owner.pid) is None


def test_where_processes_cannot_be_looked_at_the_heartbeat_tells(tmp_path, owner, monkeypatch):
    monkeypatch.setattr(locks, "_process_lives", lambda pid, started: None)  # Windows
    with pytest.raises(LockError, match=f"process {owner.pid} "):
        folder_lock(tmp_path / "run", "training").__enter__()
    kill(owner)
    monkeypatch.setattr(locks, "_FRESH_SECONDS", 0.0)
    monkeypatch.setattr(locks, "_WATCH_SECONDS", 0.1)
    with folder_lock(tmp_path / "run", "training"):
        pass


def test_processes_of_other_users_are_not_dead_because_they_are_hidden(monkeypatch):
    def denied(pid, number):
        raise PermissionError

    monkeypatch.setattr(os, "kill", denied)
    assert locks._process_lives(2**22 + 1, "12345") is None  # no /proc entry: hidepid


def test_who_was_taken_for_dead_notices_and_leaves_the_lock_alone(tmp_path, monkeypatch):
    with folder_lock(tmp_path, "training") as lock:
        monkeypatch.setattr(locks, "_lives", lambda where, owner: False)
        other = start(tmp_path)  # refused: this process lives
        assert "in use" in first_line(other)
        end(other)
        thread = threading.Thread(target=lambda: _take_for_a_while(tmp_path))
        thread.start()
        while not list((tmp_path / LOCK).glob("after-*")):
            time.sleep(0.01)
        with pytest.raises(LockError, match="does not hold the folder any more"):
            lock.check()
        taken = True
    assert taken and (tmp_path / LOCK).is_dir()
    thread.join()
    assert list(tmp_path.iterdir()) == []


def _take_for_a_while(folder):
    with folder_lock(folder, "training"):
        time.sleep(0.3)


@pytest.mark.parametrize("content", ["", "{", "null", '{"id": 1}', None])
def test_a_record_that_a_crash_cut_lapses_by_its_heartbeat(tmp_path, content, monkeypatch):
    monkeypatch.setattr(locks, "_WATCH_SECONDS", 0.1)
    (tmp_path / LOCK).mkdir()
    if content is not None:
        (tmp_path / LOCK / "owner.json").write_text(content)
    with pytest.raises(LockError, match="unknown"):
        folder_lock(tmp_path, "training").__enter__()
    monkeypatch.setattr(locks, "_FRESH_SECONDS", 0.0)
    with folder_lock(tmp_path, "training") as lock:
        lock.check()
    assert list(tmp_path.iterdir()) == []


def test_the_same_thread_may_take_it_again_another_one_may_not(tmp_path):
    found = []

    def other():
        try:
            folder_lock(tmp_path, "more").__enter__()
        except LockError as error:
            found.append(str(error))

    with folder_lock(tmp_path, "training"):
        with folder_lock(tmp_path, "training"):
            pass
        assert (tmp_path / LOCK).is_dir()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "in use by this process (training" in found[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are of POSIX")
def test_a_forked_child_neither_has_the_lock_nor_removes_it(tmp_path):
    code = f"""
import os, sys
from facejax.host.locks import LockError, folder_lock
try:
    with folder_lock({str(tmp_path)!r}, "training"):
        pid = os.fork()
        if not pid:
            try:
                folder_lock({str(tmp_path)!r}, "training").__enter__()
            except LockError:
                print("refused", flush=True)
            raise RuntimeError  # leaves the block in the child
        os.waitpid(pid, 0)
        print(os.listdir({str(tmp_path)!r}), flush=True)
except RuntimeError:
    os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["refused", f"['{LOCK}']"], done.stderr
    assert list(tmp_path.iterdir()) == []


def test_parts_have_locks_of_their_own_and_are_listed(tmp_path):
    with folder_lock(tmp_path, "training"), folder_lock(tmp_path, "measuring", "evaluation"):
        assert {k: o.purpose for k, o in held_parts(tmp_path).items()} == {
            "": "training", "evaluation": "measuring"
        }  # fmt: skip
    assert held_parts(tmp_path) == {} and held_parts(tmp_path / "none") == {}


def test_links_to_a_folder_are_the_folder(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    with folder_lock(tmp_path / "run", "training"):
        process = start(tmp_path / "link")
        assert "in use" in first_line(process)
        end(process)


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path):
    with new_folder(tmp_path / "a" / "set", "writing") as partial:
        (partial / "x").write_text("1")
        assert not (tmp_path / "a" / "set").exists()
        with pytest.raises(LockError, match=f"{tmp_path / 'a' / 'set'} is in use"):
            threads = []
            thread = threading.Thread(target=lambda: threads.append(_error_of(tmp_path)))
            thread.start()
            thread.join()
            raise threads[0]
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["set"]
    assert (tmp_path / "a" / "set" / "x").read_text() == "1"
    with pytest.raises(RuntimeError), new_folder(tmp_path / "b", "writing") as partial:
        (partial / "x").write_text("1")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def _error_of(tmp_path):
    try:
        new_folder(tmp_path / "a" / "set", "writing").__enter__()
    except LockError as error:
        return error


def test_a_new_folder_takes_no_name_that_is_used_and_clears_what_a_killed_one_left(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("1")
    with pytest.raises(ValueError, match=r"not empty \(x\)"):
        new_folder(tmp_path / "full", "writing").__enter__()
    (tmp_path / "file").write_text("1")
    with pytest.raises(ValueError, match="is a file"):
        new_folder(tmp_path / "file", "writing").__enter__()
    (tmp_path / "set").mkdir()  # empty: as good as none
    (tmp_path / ".set.partial").mkdir()
    (tmp_path / ".set.partial" / "half").write_text("1")
    with new_folder(tmp_path / "set", "writing") as partial:
        assert list(partial.iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "full", "set"]
