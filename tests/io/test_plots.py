import numpy as np
import pytest

from facejax.io.plots import line_plots


def rows_of(image, color):
    return np.nonzero((image == color).all(-1))


def test_curves_rise_where_values_rise():
    image = line_plots({"a": {"up": (range(5), range(5))}}, "x")
    y, x = rows_of(image, (31, 119, 180))
    inside = y > 45  # below the name of the curve
    assert np.corrcoef(x[inside], y[inside])[0, 1] < -0.99  # rows count downward
    assert image.dtype == np.uint8 and image.shape == (260, 420, 3)


def test_logarithmic_axis_makes_a_geometric_sequence_straight():
    x = np.arange(1, 6)
    y, px = rows_of(line_plots({"a": {"c": (x, 10.0**x)}}, log_y=True), (31, 119, 180))
    inside = y > 45
    assert np.corrcoef(px[inside], y[inside])[0, 1] < -0.99
    bent = line_plots({"a": {"c": (x, 10.0**x)}})
    y, px = rows_of(bent, (31, 119, 180))
    assert np.corrcoef(px[y > 45], y[y > 45])[0, 1] > -0.95


def test_odd_values_and_many_panels():
    curves = {"one": ([1], [2]), "gap": ([0, 1], [np.nan, 1]), "flat": ([0, 1], [3, 3])}
    panels = {str(k): curves for k in range(4)} | {"none": {"n": ([0], [np.inf])}}
    assert line_plots(panels).shape == (520, 1260, 3)
    with pytest.raises(ValueError, match="no curves"):
        line_plots({})
