import numpy as np
import pytest

from facejax.systems.tbgan.schedule import PUBLISHED, Schedule

SHORT = Schedule(
    resolution=16,
    initial_resolution=4,
    stage_kimg={4: (0.0, 1.0), 8: (2.0, 3.0), 16: (4.0, 5.0)},
    total_kimg=15.0,
)


def test_stages_fade_and_settle():
    assert SHORT.position(0) == (4, 0.0)
    assert SHORT.position(1000) == (4, 0.0)  # the fade has not begun
    resolution, alpha = SHORT.position(1001)
    assert resolution == 8 and alpha == pytest.approx(0.9995)
    resolution, alpha = SHORT.position(2000)
    assert resolution == 8 and alpha == pytest.approx(0.5)
    assert SHORT.position(3000) == (8, 0.0)
    resolution, alpha = SHORT.position(7000)
    assert resolution == 16 and alpha == pytest.approx(0.75)
    assert SHORT.position(10_000) == (16, 0.0)
    assert SHORT.position(10**9) == (16, 0.0)


def test_lod_falls_monotonically_and_segments_change_at_fades_only():
    images = np.arange(0, 15_000, 50)
    lods = [SHORT.lod(int(i)) for i in images]
    assert (np.diff(lods) <= 0).all()
    segments = [SHORT.segment(int(i)) for i in images]
    assert sorted(set(segments), key=segments.index) == [
        "lod2-2", "lod1-2", "lod1-1", "lod0-1", "lod0-0"
    ]  # fmt: skip


def test_stage_images_add_up():
    assert SHORT.stage_images() == {4: 1000, 8: 5000, 16: 9000}
    assert SHORT.check() is None


def test_published_preset_that_never_finishes_512_is_reported():
    message = Schedule(resolution=512, **PUBLISHED["v2-1gpu"]).check()
    assert "512-pixel layers are never fully trained" in message and "14000" in message
    assert Schedule(resolution=512, **PUBLISHED["v2-4gpus"]).check() is None


def test_learning_rate_decays_to_its_end():
    schedule = Schedule(
        resolution=16, total_kimg=10.0, lr_base=1.0, lr_decay_fraction=0.5, lr_final=0.01
    )
    assert schedule.learning_rate(4_999) == 1.0
    assert schedule.learning_rate(7_500) == pytest.approx(0.1)
    assert schedule.learning_rate(10_000) == pytest.approx(0.01)


def test_batches_are_multiples_of_devices():
    schedule = Schedule(
        resolution=16, minibatch_base=14, num_devices=4, max_minibatch_per_device={16: 2}
    )
    assert schedule.batch_size(8) == 12
    assert schedule.batch_size(16) == 8


@pytest.mark.parametrize("first", [2, 12, 64])
def test_initial_resolution_is_checked(first):
    with pytest.raises(ValueError, match="initial_resolution"):
        Schedule(resolution=32, initial_resolution=first)
