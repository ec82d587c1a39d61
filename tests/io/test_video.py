import numpy as np
import pytest
from PIL import Image

from facejax.io import video


def _frames(num=5, height=33, width=48):
    ramp = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    for k in range(num):
        yield np.broadcast_to(ramp * (k + 1) / num, (height, width, 3))


@pytest.mark.skipif(not video.has_ffmpeg(), reason="imageio-ffmpeg has no ffmpeg here")
@pytest.mark.filterwarnings("ignore:os.fork")  # the reader's, not ours
def test_h264_has_every_frame_and_an_even_size(tmp_path):
    import imageio_ffmpeg

    path = video.write_video(tmp_path / "out" / "clip.mp4", _frames(), fps=10)
    assert path == tmp_path / "out" / "clip.mp4"
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    decoded = [np.frombuffer(f, np.uint8).reshape(34, 48, 3) for f in reader]
    assert meta["size"] == (48, 34) and meta["fps"] == 10 and "h264" in meta["codec"]
    assert len(decoded) == 5
    last = np.broadcast_to(np.linspace(0, 255, 48)[None, :, None], (34, 48, 3))
    assert np.abs(decoded[-1] - last).mean() < 8
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_gif_when_asked_or_without_ffmpeg(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(video, "has_ffmpeg", lambda: False)
    path = video.write_video(tmp_path / f"clip{suffix}", _frames(), fps=10)
    assert path == tmp_path / "clip.gif"
    with Image.open(path) as file:
        assert file.n_frames == 5 and file.size == (48, 33) and file.info["duration"] == 100


@pytest.mark.skipif(not video.has_ffmpeg(), reason="imageio-ffmpeg has no ffmpeg here")
def test_what_ffmpeg_complains_about_is_in_the_error(tmp_path):
    # H.264 has no pictures this wide; frames are small otherwise
    frames = [np.zeros((2, 40000, 3), np.uint8)] * 3
    with pytest.raises(OSError, match="mp4: ffmpeg cannot write it: .*"):
        video.write_video(tmp_path / "wide.mp4", frames)
    assert not list(tmp_path.iterdir())


def test_bad_input_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="no frames"):
        video.write_video(tmp_path / "a.gif", [])
    with pytest.raises(ValueError, match="is .mp4 or .gif"):
        video.write_video(tmp_path / "a.avi", _frames())
    with pytest.raises(ValueError, match="fps must be positive"):
        video.write_video(tmp_path / "a.gif", _frames(), fps=0)
    mixed = [np.zeros((4, 4, 3), np.uint8), np.zeros((6, 4, 3), np.uint8)]
    for suffix in (".gif", ".mp4"):
        with pytest.raises(ValueError, match=r"frame 1 is \(6, 4, 3\)"):
            video.write_video(tmp_path / f"a{suffix}", mixed)
    assert not list(tmp_path.iterdir())
