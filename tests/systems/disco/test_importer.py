"""Published files: what is taken from them, and what is refused."""

import jax
import numpy as np
import pytest

from facejax import readers
from facejax.io.network_pickles import load_network_pickle
from facejax.systems.disco import importer, networks, vae
from facejax.systems.disco.factors import Factors, FactorSizes
from facejax.systems.disco.generate import Generator, draw_subjects
from facejax.train.config import load_config
from facejax.train.runs import load_run
from tests.parity.golden import case_files

PICKLES = case_files("disco", "tiny_network*.pkl")
SIZES = FactorSizes(shape=4, exp=3, albedo=2, z_id=5, z_exp=2, z_gamma=4)
VAES = vae.vae_configs(SIZES, Factors(8, 6, 4, 5))
TINY = networks.NetworkConfig(
    resolution=8, latent_size=6, dlatent_size=4, mapping_layers=1, fmap_base=16, fmap_max=4
)


def published(factor):
    """Variables of an autoencoder of random numbers, by their published names."""
    tree = vae.init_vae(getattr(VAES, factor), 3)
    names = {"mean": "dense", "log_sd": "dense_1"}
    found = {f"{factor}/stage1/decoder/loggamma_x": np.float32(-0.5)}
    for net in ("encoder", "decoder"):
        for layer, leaves in tree[net].items():
            for leaf, value in leaves.items():
                found[f"{factor}/stage1/{net}/{names.get(layer, layer)}/{leaf}"] = value
    return tree, found


def test_autoencoders_of_a_file(tmp_path):
    tree, variables = published("exp")
    _, other = published("rot")
    step = {"exp/global_step": np.int64(7), "exp/exp/stage1/encoder/fc0/kernel/Adam": np.zeros(2)}
    np.savez(tmp_path / "exp.npz", **variables, **step)
    np.savez(tmp_path / "rot.npz", **{k: v for k, v in other.items() if "encoder" not in k})
    found = importer.load_vaes(f"{tmp_path}/exp.npz, {tmp_path}/rot.npz", VAES)
    assert set(found) == {"exp", "rot"} and "encoder" not in found["rot"]
    assert found["exp"]["log_gamma"] == np.float32(-0.5)
    jax.tree.map(np.testing.assert_array_equal, found["exp"]["encoder"], tree["encoder"])
    bigger = vae.vae_configs(SIZES, Factors(8, 7, 4, 5))
    with pytest.raises(ValueError, match="of another face model, or config.vae has other sizes"):
        importer.load_vaes(f"{tmp_path}/exp.npz", bigger)
    np.savez(tmp_path / "odd.npz", weights=np.zeros(3))
    with pytest.raises(ValueError, match="wanted variables of an autoencoder"):
        importer.load_vaes(f"{tmp_path}/odd.npz", VAES)


def test_fused_kernels_are_turned_and_others_are_not():
    gen = networks.init_generator(TINY, 0)
    for fused in (True, False, "auto"):
        named = importer.variables_from_params(gen, networks.init_noise(TINY, 0), fused)
        kernel = named["G_synthesis/8x8/Conv0_up/weight"]
        ours = gen["synthesis"]["8x8"]["Conv0_up"]["weight"]
        np.testing.assert_array_equal(kernel, ours[::-1, ::-1] if fused is True else ours)
        back, noise = importer.params_from_variables(named, fused)
        jax.tree.map(np.testing.assert_array_equal, back, gen)
        assert [x.shape for x in noise] == [(1, n, n, 1) for n in networks.noise_sizes(3)]


def test_networks_that_make_no_pictures_are_refused():
    gen, noise = networks.init_generator(TINY, 0), networks.init_noise(TINY, 0)
    assert 0.02 < importer.check_pictures(TINY, gen, noise, "file") < 5
    for factor in (np.nan, 1e-4, 1e3):
        odd = jax.tree.map(lambda x: x, gen)
        for name in ("ToRGB_lod0", "ToRGB_lod1"):
            odd["synthesis"][name] = {k: factor * v for k, v in gen["synthesis"][name].items()}
        with pytest.raises(ValueError, match="the file is damaged or of another network"):
            importer.check_pictures(TINY, odd, noise, "file")


def test_options_of_another_network_are_named():
    known = {"resolution": 16, "fmap_max": 6}
    with pytest.raises(ValueError, match="options .'lod_sep'. that facejax does not know"):
        importer.config_from_static_kwargs(known | {"lod_sep": 3}, known)
    with pytest.raises(ValueError, match="use_styles=False, wanted True"):
        importer.config_from_static_kwargs(known | {"use_styles": False}, known)
    with pytest.raises(ValueError, match="the generator has fmap_max 6, the discriminator 8"):
        importer.config_from_static_kwargs(known, known | {"fmap_max": 8})


@pytest.mark.parametrize("path", PICKLES)
def test_a_run_of_a_published_pickle_makes_pictures(path, tmp_path):
    assert readers.recognise(path)[0].reader == "disco"
    out = tmp_path / "run"
    meta = importer.import_run(path, out, load_config("disco:paper"))
    assert meta["autoencoders"] == [] and len(meta["sha256"]) == 64
    lines = importer.closing_lines(meta, out)
    assert any("no autoencoder of id, exp, rot, gamma" in line for line in lines)
    run = load_run(out, "disco")
    options = load_network_pickle(path)[2]["static_kwargs"]
    assert run.system.net.resolution == options["resolution"]
    maker = Generator(run.system, run.params)
    latents, noise = draw_subjects(run.system.sizes, "all", 1, 2, 0)
    images = maker.pictures(maker.decode(latents), noise)
    assert images.shape == (1, 2, options["resolution"], options["resolution"], 3)
    assert np.isfinite(images).all()
