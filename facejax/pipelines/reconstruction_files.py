"""What is written for a reconstructed photo: mesh, pictures, .mat, .json.

| file | holds |
|---|---|
| NAME.glb | textured mesh; posed in the camera's world, or canonical and neutral |
| NAME_mesh.obj | the mesh as the originals write it: vertex colours (lit), decimetres |
| NAME_crop.png | crop, face drawn over it, landmarks (given: red, model: green) |
| NAME_photo.png | the face and its landmarks in the whole photo |
| NAME_curve.png | terms of the fit's loss by step |
| NAME.json | coefficients by name, pose, landmarks in the photo, the crop's transform |
| NAME.mat | the keys of both Deep3D programs, below |
| NAME_render.png | the head alone, [224, 224] with alpha |
| NAME.obj, .mtl, .png | the textured mesh, millimetres |
| NAME_texture.png | the texture |

The last three are written on demand (`FileOptions.outputs`).

Keys of the .mat, of microsoft/Deep3DFaceReconstruction: `cropped_img` [224, 224, 3] uint8 RGB,
`recon_img` [224, 224, 4] (render over black and coverage, 0..255), `coeff` [1, n], `face_shape`
[V, 3] (posed, decimetres, y up, z toward the camera), `face_texture` and `face_color` [V, 3]
(albedo, lit; 0..255, not clipped), `lm_68p` [68, 2] (crop pixels, y UP), `lm_5p` [5, 2] (the
given five, y DOWN: 223 - y). Of sicxu/Deep3DFaceRecon_pytorch: `id`, `exp`, `tex`, `angle`,
`gamma`, `trans` [1, n] and `lm68` [1, 68, 2] (crop pixels, y DOWN: 223 - y).
"""

import dataclasses
import io
import json
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from facejax.data.alignment import AlignedPhoto, landmarks5_from_68
from facejax.geometry.mesh import Mesh
from facejax.host.files import atomic_path
from facejax.io.images import to_uint8, write_image
from facejax.io.meshes import save_mesh
from facejax.io.plots import line_plots
from facejax.morphable.model import Coefficients, MorphableModel
from facejax.pipelines.photo_texture import PhotoTexture, make_texture, uv_topology
from facejax.recon import decoder
from facejax.render.interpolate import interpolate
from facejax.render.overlay import draw_points
from facejax.render.rasterize import rasterize

OUTPUTS = ("glb", "obj", "overlay", "mat", "json", "render", "textured_obj", "texture")
DEFAULT_OUTPUTS = OUTPUTS[:5]
TEXTURES = ("photo", "albedo")
_FINE = 2  # samples per pixel of the crop in pictures
_GIVEN, _FOUND = (0.95, 0.1, 0.1), (0.1, 0.9, 0.2)


@dataclasses.dataclass
class Reconstruction:
    """One photo's face.

    Attributes:
      photo: [H, W, 3] uint8 RGB, the whole photo.
      aligned: its crop, the crop's transform and the given landmarks in it.
      coeffs: without batch dims.
      face: decoded for a crop of 224; of a graph network's mesh where there is one.
      neutral_shape: [V, 3] dm, canonical pose, zero expression.
      curves: of the fit, or empty.
    """

    photo: np.ndarray
    aligned: AlignedPhoto
    coeffs: Coefficients
    face: decoder.DecodedFace
    neutral_shape: np.ndarray
    curves: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class FileOptions:
    """Which files are written, and how.

    Attributes:
      outputs: names of OUTPUTS; 'overlay' is the pictures of crop, photo and loss.
      texture: 'photo' keeps the photo's light in the texture, 'albedo' divides by the fitted light.
      texture_size: side of the texture, pixels.
      neutral: meshes in canonical pose, without expression.
    """

    outputs: tuple[str, ...] = DEFAULT_OUTPUTS
    texture: str = "photo"
    texture_size: int = 1024
    neutral: bool = False

    def __post_init__(self):
        unknown = sorted(set(self.outputs) - set(OUTPUTS))
        if unknown or not self.outputs:
            raise ValueError(f"found the outputs {unknown}, wanted some of {', '.join(OUTPUTS)}")
        if self.texture not in TEXTURES:
            raise ValueError(f"found the texture {self.texture!r}, wanted one of {TEXTURES}")
        if not 16 <= self.texture_size <= 8192:
            raise ValueError(f"found the texture size {self.texture_size}, wanted 16 to 8192")


DEFAULT_FILES = FileOptions()


def face_mesh(
    model: MorphableModel, result: Reconstruction, texture: PhotoTexture, neutral: bool = False
) -> Mesh:
    """The textured mesh, millimetres: posed in the camera's world, or canonical and neutral."""
    shape = result.neutral_shape if neutral else result.face.vertices
    vertices = decoder.MM_PER_DM * np.asarray(shape, np.float32)
    return Mesh(vertices, uv_topology(model), texture=texture.texture)


