import numpy as np
import pytest
from PIL import Image

from facejax.io import images


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_round_trip_is_exact(rng, tmp_path, channels):
    pixels = rng.integers(0, 256, size=(5, 7, channels), dtype=np.uint8)
    path = images.write_image(tmp_path / "made" / "image.png", pixels)
    got = images.read_image(path)
    assert got.dtype == np.float32 and got.shape == pixels.shape
    np.testing.assert_array_equal(np.rint(got * 255), pixels)
    images.write_image(path, got)  # and from float
    np.testing.assert_array_equal(images.read_image(path), got)


def test_row_zero_is_the_top(tmp_path):
    image = np.zeros((2, 1, 3), np.float32)
    image[0] = 1.0
    path = images.write_image(tmp_path / "image.png", image)
    assert Image.open(path).getpixel((0, 0)) == (255, 255, 255)


def test_modes_palette_sixteen_bit_and_orientation(tmp_path):
    path = tmp_path / "image.png"
    Image.new("P", (3, 2), 0).save(path)
    assert images.read_image(path).shape == (2, 3, 3)
    assert images.read_image(path, mode="L").shape == (2, 3, 1)
    Image.fromarray(np.full((2, 3), 65535, np.uint16)).save(path)
    np.testing.assert_array_equal(images.read_image(path), np.ones((2, 3, 1)))
    Image.fromarray(np.full((2, 3), 32768, np.uint16)).save(path)
    np.testing.assert_allclose(
        images.read_image(path, mode="RGB"), np.full((2, 3, 3), 0.5), atol=1e-4
    )
    photo = Image.new("RGB", (3, 2))
    exif = photo.getexif()
    exif[0x0112] = 6  # turn by 90 degrees
    photo.save(tmp_path / "photo.jpg", exif=exif)
    assert images.read_image(tmp_path / "photo.jpg").shape == (3, 2, 3)


def test_bad_input_is_one_clear_error(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        images.read_image(tmp_path / "absent.png")
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(ValueError, match="not a readable image"):
        images.read_image(tmp_path / "text.png")
    with pytest.raises(ValueError, match="unknown image suffix '.xyz'"):
        images.write_image(tmp_path / "a.xyz", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match=r"array of shape \(2, 2, 9\)"):
        images.write_image(tmp_path / "a.png", np.zeros((2, 2, 9), np.uint8))
    with pytest.raises(ValueError, match="not finite"):
        images.write_image(tmp_path / "a.png", np.full((2, 2, 3), np.nan))
    with pytest.raises(ValueError, match="uint8 or float, found int64"):
        images.write_image(tmp_path / "a.png", np.zeros((2, 2, 3), np.int64))
    assert {p.name for p in tmp_path.iterdir()} == {"text.png"}


def test_to_uint8_rounds_and_clips():
    got = images.to_uint8(np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 9.0]), (-1, 1))
    np.testing.assert_array_equal(got, [0, 0, 128, 191, 255, 255])
    assert got.dtype == np.uint8


def test_grid_places_rows_columns_and_padding():
    cells = np.arange(1, 6, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 3, 1))
    grid = images.image_grid(cells, columns=3, pad=1)
    assert grid.shape == (5, 11, 1)
    assert grid[0, 0, 0] == 1 and grid[0, 4, 0] == 2 and grid[0, 8, 0] == 3
    assert grid[3, 0, 0] == 4 and grid[3, 4, 0] == 5
    assert not grid[2].any() and not grid[:, 3].any() and not grid[3:, 8:].any()
    assert images.image_grid(cells).shape == (4, 9, 1)  # ceil(sqrt(5)) columns
    with pytest.raises(ValueError, match="images of one shape"):
        images.image_grid([np.zeros((2, 2, 1)), np.zeros((3, 2, 1))])


def test_snapshot_grid_sizes():
    assert images.snapshot_grid_size(512, "1080p") == (2, 3)
    assert images.snapshot_grid_size(512, "4k") == (4, 7)
    assert images.snapshot_grid_size(4) == (32, 32)
    with pytest.raises(ValueError, match="unknown display"):
        images.snapshot_grid_size(64, "8k")


def test_labels_sit_beside_their_rows_and_columns(rng):
    grid = np.zeros((41, 62, 3), np.float32)
    got = images.add_text_labels(grid, ["a", "bb"], ["x", "y", "z"], pad=1)
    top, left = got.shape[0] - 41, got.shape[1] - 62
    assert top > 0 and left > 0 and got.dtype == np.float32
    np.testing.assert_array_equal(got[top:, left:], grid)
    ink = got[..., 0] < 0.5
    assert ink[top : top + 20, :left].any() and ink[top + 21 :, :left].any()
    for k in range(3):
        assert ink[:top, left + 21 * k : left + 21 * k + 20].any()
    np.testing.assert_array_equal(images.add_text_labels(grid), grid)
