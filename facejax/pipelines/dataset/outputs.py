"""What is stored for each face, under which names, and how arrays become bytes."""

import io
import struct
import zlib
from collections.abc import Mapping

import numpy as np

IMAGES = ("image", "mask", "regions")  # PNG
MAPS = ("depth_mm", "normal", "uv")
OUTPUTS = {
    "image": "RGB, sRGB",
    "mask": "share of the pixel that shows the head and what it wears, 255 is all",
    "regions": "what the centre of the pixel shows, see 'regions' of dataset.json; 0 is background",
    "depth_mm": "along the viewing axis, at the centre of the pixel; 0 where there is no head; "
    "this and the next two also behind occluders",
    "normal": "unit, object space, outward; 0 where there is no head",
    "uv": "texture coordinates, v down; 0 where there is no head; only of models with UV",
    "id": "identity coefficients of the face model, unit variance",
    "exp": "expression coefficients: weights of blendshapes, or unit variance",
    "alb": "albedo coefficients, unit variance",
    "id_before": "before denoising; only of sampling 'manifold'",
    "exp_before": "before denoising; only of sampling 'manifold'",
    "yaw_rad": "positive turns the face toward the image's right",
    "pitch_rad": "positive tips the face down",
    "roll_rad": "positive turns the picture of the head counter-clockwise; after yaw and pitch",
    "distance_mm": "from the camera to target_mm",
    "frame_mm": "height of the picture at that distance",
    "target_mm": "object-space point in the middle of the picture",
    "camera_rotation": "facejax.geometry.Camera: x_cam = rotation @ x_obj + translation",
    "camera_translation": "mm",
    "camera_focal": "half picture heights per unit of x / depth",
    "camera_center": "half picture heights, image of the optical axis",
    "camera_near": "mm",
    "camera_far": "mm",
    "sh_light": "SphericalHarmonics(coeffs), camera frame, linear light as exposed: sky and lamps "
    "without shadows and shine",
    "sky_light": "SphericalHarmonics(coeffs) without the lamps",
    "lamp_directions": "toward the lamps (key, fill, rim), unit, camera frame",
    "lamp_colors": "what a white surface facing each lamp reflects, linear light as exposed",
    "background_image": "number in 'background_images' of dataset.json, or -1",
    "landmarks68_mm": "object space, iBUG order",
    "landmarks68_px": "x, y; the first pixel's centre is (.5, .5)",
    "landmarks68_visible": "in the picture, and not hidden by a nearer surface or an occluder",
    "landmarks5_mm": "eyes, nose tip, mouth corners; image left first",
    "landmarks5_px": "as landmarks68_px",
    "landmarks5_visible": "as landmarks68_visible",
}


def png_bytes(image: np.ndarray) -> bytes:
    """A PNG of [H, W] or [H, W, 3] uint8, compressed as in `npz_bytes`."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def npz_bytes(arrays: Mapping[str, np.ndarray], compress: bool) -> bytes:
    """An .npz that depends on the arrays alone: numpy's own holds the time of writing.

    Compressed by runs and Huffman codes, without a search for repetitions: rendered maps have
    none, so they get no larger, in half the time. Python's zipfile has no such setting.

    Args:
      arrays: in this order; less than 4 GB.
      compress: deflates them.
    """
    head, directory, offset = [], [], 0
    for name, array in arrays.items():
        entry = io.BytesIO()
        np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)
        content = packed = entry.getvalue()
        if compress:
            deflate = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_RLE)
            packed = deflate.compress(content) + deflate.flush()
        file = f"{name}.npy".encode()
        # version, flags, method, time, date (1 January 1980), checksum, sizes, lengths of names
        common = struct.pack(
            "<5H3L2H", 20, 0, 8 if compress else 0, 0, 33,
            zlib.crc32(content), len(packed), len(content), len(file), 0,
        )  # fmt: skip
        head += [b"PK\3\4", common, file, packed]
        directory += [b"PK\1\2\x14\0", common, struct.pack("<3H2L", 0, 0, 0, 0, offset), file]
        offset += 4 + len(common) + len(file) + len(packed)
    index = b"".join(directory)
    num = len(arrays)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, num, num, len(index), offset, 0)
    return b"".join([*head, index, end])


def split_face(face: Mapping[str, np.ndarray]) -> tuple[dict, dict, dict]:
    """(images, maps, labels) of a face."""
    images = {k: face[k] for k in IMAGES if k in face}
    maps = {k: face[k] for k in MAPS if k in face}
    labels = {k: face[k] for k in OUTPUTS if k in face and k not in images and k not in maps}
    return images, maps, labels