@jax.jit
def draw_face(model: MorphableModel, face: decoder.DecodedFace) -> tuple[jax.Array, jax.Array]:
    """The lit face, anti-aliased.

    Returns:
      overlay [448, 448, 4]: the face region (eyes and lips too, hair and neck not), colour times
      alpha, for drawing over the photo; whole [224, 224, 4]: the whole mesh on black.
    """
    camera = decoder.Deep3DCamera()
    fine = camera.resized(_FINE * camera.size)
    mesh = model.topology.mesh
    region = _overlay_region(model)[:, None]
    fragments = rasterize(decoder.clip(face.vertices, fine), mesh, (fine.size, fine.size))
    planes = interpolate(jnp.concatenate([face.color, region], axis=-1), mesh, fragments)
    hit = (fragments.triangle_id >= 0).astype(jnp.float32)[..., None]
    color = jnp.clip(planes[..., :3], 0, 1) * hit
    alpha = hit * jnp.clip(4 * planes[..., 3:] - 1.5, 0, 1)
    overlay = jnp.concatenate([color * alpha, alpha], axis=-1)
    whole = jnp.concatenate([color, hit], axis=-1)
    whole = whole.reshape(camera.size, _FINE, camera.size, _FINE, 4).mean(axis=(1, 3))
    return overlay, whole


def _overlay_region(model):
    masks = model.topology.masks
    if "face" not in masks:
        return np.ones(model.num_vertices, np.float32)
    region = np.maximum(masks["face"], masks.get("eye", np.float32(0)))
    return np.maximum(region, masks.get("mouth_inside", np.float32(0))).astype(np.float32)


def crop_picture(result: Reconstruction, overlay: np.ndarray) -> np.ndarray:
    """Crop, overlay and landmarks side by side, [448, 3 * 448, 3] float in [0, 1]."""
    from PIL import Image

    side = overlay.shape[0]
    scale = side / 224
    crop = Image.fromarray(result.aligned.crop).resize((side, side), Image.Resampling.BICUBIC)
    crop = np.asarray(crop, np.float32) / 255
    drawn = crop * (1 - overlay[..., 3:]) + overlay[..., :3]
    dots = crop
    for points, color in (
        (np.asarray(result.face.landmarks_px), _FOUND),
        (result.aligned.landmarks, _GIVEN),
    ):
        down = scale * np.stack([points[:, 0], 224 - points[:, 1]], axis=1)
        dots = draw_points(dots, down.astype(np.float32), color=color, radius_px=scale)
    return np.concatenate([crop, drawn, np.asarray(dots)], axis=1)


def photo_picture(result: Reconstruction, overlay: np.ndarray) -> np.ndarray:
    """The face and its landmarks in the whole photo, [H, W, 3] float in [0, 1]."""
    from PIL import Image

    height, width = result.photo.shape[:2]
    left, top, right, bottom = result.aligned.transform.box
    side = overlay.shape[0]
    shrink = max(1, int(side / max(right - left, 1)))
    layer = [Image.fromarray(overlay[..., c]) for c in range(4)]
    if shrink > 1:
        layer = [a.reduce(shrink) for a in layer]
    across, down = layer[0].width / (right - left), layer[0].height / (bottom - top)
    data = (across, 0, -left * across, 0, down, -top * down)
    layer = np.stack(
        [
            np.asarray(
                a.transform(
                    (width, height), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
                )
            )
            for a in layer
        ],
        axis=-1,
    )
    photo = result.photo.astype(np.float32) / 255
    photo = photo * (1 - layer[..., 3:]) + layer[..., :3]
    points = photo_landmarks(result) + 0.5  # of pixels counted from 0 to continuous ones
    radius = max(1.0, (right - left) / 224)
    return np.asarray(draw_points(photo, points.astype(np.float32), color=_FOUND, radius_px=radius))


def photo_landmarks(result: Reconstruction) -> np.ndarray:
    """The model's 68 landmarks in the photo, [68, 2] pixels, y down."""
    return result.aligned.transform.to_photo(np.asarray(result.face.landmarks_px))


def mat_variables(result: Reconstruction, whole: np.ndarray) -> dict[str, np.ndarray]:
    """The variables of the .mat; see the module's docstring."""
    face, coeffs = result.face, result.coeffs
    given = result.aligned.landmarks
    five = given if len(given) == 5 else landmarks5_from_68(given)
    up = np.asarray(face.landmarks_px, np.float32)
    names = dict(
        id=coeffs.id, exp=coeffs.exp, tex=coeffs.alb, angle=coeffs.angles, gamma=coeffs.gamma,
        trans=coeffs.trans,
    )  # fmt: skip
    return dict(
        cropped_img=result.aligned.crop,
        recon_img=255 * whole,
        coeff=np.asarray(decoder.join(coeffs))[None],
        face_shape=np.asarray(face.vertices),
        face_texture=255 * np.asarray(face.albedo),
        face_color=255 * np.asarray(face.color),
        lm_68p=up,
        lm_5p=_down(five).astype(np.float32),
        lm68=_down(up)[None],
        **{k: np.asarray(v)[None] for k, v in names.items()},
    )


