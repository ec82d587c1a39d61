"""A coarse procedural head with its wardrobe, made once; numpy arrays on the host."""

import os

import pytest

from facejax.attachments import build_wardrobe
from facejax.morphable import load_morphable

SMALL = dict(rows=48, cols=48, n_id=16, n_alb=8, draws=40, texture_size=64)


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    before = os.environ.get("FACEJAX_CACHE_DIR")
    os.environ["FACEJAX_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
    yield load_morphable("procedural", **SMALL)
    if before is None:
        del os.environ["FACEJAX_CACHE_DIR"]
    else:
        os.environ["FACEJAX_CACHE_DIR"] = before


@pytest.fixture(scope="session")
def wardrobe(model):
    return build_wardrobe(model)
