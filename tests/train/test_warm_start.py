import jax
import numpy as np
import pytest

from facejax.io.checkpoints import Checkpoints
from facejax.train.loop import train
from facejax.train.run_folder import write_config
from facejax.train.state import init_state
from facejax.train.warm_start import parse_init_from, warm_start
from tests.train.toy import ToySystem, toy_config

SHORT = dict(total_kimg=0.048, sample_kimg=0.0)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A trained run and its newest checkpoint."""
    folder = tmp_path_factory.mktemp("other")
    config = toy_config(seed=11, **SHORT)
    train(ToySystem(config), config, folder)
    return folder, Checkpoints(folder / "checkpoints").restore_latest()[0]


def fresh(**overrides):
    return init_state(ToySystem(toy_config(**overrides)), 3)


def equal(a, b):
    leaves = jax.tree.leaves(a), jax.tree.leaves(b)
    return all(np.array_equal(x, y) for x, y in zip(*leaves, strict=True))


def test_named_groups_start_from_the_other_run(other):
    folder, kept = other
    before = fresh()
    state = warm_start(before, f"{folder}:gen")
    assert equal(state.params["gen"], kept["params"]["gen"])
    assert equal(state.params["disc"], before.params["disc"])
    assert equal(state.ema["gen"], kept["params"]["gen"])  # not its moving average, unless asked
    assert not equal(kept["ema"]["gen"], kept["params"]["gen"])
    assert equal(state.opt, before.opt) and equal(state.aux, before.aux)


def test_all_groups_with_averages_and_optimisers(other):
    folder, kept = other
    state = warm_start(fresh(), str(folder), "ema,optimizer")
    assert equal(state.params, kept["params"]) and equal(state.ema, kept["ema"])
    assert int(state.opt["gen"].count) == int(kept["opt"]["gen"]["count"]) > 0


def test_running_statistics_come_with_their_group(other, tmp_path):
    folder, kept = other
    write_config(tmp_path, toy_config())
    tree = kept | {"aux": {"gen_stats": np.ones(3, np.float32), "real_mean": np.ones(3)}}
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, tree, {"images": 8})
    before = fresh()
    before = before.replace(aux=before.aux | {"gen_stats": np.zeros(3, np.float32)})
    state = warm_start(before, f"{tmp_path}:gen")
    assert state.aux["gen_stats"].all() and not state.aux["real_mean"].any()
    assert not warm_start(before, f"{tmp_path}:disc").aux["gen_stats"].any()


def test_a_run_starts_warm_once_and_goes_on_from_its_own_checkpoints(other, tmp_path):
    folder, kept = other
    config = toy_config(init_from=f"{folder}:gen", **SHORT)
    result = train(ToySystem(config), config, tmp_path / "warm")
    cold = train(ToySystem(toy_config(**SHORT)), toy_config(**SHORT), tmp_path / "cold")
    assert not equal(*(jax.device_get(r.state.params) for r in (result, cold)))
    text = (tmp_path / "warm" / "log.txt").read_text()
    assert f"gen start from {folder}" in text
    # the source may go away: the run has checkpoints of its own
    config = toy_config(init_from=f"{folder}:gen", **SHORT | {"total_kimg": 0.064})
    (tmp_path / "warm" / "log.txt").unlink()
    longer = train(ToySystem(config), config, tmp_path / "warm")
    text = (tmp_path / "warm" / "log.txt").read_text()
    assert longer.images == 64 and "start from" not in text
    assert "total_kimg was 0.048, now 0.064: the plan follows the new value" in text


def test_what_does_not_fit_is_one_error(other, tmp_path):
    folder, _ = other
    with pytest.raises(ValueError, match="no group encoder; this run has disc, gen"):
        warm_start(fresh(), f"{folder}:encoder")
    with pytest.raises(ValueError, match=r"group gen is of another model: w0 is float32 \(2, 4\)"):
        warm_start(fresh(hidden=5), f"{folder}:gen")
    with pytest.raises(ValueError, match="holds no run"):
        warm_start(fresh(), f"{tmp_path}:gen")
    with pytest.raises(ValueError, match="wanted some of ema, optimizer"):
        warm_start(fresh(), str(folder), "averages")
    write_config(tmp_path, toy_config())
    with pytest.raises(ValueError, match="no checkpoint yet"):
        warm_start(fresh(), str(tmp_path))


def test_names_of_runs_and_groups(tmp_path):
    assert [*map(str, parse_init_from("runs/a")[:1])] == ["runs/a"]
    assert parse_init_from("runs/a:gen, disc")[1] == ("gen", "disc")
    odd = tmp_path / "run:1"
    odd.mkdir()
    assert parse_init_from(str(odd)) == (odd, ())
    assert parse_init_from(f"{odd}:gen") == (odd, ("gen",))
