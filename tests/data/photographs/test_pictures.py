"""What the device makes of numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.data.photographs import SCENES, PictureRanges, draw_picture, scene, take_picture
from facejax.image.sensor import undevelop

SIZE = 32


@pytest.fixture(scope="module")
def take():
    return jax.jit(take_picture)


@pytest.fixture(scope="module")
def head():
    """A grey disk in the middle, over black, with its coverage."""
    place = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    inside = (place[:, None] ** 2 + place[None] ** 2 < 0.09).astype(np.float32)
    return jnp.asarray(np.stack([0.3 * inside] * 3 + [inside], axis=-1))


def numbers(seed=0, **changes):
    """Of an ideal picture in neutral light; changes replace some."""
    out = draw_picture(np.random.default_rng(seed), PictureRanges().ideal())
    out |= {"gain": np.ones(3, np.float32), "defocus": np.float32(0)}
    return out | {k: np.asarray(v, np.asarray(out[k]).dtype) for k, v in changes.items()}


BEHIND = jnp.asarray(np.random.default_rng(0).uniform(0.05, 0.6, (SIZE, SIZE, 3)), jnp.float32)
KEY = jax.random.key(3)


def test_an_ideal_camera_shows_head_and_background_as_they_are(take, head):
    photo = take(head, numbers(), KEY, BEHIND)
    light = np.asarray(undevelop(photo.image))
    inside = np.asarray(head[..., 3]) == 1
    np.testing.assert_allclose(light[inside], 0.3, atol=1e-4)
    np.testing.assert_allclose(light[~inside], np.asarray(BEHIND)[~inside], atol=1e-4)
    assert not np.asarray(photo.covered).any()


def test_the_same_key_gives_the_same_picture_and_another_one_another(take, head):
    noisy = numbers(noise=0.05)
    first, again = (take(head, noisy, KEY, BEHIND).image for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = take(head, noisy, jax.random.key(4), BEHIND).image
    assert np.abs(np.asarray(first - other)).mean() > 0.01


@pytest.mark.parametrize(
    "fault",
    [
        dict(blur_px=4.0), dict(sharpness=0.3), dict(quality=15.0), dict(noise=0.08),
        dict(vignette=0.5), dict(tone=[-0.4, 1.0, 1.0]), dict(defocus=0.05), dict(gain=[2, 1, 0.5]),
    ],
    ids=lambda d: next(iter(d)),
)  # fmt: skip
def test_each_fault_does_what_it_says(take, head, fault):
    plain = np.asarray(take(head, numbers(), KEY, BEHIND).image)
    worse = np.asarray(take(head, numbers(**fault), KEY, BEHIND).image)
    (name,) = fault

    def roughness(x):
        return np.abs(np.diff(x, axis=0)).mean()

    assert np.isfinite(worse).all() and 0 <= worse.min() and worse.max() <= 1
    if name in ("blur_px", "sharpness"):
        assert roughness(worse) < 0.7 * roughness(plain)
        np.testing.assert_allclose(worse.mean(), plain.mean(), atol=0.03)
    elif name == "defocus":  # of the background alone
        inside = np.asarray(head[..., 3]) == 1
        np.testing.assert_array_equal(worse[inside], plain[inside])
        assert roughness(worse) < 0.7 * roughness(plain)
    elif name == "noise":
        assert roughness(worse[12:20, 12:20]) > roughness(plain[12:20, 12:20]) + 0.02
    elif name == "quality":
        assert 0.01 < np.abs(worse - plain).mean() < 0.2
    elif name == "vignette":
        assert worse[0, 0].sum() < 0.85 * plain[0, 0].sum()
        np.testing.assert_allclose(worse[15, 15], plain[15, 15], atol=0.01)
    elif name == "gain":  # of the light on the head; scenes have lamps of their own
        assert worse[16, 16, 0] > plain[16, 16, 0] and worse[16, 16, 2] < plain[16, 16, 2]
        np.testing.assert_allclose(worse[0, 0], plain[0, 0], atol=1e-4)
    else:
        assert (worse <= plain + 1e-6).all() and worse.mean() < plain.mean()


def test_occluders_are_where_they_say(take, head):
    left = take(head, numbers(bars=[0.25, 0, 0, 0, 1, 0, 0]), KEY, BEHIND)
    covered = np.asarray(left.covered)
    assert (covered[:, : SIZE // 4] == 1).all() and not covered[:, SIZE // 4 :].any()
    np.testing.assert_allclose(left.image[5, 3], [1, 0, 0], atol=0.12)  # the shoulder of highlights
    blob = [0.5, 0.5, 0.15, 0.15, 0.3, 2.0, 0.1, 0.9, 0.1]
    middle = take(head, numbers(blob=blob), KEY, BEHIND)
    covered = np.asarray(middle.covered)
    assert covered[SIZE // 2, SIZE // 2] == 1 and covered[2, 2] == 0
    assert 0.03 < covered.mean() < 0.12
    assert middle.image[SIZE // 2, SIZE // 2].argmax() == 1
    around = take(head, numbers(cover=[1, 1.2, 0.1, 0.1, 0.8]), KEY, BEHIND)
    covered = np.asarray(around.covered)
    assert covered[0, 0] == 1 and covered[SIZE // 2, SIZE // 2] == 0
    changed = np.abs(np.asarray(around.image - take(head, numbers(), KEY, BEHIND).image)).max(-1)
    assert not changed[covered == 0].any()


def test_scenes_are_light_of_their_kind():
    make = jax.jit(scene, static_argnames="size")
    pictures = {}
    for kind, name in enumerate(SCENES):
        for seed in range(4):
            weights = tuple(float(k == kind) for k in range(len(SCENES)))
            n = draw_picture(np.random.default_rng(seed), PictureRanges(scenes=weights))
            assert n["scene_kind"] == kind
            light = np.asarray(make(n, jax.random.key(seed), size=SIZE))
            assert light.shape == (SIZE, SIZE, 3) and np.isfinite(light).all() and light.min() >= 0
            assert light.std() > 1e-3, name
            pictures.setdefault(name, []).append(light)
    for name, four in pictures.items():
        assert np.abs(four[0] - four[1]).mean() > 0.02, name
    for light in pictures["outdoors"]:  # sky over leaves
        assert light[:3].mean() > light[-3:].mean()
