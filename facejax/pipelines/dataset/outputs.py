"""What is stored for each face, under which names, and how arrays become bytes."""

import io
import zipfile
from collections.abc import Mapping

import numpy as np

IMAGES = ("image", "mask", "regions")  # PNG
MAPS = ("depth_mm", "normal", "uv")
OUTPUTS = {
    "image": "RGB, sRGB",
    "mask": "share of the pixel that the head covers, 255 is all",
    "regions": "what the centre of the pixel shows, see 'regions' of dataset.json; 0 is background",
    "depth_mm": "along the viewing axis, at the centre of the pixel; 0 where there is no head",
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
    "sh_light": "SphericalHarmonics(coeffs), camera frame, linear light",
    "background_image": "number in 'background_images' of dataset.json, or -1",
    "landmarks68_mm": "object space, iBUG order",
    "landmarks68_px": "x, y; the first pixel's centre is (.5, .5)",
    "landmarks68_visible": "in the picture, and not hidden by a nearer surface",
    "landmarks5_mm": "eyes, nose tip, mouth corners; image left first",
    "landmarks5_px": "as landmarks68_px",
    "landmarks5_visible": "as landmarks68_visible",
}


def png_bytes(image: np.ndarray) -> bytes:
    """A PNG of [H, W] or [H, W, 3] uint8; compressed fast, some 15 % larger than possible."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def npz_bytes(arrays: Mapping[str, np.ndarray], compress: bool) -> bytes:
    """An .npz that depends on the arrays alone (numpy's own holds the time of writing)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy")
            kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
            file.writestr(info, entry.getvalue(), kind, compresslevel=1 if compress else None)
    return buffer.getvalue()


def split_face(face: Mapping[str, np.ndarray]) -> tuple[dict, dict, dict]:
    """(images, maps, labels) of a face."""
    images = {k: face[k] for k in IMAGES if k in face}
    maps = {k: face[k] for k in MAPS if k in face}
    labels = {k: face[k] for k in OUTPUTS if k in face and k not in images and k not in maps}
    return images, maps, labels
