"""Metrics and utilities against vectors of the original TBGAN code (channels first there)."""

import jax.numpy as jnp
import numpy as np
import pytest

from facejax.image import color, filters, pyramid, sample
from facejax.io import images
from facejax.metrics import frechet, ssim, swd
from facejax.nn import latents
from tests.parity.golden import case_files

METRICS = case_files("tbgan", "metrics*.npz")
UTILITIES = case_files("tbgan", "utilities*.npz")
EXPRESSION_SCALE = (10, 10, 10, 10, 5, 3, 10)  # the release demo's


def _last(x):
    """Channels last, of [..., C, H, W]."""
    return np.moveaxis(x, -3, -1)


def _draws(case, num_levels, sets):
    """The stored draws of reals against `sets`, 'reals' or 'fakes'."""
    patches = int(case["swd/nhoods_per_image"])

    def centers(name, level):
        xy = [case[f"swd/{name}_{axis}_level{level}"].reshape(-1, patches) for axis in "xy"]
        return np.stack(xy, axis=-1)

    def directions(level):
        repeats = range(int(case["swd/dir_repeats"]))
        return np.stack([case[f"swd/{sets}_dirs_level{level}_rep{r}"] for r in repeats])

    levels = range(num_levels)
    return swd.SWDDraws(
        tuple(centers("reals", k) for k in levels),
        tuple(centers(sets, k) for k in levels),
        tuple(directions(k) for k in levels),
    )


@pytest.mark.parametrize("path", METRICS)
def test_laplacian_pyramid(path):
    case = np.load(path)
    want = [case[k] for k in sorted(k for k in case if k.startswith("swd/pyramidA_"))]
    got = pyramid.laplacian_pyramid(jnp.asarray(_last(case["swd/A"]), jnp.float32), len(want))
    for level, stored in zip(got, want, strict=True):
        np.testing.assert_allclose(level, _last(stored), atol=1e-3)  # values up to 255


@pytest.mark.parametrize("path", METRICS)
def test_sliced_wasserstein(path):
    case = np.load(path)
    a, b = _last(case["swd/A"]), _last(case["swd/B"])
    levels = len(case["swd/result"]) - 1
    assert swd.num_levels(a.shape[1:3]) == levels
    got = swd.swd(a, b, _draws(case, levels, "fakes"))
    np.testing.assert_allclose(got, case["swd/result"], rtol=1e-4)
    floor = swd.swd(a, a, _draws(case, levels, "reals"))
    np.testing.assert_allclose(floor, case["swd/reals_vs_reals"], atol=1e-4)


@pytest.mark.parametrize("path", METRICS)
def test_ms_ssim(path):
    case = np.load(path)
    names = sorted({k.split("/")[0] for k in case if k.startswith("msssim")})
    assert names
    for name in names:
        a, b = (case[f"{name}/{k}"].astype(np.float32) for k in "ab")
        value = ssim.ms_ssim(a, b, 255.0).mean()
        np.testing.assert_allclose(value, case[f"{name}/value"], atol=1e-5)
        similarity, cs = ssim.ssim_and_cs(a, b, 255.0)
        np.testing.assert_allclose(similarity, case[f"{name}/ssim0"], atol=1e-5)
        np.testing.assert_allclose(cs, case[f"{name}/cs0"], atol=1e-5)


@pytest.mark.parametrize("path", METRICS)
def test_frechet_distance_and_inception_score(path):
    case = np.load(path)
    got = frechet.frechet_distance(case["fid/X"], case["fid/Y"])
    np.testing.assert_allclose(got, case["fid/value"], rtol=1e-4)
    mean, deviation = frechet.inception_score(case["is/preds"])
    np.testing.assert_allclose(mean, case["is/mean"], atol=1e-4)
    np.testing.assert_allclose(deviation, case["is/std"], atol=1e-4)


@pytest.mark.parametrize("path", UTILITIES)
def test_interpolation_path_and_labels(path):
    case = np.load(path)
    got = latents.smooth_latent_path(case["interp/raw"], float(case["interp/sigma_frames"]))
    np.testing.assert_allclose(got, case["interp/out"], atol=1e-5)
    logits = got[:, 0, int(case["interp/latent_size"]) :]
    labels = latents.softmax_labels(logits, EXPRESSION_SCALE)
    np.testing.assert_allclose(labels, case["interp/labels_in_G"], atol=1e-5)


@pytest.mark.parametrize("path", UTILITIES)
def test_grids_and_pixels(path):
    case = np.load(path)
    cells = _last(case["grid/images"])
    np.testing.assert_array_equal(images.image_grid(cells), _last(case["grid/auto"]))
    for key in (k for k in case if k.startswith("grid/") and "x" in k):
        columns = int(key.removeprefix("grid/").split("x")[0])  # stored as columns x rows
        np.testing.assert_array_equal(images.image_grid(cells, columns), _last(case[key]))
    got = images.to_uint8(cells[0, ..., :3], (-1, 1))
    np.testing.assert_array_equal(got, case["pil/rgb"])
    got = color.rescale(np.arange(256, dtype=np.float32), (0, 255), (-1, 1))
    np.testing.assert_allclose(got, case["drange/0_255_to_-1_1"], atol=1e-6)


@pytest.mark.parametrize("path", UTILITIES)
def test_vertices_from_maps_and_shape_smoothing(path):
    case = np.load(path)
    points = sample.sample_truncated(
        _last(case["uv2mesh/uv"]), case["uv2mesh/tcoords_pixel_scaled"]
    )
    np.testing.assert_array_equal(points, case["uv2mesh/points"])
    got = filters.gaussian_filter(_last(case["shape_smooth/in"]), 3.0)
    np.testing.assert_allclose(got, _last(case["shape_smooth/out"]), atol=1e-5)
