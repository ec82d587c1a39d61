"""Video files: H.264 by the ffmpeg of imageio-ffmpeg; GIF by Pillow where there is none."""

import itertools
import pathlib
import subprocess
import tempfile
from collections.abc import Iterable

import numpy as np

from facejax.host.files import atomic_path
from facejax.io.images import to_uint8


def write_video(path: str | pathlib.Path, frames: Iterable, fps: float = 30.0) -> pathlib.Path:
    """Writes frames one by one; the file is whole or absent.

    Args:
      path: .mp4 (H.264; odd sizes grow by one repeated row or column) or .gif. Where ffmpeg is
        not available an .mp4 becomes a .gif of the same name.
      frames: [H, W, 1 or 3] images of one size, uint8 or float in [0, 1]; an iterable, read once.
      fps: frames per second.

    Returns:
      The path actually written.

    Raises:
      ValueError: no frames, frames of several sizes, or another suffix.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() not in (".mp4", ".gif"):
        raise ValueError(f"{path}: a video is .mp4 or .gif, found {path.suffix!r}")
    if not fps > 0:
        raise ValueError(f"{path}: fps must be positive, found {fps}")
    frames = _checked_frames(frames, path)
    if path.suffix.lower() == ".mp4" and not has_ffmpeg():
        path = path.with_suffix(".gif")
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".gif":
            _write_gif(temporary, frames, fps)
        else:
            _write_h264(temporary, frames, fps)
    return path


def has_ffmpeg() -> bool:
    """Whether imageio-ffmpeg finds an ffmpeg program."""
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return False
    return True


def _checked_frames(frames: Iterable, path: pathlib.Path):
    """An iterator of [H, W, 3] uint8 frames; looks at the first one at once."""
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError(f"{path}: there are no frames to write")
    shape = np.shape(first)
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise ValueError(f"{path}: frames are [H, W, 1 or 3], found {shape}")

    def convert(index, frame):
        if np.shape(frame) != shape:
            raise ValueError(f"{path}: frame {index} is {np.shape(frame)}, the first was {shape}")
        return np.broadcast_to(to_uint8(frame), (*shape[:2], 3))

    return (convert(i, f) for i, f in enumerate(itertools.chain([first], iterator)))


def _write_h264(path: pathlib.Path, frames, fps: float) -> None:
    import imageio_ffmpeg

    process = None
    # imageio_ffmpeg's own writer runs code between fork and exec, which may deadlock beside jax
    with tempfile.TemporaryFile() as log:
        try:
            for frame in frames:
                height, width = frame.shape[:2]
                # yuv420p stores colour at half the size, so both sides must be even
                frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
                if process is None:
                    size = f"{frame.shape[1]}x{frame.shape[0]}"
                    process = subprocess.Popen(
                        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo"]
                        + ["-pix_fmt", "rgb24", "-s", size, "-r", f"{fps:g}", "-i", "-"]
                        + ["-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p"]
                        + ["-movflags", "+faststart", str(path)],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.DEVNULL,
                        stderr=log,
                    )
                process.stdin.write(frame.tobytes())
            process.stdin.close()
            process.wait()
        except BrokenPipeError:
            process.wait()  # ffmpeg gave up; its log says why
        finally:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode:
            log.seek(0)
            words = " ".join(log.read().decode(errors="replace").split())
            raise OSError(f"{path}: ffmpeg cannot write it: {words or process.returncode}")


def _write_gif(path: pathlib.Path, frames, fps: float) -> None:
    from PIL import Image

    images = (Image.fromarray(np.ascontiguousarray(frame)) for frame in frames)
    duration_ms = max(round(100 / fps), 2) * 10  # GIF counts hundredths; players slow down below 2
    next(images).save(
        path, save_all=True, append_images=images, duration=duration_ms, loop=0, format="GIF"
    )
