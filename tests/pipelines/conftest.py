import numpy as np
import pytest
from PIL import Image

from facejax.io.images import write_image
from facejax.io.landmarks import write_landmarks
from facejax.recon import decoder
from tests.pipelines.photos import LEFT, SIDE, TOP, WALL
from tests.pipelines.test_fit import draw, saved_model, truth


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return saved_model(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def model(saved):
    return saved[0]


@pytest.fixture(scope="module")
def folder(saved):
    """a.png and a.txt (a rendered face), b.png (no image), c.png (no landmarks), model.npz."""
    model, folder = saved[0], saved[1].parent
    image, mask, landmarks = (np.asarray(a) for a in draw(model, truth(model)))
    image = Image.fromarray(np.uint8(255 * np.where(mask[..., None] > 0, image, WALL).clip(0, 1)))
    image = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32) / 255
    photo = np.full((400, 420, 3), WALL, np.float32)
    photo[TOP : TOP + SIDE, LEFT : LEFT + SIDE] = image
    write_image(folder / "photos" / "a.png", photo)
    points = SIDE / 224 * np.asarray(decoder.five_points(landmarks))
    # continuous points with y up to pixels counted from 0 at the top left
    down = np.stack([points[:, 0] + LEFT, SIDE - points[:, 1] + TOP], axis=1) - 0.5
    write_landmarks(folder / "photos" / "a.txt", down)
    (folder / "photos" / "b.png").write_bytes(b"no image")
    write_image(folder / "photos" / "c.png", photo)
    return folder
