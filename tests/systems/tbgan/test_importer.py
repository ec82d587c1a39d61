"""Published pickles into run folders, through the command."""

import builtins
import json
import os
import pickle
import types

import jax
import numpy as np
import pytest

from facejax.commands.import_weights import main
from facejax.data.packed import write_packed
from facejax.data.uvmaps import UVCodec
from facejax.io.checkpoints import Checkpoints
from facejax.io.network_pickles import load_network_pickle
from facejax.systems.tbgan.generate import gallery_of, generate_faces
from facejax.systems.tbgan.importer import (
    config_from_static_kwargs,
    params_from_variables,
    variables_from_params,
)
from facejax.systems.tbgan.networks import generate, init_discriminator, init_generator
from facejax.train.runs import load_run
from tests.parity.golden import case_files

KWARGS = dict(
    num_channels=9, resolution=8, label_size=7, lod_sep=3, fmap_base=32, fmap_max=4,
    mbstd_group_size=2,
)  # fmt: skip


def write_pickle(path, monkeypatch, lod=0.0, change=None, module_name="tfutil"):
    """A pickle of the published layout; returns the parameters (gen, disc, average)."""

    class Network:
        def __init__(self, **state):
            self.__dict__ = state

        def __getstate__(self):
            return self.__dict__

    Network.__module__, Network.__qualname__ = module_name, "Network"
    module = types.ModuleType(module_name)
    module.Network = Network
    monkeypatch.setitem(__import__("sys").modules, module_name, module)
    cfg = config_from_static_kwargs(KWARGS)
    params = init_generator(cfg, 1), init_discriminator(cfg, 2), init_generator(cfg, 3)
    networks = []
    for name, tree in zip(("G", "D", "Gs"), params, strict=True):
        variables = [("lod", np.float32(lod)), *variables_from_params(tree).items()]
        networks.append(
            Network(
                version=2, name=name, static_kwargs=dict(KWARGS), variables=variables,
                build_module_src="raise SystemExit", build_func_name="G_paper",
            )
        )  # fmt: skip
    if change:
        change(networks)
    path.write_bytes(pickle.dumps(tuple(networks), protocol=4))
    return params


def run(path, out, *more):
    return main(["--system=tbgan", f"--input={path}", f"--out={out}", *more])


def test_a_published_pickle_becomes_a_run(tmp_path, monkeypatch, capsys):
    path = tmp_path / "network-snapshot-000140.pkl"
    gen, disc, average = write_pickle(path, monkeypatch)
    assert run(path, tmp_path / "run") == 0
    assert "SHA-256" in capsys.readouterr().out
    tree, meta = Checkpoints(tmp_path / "run/checkpoints").restore_latest()
    jax.tree.map(np.testing.assert_array_equal, tree["params"], {"gen": gen, "disc": disc})
    assert meta["images"] == 140_000 and len(meta["sha256"]) == 64 and "licence" in meta
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["model"]["resolution"] == 8 and config["model"]["mbstd_group"] == 2
    trained = load_run(tmp_path / "run")
    gallery = gallery_of(trained)
    assert gallery.maker is None
    z, y = gallery.latents(2, 0), np.eye(7, dtype=np.float32)[:2]
    wanted = generate(config_from_static_kwargs(KWARGS), 8, average, z, y)
    np.testing.assert_allclose(gallery.maps(trained.params["gen"], z, y), wanted, atol=1e-6)
    generate_faces(trained, tmp_path / "faces", num=1, interpolate=True, frames=2, size=16)
    found = sorted(p.name for p in (tmp_path / "faces").glob("face_0000*"))
    assert found == [f"face_0000_{n}" for n in ("maps.npz", "nor.png", "shp.png", "tex.png")]
    with pytest.raises(ValueError, match="no real maps"):
        trained.system.evaluate({"gen": trained.params["gen"]}, meta, tmp_path)


def test_snapshots_are_shown_at_the_stage_that_they_reached(tmp_path, monkeypatch, capsys):
    path = tmp_path / "network-final.pkl"
    write_pickle(path, monkeypatch, lod=0.25)
    assert run(path, tmp_path / "run") == 0
    assert "lod 0.25" in capsys.readouterr().out
    assert gallery_of(load_run(tmp_path / "run")).stage == (8, 0.25)