def _down(points):
    """Crop points with y up as rows of the originals, 223 - y."""
    return np.stack([points[..., 0], 223 - points[..., 1]], axis=-1)


def json_record(model: MorphableModel, result: Reconstruction) -> dict:
    """Coefficients by name and what else a reader needs; plain JSON types."""
    coeffs, topology = result.coeffs, model.topology
    error = None
    if result.curves:
        error = {k: float(v[-1]) for k, v in result.curves.items()}
    return {
        "model": {"name": topology.name, "digest": topology.digest, "source": topology.source},
        "units": "angles rad; trans and shape dm; landmarks in pixels of the photo, y down",
        "coefficients": {k: _rounded(v) for k, v in decoder.parts_in_files(coeffs).items()},
        "expressions": dict(zip(topology.exp_names, _rounded(coeffs.exp), strict=True))
        if topology.exp_names
        else {},
        "angles_deg": _rounded(np.degrees(coeffs.angles)),
        "landmarks68": _rounded(photo_landmarks(result)),
        "given_landmarks": _rounded(result.aligned.transform.to_photo(result.aligned.landmarks)),
        "transform": dataclasses.asdict(result.aligned.transform),
        "loss": error,
    }


def _rounded(values):
    return np.round(np.asarray(values, np.float64), 6).tolist()


def vertex_color_obj(model: MorphableModel, result: Reconstruction, neutral: bool = False) -> str:
    """The originals' .obj: `v x y z r g b` of the lit face, decimetres; `f a b c` counts from 1."""
    shape = result.neutral_shape if neutral else np.asarray(result.face.vertices)
    rows = np.concatenate([shape, np.clip(np.asarray(result.face.color), 0, 1)], axis=1)
    text = io.StringIO()
    np.savetxt(text, rows, fmt="v %.6f %.6f %.6f %.6f %.6f %.6f")
    text.write("\n")
    np.savetxt(text, model.topology.mesh.triangles + 1, fmt="f %d %d %d")
    return text.getvalue()


def write_reconstruction(
    folder: str | os.PathLike,
    name: str,
    model: MorphableModel,
    result: Reconstruction,
    options: FileOptions = DEFAULT_FILES,
) -> list[pathlib.Path]:
    """Writes the files of one photo; each is whole or absent.

    Args:
      folder: made if missing.
      name: of the files.
      model: the face model.
      result: the face.
      options: which files, and how.

    Returns:
      The paths written.
    """
    from scipy.io import savemat

    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    wanted, written = set(options.outputs), []

    def path(suffix: str) -> pathlib.Path:
        written.append(folder / f"{name}{suffix}")
        return written[-1]

    if wanted & {"glb", "textured_obj", "texture"}:
        texture = make_texture(
            model,
            result.face,
            result.coeffs.alb,
            result.photo,
            result.aligned.transform.box,
            options.texture_size,
            result.coeffs.gamma if options.texture == "albedo" else None,
        )
        mesh = face_mesh(model, result, texture, options.neutral)
        if "glb" in wanted:
            save_mesh(path(".glb"), mesh)
        if "textured_obj" in wanted:
            save_mesh(path(".obj"), mesh)
        if "texture" in wanted:
            write_image(path("_texture.png"), to_uint8(texture.texture))
    if "obj" in wanted:
        with atomic_path(path("_mesh.obj")) as file:
            file.write_text(vertex_color_obj(model, result, options.neutral), encoding="utf-8")
    if wanted & {"overlay", "render", "mat"}:
        overlay, whole = (np.asarray(a) for a in draw_face(model, result.face))
    if "overlay" in wanted:
        write_image(path("_crop.png"), crop_picture(result, overlay))
        write_image(path("_photo.png"), photo_picture(result, overlay))
        if result.curves:
            panels = {k: {k: (np.arange(len(v)), v)} for k, v in result.curves.items()}
            write_image(path("_curve.png"), line_plots(panels, x_label="step"))
    if "render" in wanted:
        color, alpha = whole[..., :3], whole[..., 3:]
        straight = np.concatenate([color / np.maximum(alpha, 1e-6), alpha], axis=-1)
        write_image(path("_render.png"), straight)
    if "mat" in wanted:
        with atomic_path(path(".mat")) as target, target.open("wb") as file:
            savemat(file, mat_variables(result, whole), do_compression=True)
    if "json" in wanted:
        with atomic_path(path(".json")) as target:
            target.write_text(
                json.dumps(json_record(model, result), indent=1) + "\n", encoding="utf-8"
            )
    return written
