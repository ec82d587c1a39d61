import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from scipy.io import loadmat

from facejax.data.alignment import AlignedPhoto, align_photo
from facejax.io.images import read_image
from facejax.io.landmarks import write_landmarks
from facejax.io.meshes import load_mesh
from facejax.pipelines import reconstruct as rec
from facejax.pipelines.fit import FitOptions
from facejax.pipelines.photo_texture import make_texture, uv_topology
from facejax.pipelines.reconstruction_files import OUTPUTS, FileOptions, write_reconstruction
from facejax.pipelines.regressors import Regressor
from facejax.recon import decoder
from facejax.render import bake, uv_atlas
from tests.parity.golden import case_files
from tests.pipelines.photos import LEFT, SIDE, TOP, WALL, command, message
from tests.pipelines.test_fit import draw, truth

PHOTOS = [*case_files("../data/photos", "*.jpg"), *case_files("../data/photos", "*.png")]


@pytest.fixture(scope="module")
def results(folder):
    """Exit code and folder of a fit of the whole folder."""
    code = command(
        "--method=fit", f"--input={folder / 'photos'}", f"--out={folder / 'out'}",
        f"--model={folder / 'model.npz'}", "--steps=0", "--texture_size=128",
        f"--outputs={','.join(OUTPUTS)}",
    )  # fmt: skip
    return code, folder / "out"


def test_a_folder_goes_on_after_bad_photos(results):
    code, out = results
    assert code == 1
    names = {p.name for p in out.iterdir()}
    suffixes = (".glb", ".obj", ".mtl", ".png", "_texture.png", "_crop.png", "_photo.png",
                ".json", ".mat", "_mesh.obj", "_render.png")  # fmt: skip
    assert names == {f"a{s}" for s in suffixes}


def test_landmarks_come_back_in_the_photo(results, folder, model):
    record = json.loads((results[1] / "a.json").read_text())
    given = np.loadtxt(folder / "photos" / "a.txt")
    np.testing.assert_allclose(record["given_landmarks"], given, atol=1e-3)
    found = np.asarray(decoder.five_points(np.asarray(record["landmarks68"], np.float32)))
    assert np.linalg.norm(found - given, axis=1).max() < 4.0
    assert abs(record["angles_deg"][1] - np.degrees(0.35)) < 3.0
    assert set(record["coefficients"]) == {"id", "exp", "tex", "angles", "gamma", "trans"}
    assert set(record["expressions"]) == set(model.topology.exp_names)


def test_mat_has_both_originals_keys(results, model):
    mat = loadmat(results[1] / "a.mat")
    num, n = model.num_vertices, decoder.num_coefficients(model)
    shapes = dict(
        cropped_img=(224, 224, 3), recon_img=(224, 224, 4), coeff=(1, n), face_shape=(num, 3),
        face_texture=(num, 3), face_color=(num, 3), lm_68p=(68, 2), lm_5p=(5, 2),
        lm68=(1, 68, 2), id=(1, model.num_id), exp=(1, model.num_exp), tex=(1, model.num_alb),
        angle=(1, 3), gamma=(1, 27), trans=(1, 3),
    )  # fmt: skip
    assert {k: mat[k].shape for k in shapes} == shapes
    coeffs = decoder.split(mat["coeff"][0], model)
    face = jax.jit(decoder.decode)(model, coeffs)
    np.testing.assert_allclose(mat["face_shape"], face.vertices, atol=1e-4)
    np.testing.assert_allclose(mat["lm_68p"], face.landmarks_px, atol=1e-2)
    np.testing.assert_allclose(mat["lm68"][0, :, 1], 223 - mat["lm_68p"][:, 1], atol=1e-4)
    # y down: the eyes lie above the mouth
    assert mat["lm_5p"][:2, 1].max() < mat["lm_5p"][3:, 1].min()
    assert mat["recon_img"].max() <= 255 and mat["recon_img"][..., 3].max() == 255


def test_mesh_reloads_with_the_photo_on_it(results, model):
    mesh = load_mesh(results[1] / "a.glb")
    assert len(mesh.topology.triangles) == len(model.topology.mesh.triangles)
    assert mesh.texture.shape == (128, 128, 3)
    mat = loadmat(results[1] / "a.mat")
    low = 100 * mat["face_shape"].min(axis=0)
    np.testing.assert_allclose(np.asarray(mesh.vertices).min(axis=0), low, atol=0.1)


