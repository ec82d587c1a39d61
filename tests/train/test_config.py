import json

import pytest

from facejax.train.config import choose_preset, load_config, train_config
from facejax.train.run_folder import as_plain, write_config
from facejax.train.runs import read_run_config


def test_presets():
    assert choose_preset(None, ("default", "smoke")) == "default"
    assert choose_preset("smoke", iter(("default", "smoke"))) == "smoke"
    with pytest.raises(ValueError, match="wanted one of default, smoke. Did you mean 'smoke'"):
        choose_preset("smok", ("default", "smoke"))


def test_keys_of_the_trainer():
    config = train_config("pebble", keep=5)
    assert config.system == "pebble" and config.keep == 5 and config.parallel == "shard_map"
    with pytest.raises(ValueError, match="unknown trainer keys .'kep'.; known: .*keep"):
        train_config("pebble", kep=5)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("model", 1.5, "model is 1.5, .* has a section there"), ("data", [1], "data is .1., "),
     ("log_every", "x", "log_every is 'x'"),
     ("schedule.total_kimg", {"x": 1}, "total_kimg is 'a section'"),
     (None, [1, 2], "no JSON object"), (None, None, "no JSON object")],
)  # fmt: skip
def test_a_damaged_configuration_of_a_run_is_named(tmp_path, key, value, words):
    config = as_plain(load_config("tbgan:smoke"))
    write_config(tmp_path, config)
    assert read_run_config(tmp_path).system == "tbgan"
    section, _, name = (key or "").rpartition(".")
    changed = value if key is None else (
        config | {section: config[section] | {name: value}} if section else config | {name: value}
    )  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(changed))
    with pytest.raises(ValueError, match=f"config.json.*{words}"):
        read_run_config(tmp_path)
