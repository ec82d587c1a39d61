"""The published parser's view of a face, and the way back."""

import jax.numpy as jnp
import numpy as np

from facejax.systems.disco import parser_warp

SIZE = 64


def face(turn=0.0):
    """68 landmarks, of which those that matter lie where the template has them, y up."""
    points = np.zeros((68, 2), np.float32)
    template = parser_warp._TEMPLATE * (SIZE / 512)
    points[36:42], points[42:48] = template[0], template[1]
    points[[30, 48, 54]] = template[2:]
    c, s = np.cos(turn), np.sin(turn)
    points = (points - SIZE / 2) @ np.array([[c, s], [-s, c]], np.float32) + SIZE / 2
    points[:, 1] = SIZE - points[:, 1]
    return jnp.asarray(points[None])


def smooth_picture():
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    return jnp.asarray(np.stack([x, y, np.sin(6 * x) * y], -1)[None], jnp.float32)


def test_an_upright_face_of_the_templates_shape_is_scaled_alone():
    matrix = parser_warp.similarity(face(), SIZE)
    np.testing.assert_allclose(matrix[0], [[1 / 8, 0, 0], [0, 1 / 8, 0]], atol=1e-3)


def test_the_middle_of_the_parsers_picture_is_the_middle_of_the_template():
    image = smooth_picture()
    seen = parser_warp.to_parser(image, parser_warp.similarity(face(), SIZE))
    assert seen.shape == (1, 512, 512, 3)
    np.testing.assert_allclose(seen[0, 256, 256], image[0, 32, 32], atol=1e-3)
    assert not np.abs(seen[0, [0, -1]]).any()  # the edge of the plane lies outside the picture


def test_what_the_parser_saw_comes_back_where_it_was():
    image = smooth_picture()
    for turn in (0.0, 0.5):
        matrix = parser_warp.similarity(face(turn), SIZE)
        again = parser_warp.from_parser(parser_warp.to_parser(image, matrix), matrix, SIZE)
        inside = (slice(None), slice(8, 56), slice(8, 56))
        np.testing.assert_allclose(again[inside], image[inside], atol=0.02)
