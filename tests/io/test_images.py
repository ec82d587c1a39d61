import struct
import zlib

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


def test_twelve_bits_in_sixteen(tmp_path, caplog):
    path = tmp_path / "a.png"
    for top, full in ((4095, 4095), (3000, 4095), (255, 255), (4096, 65535), (65535, 65535)):
        Image.fromarray(np.array([[0, top]], np.uint16)).save(path)
        np.testing.assert_allclose(images.read_image(path).ravel(), [0, top / full], atol=1e-6)
    assert "taken for 12 bits" in caplog.text and str(path) in caplog.text
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(path)
    assert not images.read_image(path, "RGB").any()
    Image.fromarray(np.full((2, 2), 70000, np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="a.tif: .*0 .. 70000, wanted 0 .. 65535"):
        images.read_image(tmp_path / "a.tif")


def test_colours_of_sixteen_bits(tmp_path):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    path = tmp_path / "a.png"
    for value, want in ((40000, 40000 / 65535), (3000, None)):  # the second in 12 bits
        rows = (b"\0" + struct.pack(">H", value) * 6) * 2
        header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
                         + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))  # fmt: skip
        if want:
            np.testing.assert_allclose(
                images.read_image(path), np.full((2, 2, 3), want), atol=0.004
            )
        else:
            with pytest.raises(ValueError, match="a.png: .*12 bits stored in 16"):
                images.read_image(path)


def test_colours_hidden_under_transparency_do_not_show(tmp_path, caplog):
    pixels = np.full((1, 3, 4), 200, np.uint8)
    pixels[0, :, 3] = 255, 0, 51
    images.write_image(tmp_path / "a.png", pixels)
    got = np.rint(images.read_image(tmp_path / "a.png", "RGB") * 255)
    np.testing.assert_array_equal(got[0, :, 0], [200, 0, 40])
    assert f"{tmp_path / 'a.png'}: transparent pixels are taken for black" in caplog.text
    assert images.read_image(tmp_path / "a.png", "L").shape == (1, 3, 1)
    np.testing.assert_array_equal(np.rint(images.read_image(tmp_path / "a.png") * 255), pixels)
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([250, 0, 0, 0, 250, 0])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "p.png", transparency=0)
    got = np.rint(images.read_image(tmp_path / "p.png", "RGB") * 255)
    np.testing.assert_array_equal(got[0], [[0, 0, 0], [0, 250, 0]])


def test_frames_and_colour_spaces(tmp_path):
    frames = [Image.new("RGB", (2, 2), color) for color in ("white", "black")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert images.read_image(tmp_path / "a.gif", "RGB").min() > 0.99  # the first frame
    for mode in ("1", "CMYK", "YCbCr", "LA"):
        Image.new(mode, (3, 2)).save(path := tmp_path / f"{mode}.tif")
        assert images.read_image(path, "RGB").shape == (2, 3, 3)
    Image.new("F", (2, 2)).save(tmp_path / "f.tif")
    with pytest.raises(ValueError, match="f.tif: .*pixel mode 'F'"):
        images.read_image(tmp_path / "f.tif")


@pytest.mark.parametrize(
    "content,words",
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<html>", "web page"),
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n", "not a readable image"),
    ],
)
def test_what_is_no_image_says_what_it_is(tmp_path, content, words):
    (tmp_path / "a.png").write_bytes(content)
    for read in (images.read_image, images.read_header):
        with pytest.raises(ValueError, match=f"a.png: .*{words}"):
            read(tmp_path / "a.png")


def test_a_header_that_claims_too_much(tmp_path):
    path = images.write_image(tmp_path / "a.png", np.zeros((2, 2, 3)))
    raw = bytearray(path.read_bytes())
    raw[16:24] = (60000).to_bytes(4, "big") * 2
    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="a.png: .*million pixels"):
        images.read_image(path)
    good = images.write_image(tmp_path / "b.png", np.full((64, 64, 3), 0.3)).read_bytes()
    (tmp_path / "b.png").write_bytes(good[:-30])
    with pytest.raises(ValueError, match="b.png: "):
        images.read_image(tmp_path / "b.png")


def test_trouble_of_the_disk_is_no_damage(tmp_path, monkeypatch):
    path = images.write_image(tmp_path / "a.png", np.zeros((2, 2, 3)))

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(PermissionError):
        images.read_image(path)


def test_folders_of_pictures_and_of_classes(tmp_path, caplog):
    with pytest.raises(ValueError, match="no such folder"):
        images.find_images(tmp_path / "absent")
    for name in ("happy/b", "sad/deep/a"):
        images.write_image(tmp_path / f"{name}.png", np.zeros((4, 4, 3)))
    (tmp_path / "sad/deep/a.png").rename(tmp_path / "sad/deep/a.PNG")
    for name in ("._b.png", "Thumbs.db", ".hidden.png"):
        (tmp_path / "happy" / name).write_bytes(b"\0")
    found = images.find_images(tmp_path)
    assert images.image_names(found, tmp_path) == ["happy/b", "sad/deep/a"]
    assert "taking 2 images of 2 sub-folders" in caplog.text
    images.write_image(tmp_path / "own.png", np.zeros((4, 4, 3)))
    (tmp_path / "IMG_1.HEIC").write_bytes(b"")
    assert images.find_images(tmp_path) == [tmp_path / "own.png"]
    assert "leaving out 1 pictures that are not read; convert them: IMG_1.HEIC" in caplog.text
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no images in it or its sub-folders"):
        images.find_images(tmp_path / "empty")


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
