import pytest

from facejax.morphable import load_morphable


@pytest.fixture(scope="session")
def model():
    """A small head."""
    sizes = dict(rows=32, cols=32, n_id=6, n_alb=4, draws=16, texture_size=16)
    return load_morphable("procedural", **sizes)
