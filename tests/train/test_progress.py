import pytest

from facejax.train import progress
from facejax.train.progress import Stopwatch, format_duration, stage_images
from facejax.train.system import Stage
from tests.train.toy import ToySystem, toy_config

SMALL = Stage("16x16", 8, (("resolution", 16),))
LARGE = Stage("64x64", 8, (("resolution", 64),))


def test_stage_images_cover_the_run_from_anywhere():
    system = ToySystem(toy_config())
    assert {s.name: n for s, n in stage_images(system).items()} == {"one": 96, "two": 144}
    assert {s.name: n for s, n in stage_images(system, 160).items()} == {"two": 80}
    assert stage_images(system, 240) == {}


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_time_left_uses_each_stage_s_speed_and_scales_what_is_not_measured(clock):
    watch = Stopwatch()
    assert watch.seconds_left({SMALL: 1000}) is None
    clock[0] += 12.0
    watch.exclude(2.0)  # a compilation
    assert watch.lap(SMALL, 1000) == pytest.approx(10.0)
    assert watch.seconds_left({SMALL: 500, LARGE: 1000}) == pytest.approx(5 + 10 * 4**1.5)
    clock[0] += 30.0
    watch.lap(LARGE, 1000)
    assert watch.seconds_left({SMALL: 500, LARGE: 1000}) == pytest.approx(5 + 30)


@pytest.mark.parametrize(
    "seconds, text", [(12.4, "12s"), (200, "3m 20s"), (3900, "1h 05m"), (183600, "2d 03h")]
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text
