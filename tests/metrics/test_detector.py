import numpy as np
import pytest

from facejax.metrics import detector


@pytest.mark.parametrize("make", [detector._opencv, detector._skimage])
def test_a_photograph_has_a_face_and_a_wall_has_none(make):
    found = make()
    if found is None:
        pytest.skip("this detector is not installed")
    data = pytest.importorskip("skimage.data")
    name, detect = found
    assert detect(np.ascontiguousarray(data.astronaut()[:256, 96:352])), name
    assert not detect(np.full((256, 256, 3), 180, np.uint8)), name


def test_the_first_installed_detector_is_taken(monkeypatch):
    monkeypatch.setattr(detector, "_opencv", lambda: None)
    monkeypatch.setattr(detector, "_skimage", lambda: ("other", bool))
    assert detector.face_detector() == ("other", bool)