def test_obj_and_render_are_the_originals(results, model):
    mat = loadmat(results[1] / "a.mat")
    vertices, faces = ((results[1] / "a_mesh.obj").read_text()).split("\n\n")
    rows = [line.split(" ") for line in vertices.splitlines()]
    assert {row[0] for row in rows} == {"v"} and len(rows) == model.num_vertices
    rows = np.array([row[1:] for row in rows], float)
    np.testing.assert_allclose(rows[:, :3], mat["face_shape"], atol=1e-5)
    np.testing.assert_allclose(rows[:, 3:], (mat["face_color"] / 255).clip(0, 1), atol=1e-5)
    corners = [line.split(" ") for line in faces.splitlines()]
    assert {row[0] for row in corners} == {"f"}
    corners = np.array([row[1:] for row in corners], int)
    np.testing.assert_array_equal(corners, model.topology.mesh.triangles + 1)
    render = np.asarray(Image.open(results[1] / "a_render.png"), float)
    alpha = render[..., 3:] / 255
    np.testing.assert_allclose(render[..., :3] * alpha, mat["recon_img"][..., :3], atol=1.0)


def test_only_what_is_asked_for(folder, tmp_path):
    argv = ("--method=fit", f"--input={folder / 'photos' / 'a.png'}", "--steps=0",
            f"--model={folder / 'model.npz'}", f"--out={tmp_path}")  # fmt: skip
    assert command(*argv, "--outputs=obj,render", "--neutral") == 0
    assert {p.name for p in tmp_path.iterdir()} == {"a_mesh.obj", "a_render.png"}
    first = (tmp_path / "a_mesh.obj").read_text().split("\n")[0]
    assert command(*argv, "--outputs=obj") == 0
    assert (tmp_path / "a_mesh.obj").read_text().split("\n")[0] != first


def check_pictures(out, folder):
    crop = read_image(out / "a_crop.png")
    assert crop.shape == (448, 3 * 448, 3)
    photo, drawn = (read_image(p) for p in (folder / "photos/a.png", out / "a_photo.png"))
    assert photo.shape == drawn.shape
    changed = np.abs(photo - drawn).sum(axis=-1) > 0.02
    # drawn over the face and nowhere else; on it, close to what was there
    wall = np.all(np.abs(photo - WALL) < 0.02, axis=-1)
    assert changed[~wall].mean() > 0.1 and changed[wall].mean() < 0.05
    middle = np.s_[150:250, 160:260]
    assert np.abs(photo - drawn)[middle].mean() < 0.08


def test_texture_shows_the_photo_and_completes_it(model, folder):
    photo = rec.read_photo(folder / "photos" / "a.png")
    coeffs = truth(model)
    face = jax.jit(decoder.decode)(model, coeffs)
    box = (LEFT, TOP, LEFT + SIDE, TOP + SIDE)
    out = make_texture(model, face, coeffs.alb, photo.pixels, box, 128)
    assert out.texture.shape == (128, 128, 3) and np.isfinite(out.texture).all()
    assert 0.1 < (out.weight > 0.9).mean() < 0.6
    mesh = uv_topology(model)
    texel = np.minimum((mesh.uv * 128).astype(int), 127)
    colors = np.clip(np.asarray(face.color), 0, 1)[mesh.uv_vertex]
    seen = out.weight[texel[:, 1], texel[:, 0]] > 0.95
    error = np.abs(out.texture[texel[:, 1], texel[:, 0]] - colors).mean(axis=1)
    assert seen.sum() > 100 and np.median(error[seen]) < 0.03
    # no wall on the face: blue exceeds red there only
    unseen = out.weight < 0.05
    blue = out.texture[..., 2] - out.texture[..., 0]
    assert (blue[unseen] > 0.1).mean() < 0.01
    # the light comes from the image's right; without it both sides have the model's colour
    plain = make_texture(model, face, coeffs.alb, photo.pixels, box, 128, coeffs.gamma)
    albedo = np.clip(np.asarray(face.albedo), 0, 1)[mesh.uv_vertex]
    skin = decoder.skin_weights(model.topology)[mesh.uv_vertex] > 0.9
    ratios = []
    for side in (mesh.uv[:, 0] < 0.45, mesh.uv[:, 0] > 0.55):
        at = seen & skin & side
        assert at.sum() > 20
        colors = (t[texel[at, 1], texel[at, 0]] for t in (out.texture, plain.texture))
        ratios.append([np.median(c / albedo[at]) for c in colors])
    (left, left_plain), (right, right_plain) = ratios
    assert right / left > 1.15
    assert abs(right_plain / left_plain - 1) < 0.4 * (right / left - 1)
    # beside what the photo shows, the completion has the colour of the lit face: no seam
    lit = np.asarray(bake(uv_atlas(mesh, 128), np.clip(np.asarray(face.color), 0, 1)))
    skin = np.asarray(bake(uv_atlas(mesh, 128), decoder.skin_weights(model.topology)[:, None]))[
        ..., 0
    ]
    beside = ndimage.binary_dilation(out.weight > 0.3, iterations=5) & unseen & (skin > 0.9)
    assert beside.sum() > 50
    assert np.median(np.abs(out.texture - lit)[beside]) < 0.05


