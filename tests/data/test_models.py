import numpy as np
import pytest
from ml_collections import ConfigDict

from facejax.data.models import model_of
from facejax.morphable import save_npz

SMALL = dict(rows=32, cols=32, n_id=4, n_alb=2, draws=16, texture_size=8)


def test_models_by_name_and_by_file(tmp_path):
    data = ConfigDict(dict(model="procedural", model_path="", model_options=dict(SMALL, rows=0)))
    small = model_of(data)  # 0 is left out
    assert small.num_alb == 2 and small.num_id == 4
    assert small.num_vertices > 32 * 32
    save_npz(tmp_path / "model.npz", small)
    data.model_path = str(tmp_path / "model.npz")
    np.testing.assert_array_equal(model_of(data).mean_shape, small.mean_shape)
    with pytest.raises(ValueError, match="nowhere"):
        model_of(ConfigDict(dict(model="procedural", model_path=str(tmp_path / "nowhere.npz"))))
