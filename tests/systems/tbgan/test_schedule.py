from facejax.systems.tbgan.schedule import PUBLISHED
from facejax.train.schedules import ProgressiveSchedule


def test_published_preset_that_never_finishes_512_is_reported():
    message = ProgressiveSchedule(resolution=512, **PUBLISHED["v2-1gpu"]).check()
    assert "512-pixel layers are never fully trained" in message and "14000" in message
    assert ProgressiveSchedule(resolution=512, **PUBLISHED["v2-4gpus"]).check() is None
