"""A small procedural model, built once per test session in a cache folder of its own."""

import os

import pytest

from facejax.morphable import load_morphable

SMALL = dict(rows=48, cols=48, n_id=16, n_alb=8, draws=40, texture_size=64)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    before = os.environ.get("FACEJAX_CACHE_DIR")
    os.environ["FACEJAX_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
    yield load_morphable("procedural", **SMALL)
    if before is None:
        del os.environ["FACEJAX_CACHE_DIR"]
    else:
        os.environ["FACEJAX_CACHE_DIR"] = before