def test_a_network_and_its_refined_mesh(model, folder, tmp_path):
    true = truth(model)
    face = jax.jit(decoder.decode)(model, true)
    moved = jax.jit(decoder.assemble)(model, face.shape + 0.05, face.albedo, true)
    sizes = []

    def predict(crops):
        sizes.append(crops.shape)
        batch = lambda a: jnp.broadcast_to(a[None], (len(crops), *a.shape))  # noqa: E731
        refined = jax.tree.map(batch, moved)
        return decoder.Reconstruction(batch(decoder.join(true)), refined=refined)

    photo = rec.read_photo(folder / "photos" / "a.png")
    by_network = rec.Reconstructor(regressor=Regressor(model, 64, predict), batch_size=2)
    result = by_network.reconstruct(*by_network.estimate([photo]))
    assert sizes == [(2, 64, 64, 3)]
    np.testing.assert_allclose(decoder.join(result.coeffs), decoder.join(true))
    np.testing.assert_allclose(result.face.shape, moved.shape, atol=1e-5)
    still = jax.jit(decoder.decode)(model, true.replace(exp=jnp.zeros(model.num_exp)))
    np.testing.assert_allclose(result.neutral_shape, still.shape + 0.05, atol=1e-5)
    assert result.curves == {}
    files = FileOptions(texture_size=32, neutral=True)
    summary = rec.reconstruct_photos(by_network, [photo.path], tmp_path / "out", files=files)
    assert summary.failed == {} and not (tmp_path / "out" / "a_curve.png").exists()
    linear = rec.Reconstructor(
        regressor=Regressor(model, 64, lambda c: decoder.Reconstruction(predict(c).coeffs))
    )
    plain = linear.reconstruct(*linear.estimate([photo]))
    plain.curves = {"photo": np.linspace(1, 0.1, 5)}
    files = FileOptions(outputs=("overlay", "json"))
    write_reconstruction(tmp_path / "plain", "a", model, plain, files)
    check_pictures(tmp_path / "plain", folder)
    assert read_image(tmp_path / "plain" / "a_curve.png").std() > 0.05
    assert json.loads((tmp_path / "plain" / "a.json").read_text())["loss"] == {"photo": 0.1}
    mesh = load_mesh(summary.written[photo.path][0])
    np.testing.assert_allclose(
        np.asarray(mesh.vertices).max(axis=0), 100 * result.neutral_shape.max(axis=0), atol=0.1
    )