@pytest.mark.parametrize("module_name", ["network", "uv_gan_tfutil"])
def test_names_of_nets_that_came_from_theano(tmp_path, monkeypatch, module_name):
    """Unfused layers: Conv0 and Conv1, kernels as a plain convolution takes them, groups of 16."""

    def rename(networks):
        for network in networks:
            up = "Conv0_up" if network.name != "D" else "Conv1_down"
            variables = []
            for name, value in network.variables:
                if name.endswith("Conv0_up/weight"):  # [kh, kw, out, in], flipped
                    value = value[::-1, ::-1].transpose(0, 1, 3, 2)
                variables.append((name.replace(up, up.partition("_")[0]), value))
            network.variables = variables
            network.static_kwargs |= {"fused_scale": False, "mbstd_group_size": 16}

    path = tmp_path / "network-snapshot-000140.pkl"
    params = write_pickle(path, monkeypatch, change=rename, module_name=module_name)
    assert run(path, tmp_path / "run") == 0
    tree, _ = Checkpoints(tmp_path / "run/checkpoints").restore_latest()
    found = tree["params"]["gen"], tree["params"]["disc"], tree["ema"]["gen"]
    jax.tree.map(np.testing.assert_array_equal, found, params)
    assert json.loads((tmp_path / "run/config.json").read_text())["model"]["mbstd_group"] == 16


def test_data_of_the_weights(tmp_path, monkeypatch, capsys):
    path = tmp_path / "network-final.pkl"
    write_pickle(path, monkeypatch)
    maps = {"maps": np.zeros((2, 8, 8, 9), np.float32), "labels": np.zeros((2, 7), np.float32)}
    names = [f"label{k}" for k in range(7)]
    codec = UVCodec(encoding="absolute")
    write_packed(
        tmp_path / "set", [maps], codec=codec, label_names=names, num_examples=2, resolution=8
    )
    assert run(path, tmp_path / "run", f"--data={tmp_path / 'set'}") == 0
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["data"]["source"] == "packed"
    write_packed(
        tmp_path / "small", [{k: v[:, :4, :4] if k == "maps" else v for k, v in maps.items()}],
        codec=codec, label_names=names, num_examples=2, resolution=4,
    )  # fmt: skip
    capsys.readouterr()
    assert run(path, tmp_path / "other", f"--data={tmp_path / 'small'}") == 2
    assert "holds maps of 4 pixels" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


class Call:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    "function,argument,name",
    [(os.system, "touch {}", "system"), (builtins.eval, "open({!r}, 'w')", "builtins.eval")],
)
def test_hostile_pickles_are_refused_with_one_line(
    tmp_path, monkeypatch, capsys, function, argument, name, deep
):
    mark, path = tmp_path / "mark", tmp_path / "network-final.pkl"
    payload = Call(function, argument.format(str(mark)))

    def plant(networks):
        if deep:
            networks[2].static_kwargs["x"] = payload
        else:
            networks[0] = payload

    write_pickle(path, monkeypatch, change=plant)
    assert run(path, tmp_path / "run") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and name in lines[0]
    assert not mark.exists() and not (tmp_path / "run").exists()


def test_pickles_that_do_not_fit_are_refused(tmp_path, monkeypatch, capsys):
    path = tmp_path / "network-final.pkl"

    def cut(networks):
        networks[2].variables.pop()

    def widen(networks):
        networks[1].static_kwargs["label_size"] = 6

    def spoil(networks):
        networks[0].variables[1][1].flat[0] = np.nan

    for change, message in ((cut, "do not fit"), (widen, "label_size"), (spoil, "NaN")):
        write_pickle(path, monkeypatch, change=change)
        assert run(path, tmp_path / "run") == 2
        assert message in capsys.readouterr().err
    for arguments, message in (
        (["--system=tbgan", "--input=absent.pkl"], "no such file"),
        (["--system=nothing", f"--input={path}"], "wanted one of deep3d, disco, tbgan, varitex"),
    ):
        assert main([*arguments, f"--out={tmp_path / 'run'}"]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("path", case_files("tbgan", "network-*.pkl"))
def test_a_real_checkpoint(path, tmp_path):
    assert run(path, tmp_path / "run") == 0
    trained = load_run(tmp_path / "run")
    _, _, average = load_network_pickle(path)
    cfg = config_from_static_kwargs(average["static_kwargs"])
    gallery = gallery_of(trained)
    resolution, alpha = gallery.stage
    assert resolution == cfg.resolution >> int(average["variables"]["lod"])
    z, y = gallery.latents(2, 0), np.eye(7, dtype=np.float32)[:2]
    wanted = generate(cfg, resolution, params_from_variables(average["variables"]), z, y, alpha)
    np.testing.assert_allclose(gallery.maps(trained.params["gen"], z, y), wanted, atol=1e-5)
