import pytest

from facejax.train.config import choose_preset, train_config


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