def test_photos_of_one_person_share_an_identity(model, rng):
    true, photos = truth(model), []
    for yaw in (-0.4, -0.1, 0.2, 0.5):
        pose = true.replace(
            angles=jnp.array([0.0, yaw, 0.0]),
            exp=jnp.asarray(0.3 * rng.random(model.num_exp), jnp.float32),
        )
        landmarks = np.asarray(draw(model, pose)[2], np.float64) + rng.normal(0, 1.0, (68, 2))
        crop = np.zeros((224, 224, 3), np.uint8)
        photos.append(rec.Photo(None, crop, AlignedPhoto(crop, None, landmarks)))
    by_landmarks = rec.Reconstructor(model, options=FitOptions(photo_steps=0))
    single = [e for photo in photos for e in by_landmarks.estimate([photo])]
    shared = by_landmarks.share_identity(single)
    assert len({tuple(np.asarray(e.coeffs.id)) for e in shared}) == 1
    for before, after in zip(single, shared, strict=True):
        np.testing.assert_array_equal(before.coeffs.angles, after.coeffs.angles)
    basis = np.asarray(model.id_basis * model.id_std[:, None, None])

    def error_mm(estimate):
        difference = np.asarray(estimate.coeffs.id - true.id)
        return np.linalg.norm(np.tensordot(difference, basis, 1), axis=1).mean()

    errors = [error_mm(e) for e in single]
    assert error_mm(shared[0]) < 0.95 * np.mean(errors)
    # the face that turns away most counts least
    ids = np.stack([e.coeffs.id for e in single])
    assert np.abs(shared[0].coeffs.id - ids.mean(axis=0)).max() > 1e-3


def test_the_photo_ends_where_the_crop_turns_black():
    five = np.array([[20.0, 40], [60, 40], [40, 60], [25, 80], [55, 80]])
    white = np.full((110, 90, 3), 255, np.uint8)
    aligned = align_photo(white, five)
    inside = rec.inside_photo(aligned.transform)
    assert 0.2 < inside.mean() < 0.95
    assert (inside == (aligned.crop[..., 0] > 127)).mean() > 0.99


@pytest.mark.parametrize("image", PHOTOS)
def test_landmarks_of_real_photos_come_back(image):
    photo = rec.read_photo(image)
    given = np.loadtxt(image.with_suffix(".txt"))
    back = photo.aligned.transform.to_photo(photo.aligned.landmarks)
    np.testing.assert_allclose(back, given, atol=1e-6)
    # what the crop shows at a landmark, seen through its box: the originals cut at whole pixels
    left, top, right, bottom = photo.aligned.transform.box
    five = photo.aligned.landmarks
    down = np.stack([five[:, 0], 224 - five[:, 1]], axis=1)
    seen = down / 224 * (right - left, bottom - top) + (left, top) - 0.5
    assert np.abs(seen - given).max() * photo.aligned.transform.scale < 1.5


def test_models_without_a_layout_get_one(model):
    topology = model.topology
    mesh = type(topology.mesh)(topology.mesh.triangles, topology.mesh.num_vertices)
    bare = model.replace(
        topology=type(topology)(
            mesh, topology.landmarks68, topology.landmarks5, topology.masks, (), "bare", "0"
        )
    )
    layout = uv_topology(bare)
    assert layout.uv.shape == (model.num_vertices, 2)
    assert layout.uv.min() >= 0 and layout.uv.max() <= 1
    assert uv_topology(bare) is layout
    # v runs down and u to the image's right
    shape = np.asarray(model.mean_shape)
    assert layout.uv[shape[:, 1].argmax(), 1] < layout.uv[shape[:, 1].argmin(), 1]
    eyes = topology.landmarks68[[36, 45]]
    assert layout.uv[eyes[0], 0] < layout.uv[eyes[1], 0]


def test_bad_commands(folder, tmp_path, capsys):
    photos, out = folder / "photos", tmp_path / "out"
    base = (f"--out={out}", f"--model={folder / 'model.npz'}")
    fit = ("--method=fit", *base)
    assert "needs --weights" in message(capsys, f"--input={photos}", *base)
    assert "needs none" in message(capsys, f"--input={photos}", "--weights=nowhere", *base)
    assert "uses no --weights" in message(capsys, f"--input={photos}", "--weights=x", *fit)
    assert "no such file or folder" in message(capsys, "--input=nowhere", *fit)
    assert "folder of the photos" in message(
        capsys, f"--input={photos}", f"--out={photos}", "--method=fit", base[1]
    )
    (tmp_path / "empty").mkdir()
    assert "no .mat files" in message(capsys, f"--input={tmp_path / 'empty'}", "--nme", *fit)
    assert "no such file" in message(
        capsys, f"--input={photos / 'a.png'}", "--landmarks=nowhere", *fit
    )
    assert "wanted some of glb, obj" in message(capsys, f"--input={photos}", "--outputs=x", *fit)
    assert "texture size 3" in message(capsys, f"--input={photos}", "--texture_size=3", *fit)
    assert "found no images" in message(capsys, f"--input={tmp_path / 'empty'}", *fit)
    assert "found no landmarks" in message(capsys, f"--input={photos / 'c.png'}", *fit)
    assert "not a readable image" in message(capsys, f"--input={photos / 'b.png'}", *fit)
    points = np.loadtxt(photos / "a.txt")
    for name, order, word in (
        ("swapped", [1, 0, 2, 4, 3], "left and right are swapped"),
        ("shuffled", [3, 4, 2, 0, 1], "y down"),
    ):
        write_landmarks(tmp_path / f"{name}.txt", points[order])
        bad = f"--landmarks={tmp_path / name}.txt"
        assert word in message(capsys, f"--input={photos / 'a.png'}", bad, *fit)
    write_landmarks(tmp_path / "six.txt", np.ones((6, 2)))
    bad = f"--landmarks={tmp_path / 'six.txt'}"
    assert "wanted 5 or 68" in message(capsys, f"--input={photos / 'a.png'}", bad, *fit)
    model = ("--method=fit", f"--out={out}")
    one = f"--input={photos / 'a.png'}"
    assert "no face model" in message(capsys, one, "--model=nowhere.npz", *model)
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    assert "an .npz with the arrays" in message(
        capsys, one, f"--model={tmp_path / 'other.npz'}", *model
    )
    assert not out.exists()


def test_landmark_files_in_any_case_and_those_that_disagree(folder, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "a.txt"):
        (photos / name).write_bytes((folder / "photos" / name).read_bytes())
    want = rec.read_photo(photos / "a.png")
    (photos / "a.txt").rename(photos / "a.TXT")
    (photos / "._a.png").write_bytes(b"\0\5\x16\7")
    assert rec.find_inputs(photos) == [photos / "a.png"]
    found = rec.read_photo(photos / "a.png")
    np.testing.assert_array_equal(found.aligned.landmarks, want.aligned.landmarks)
    np.save(photos / "a.npy", np.loadtxt(photos / "a.TXT").T)  # the same, x and y in rows
    found = rec.read_photo(photos / "a.png")
    np.testing.assert_array_equal(found.aligned.landmarks, want.aligned.landmarks)
    np.save(photos / "a.npy", np.loadtxt(photos / "a.TXT") + 4)
    with pytest.raises(ValueError, match="a.TXT and .*a.npy hold different points"):
        rec.read_photo(photos / "a.png")


def test_points_measured_on_the_stored_pixels_of_a_phone(folder, tmp_path, caplog):
    path = folder / "photos" / "a.png"
    want = rec.read_photo(path)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: stored counter-clockwise
    stored = np.ascontiguousarray(np.rot90(np.asarray(Image.open(path).convert("RGB"))))
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    x, y = np.loadtxt(path.with_suffix(".txt")).T
    write_landmarks(tmp_path / "a.txt", np.stack([y, len(stored) - 1 - x], axis=1))
    found = rec.read_photo(tmp_path / "a.png")
    np.testing.assert_array_equal(found.aligned.crop, want.aligned.crop)
    np.testing.assert_allclose(found.aligned.landmarks, want.aligned.landmarks, atol=1e-4)
    assert f"{tmp_path / 'a.png'}: its landmarks were measured on the stored" in caplog.text
    write_landmarks(tmp_path / "a.txt", np.loadtxt(path.with_suffix(".txt")))  # as it is shown
    found = rec.read_photo(tmp_path / "a.png")
    np.testing.assert_array_equal(found.aligned.crop, want.aligned.crop)


def test_no_two_photos_share_a_name_of_files(tmp_path):
    photos = [tmp_path / p for p in ("a.jpg", "A.png", "s/b.jpg", "t/b.jpg", "t/b.png", "t/c.png")]
    names = rec.output_names(photos)
    assert len({n.casefold() for n in names}) == len(names)
    assert names[0] == "a_jpg" and names[1] == "A_png" and names[-1] == "c"
    assert names[2:5] == ["s_b_jpg", "t_b_jpg", "b_png"]
