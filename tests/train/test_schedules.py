import numpy as np
import pytest

from facejax.train.schedules import EmaSchedule, LrDecay, ProgressiveSchedule

SHORT = ProgressiveSchedule(
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


def test_learning_rate_decays_to_its_end():
    schedule = ProgressiveSchedule(
        resolution=16, total_kimg=10.0, lr_base=1.0, lr_decay_fraction=0.5, lr_final=0.01
    )
    assert schedule.learning_rate(4_999) == 1.0
    assert schedule.learning_rate(7_500) == pytest.approx(0.1)
    assert schedule.learning_rate(10_000) == pytest.approx(0.01)


def test_batches_are_multiples_of_devices():
    schedule = ProgressiveSchedule(
        resolution=16, minibatch_base=14, num_devices=4, max_minibatch_per_device={16: 2}
    )
    assert schedule.batch_size(8) == 12
    assert schedule.batch_size(16) == 8


@pytest.mark.parametrize("first", [2, 12, 64])
def test_initial_resolution_is_checked(first):
    with pytest.raises(ValueError, match="initial_resolution"):
        ProgressiveSchedule(resolution=32, initial_resolution=first)


def test_tables_of_a_config_are_keyed_by_name():
    fields = {name: {} for name in ("minibatch", "max_minibatch_per_device")}
    tables = {"lr": {"res8": 0.5}, "stage_kimg": {"res4": [0.0, 1.0], "res8": [2.0, 3.0]}}
    found = ProgressiveSchedule.from_config(fields | tables | {"total_kimg": 5.0}, 8)
    assert found.lr == {8: 0.5} and found.stage_kimg == {4: (0.0, 1.0), 8: (2.0, 3.0)}
    assert found.stage_images() == {4: 1000, 8: 4000}


# numbers of what the systems had before they shared these functions
def test_decays_of_moving_averages():
    def decays(schedule, images, batch_size):
        return [schedule.at(i, batch_size) for i in images]

    assert decays(EmaSchedule(), (0, 10**6), 16) == [0.999, 0.999]
    steady = EmaSchedule(half_life_kimg=10.0)
    assert decays(steady, (0, 10**6), 16) == [0.9988915792636801] * 2
    wanted = [
        1.52587890625e-05, 1.52587890625e-05, 0.8010698775896221, 0.9959250590965506,
        0.9988915792636801,
    ]  # fmt: skip
    ramped = EmaSchedule(half_life_kimg=10.0, ramp=0.05)
    assert decays(ramped, (0, 10, 1000, 54321, 10**6), 16) == wanted
    wanted = [0.0, 0.0009765625, 0.9330329915368074, 0.9911669586569076, 0.9955736831881946]
    manifold = EmaSchedule(0.0, 20.0, ramp=0.1, least_images=0.0)
    assert decays(manifold, (0, 128, 12800, 100_000, 10**6), 128) == wanted
    assert EmaSchedule(0.0, ramp=0.1).at(5, 128) == 0.0


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (
            "cosine",
            [0.032, 0.3488090402976647, 0.9193018605184711, 0.9140576474687263, 0.55,
             0.18594235253127372, 0.12202456766718092, 0.10000002220660971, 0.1],
        ),
        ("linear", [0.032, 0.352, 1.0, 1.0, 1.0, 1.0, 0.55, 0.10044999999999982,
                    0.09999999999999998]),
        ("step", [0.032, 0.352, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1]),
        (
            "exponential",
            [0.032, 0.3037684488139735, 0.640324324468947, 0.6309573444801932, 0.31622776601683794,
             0.15848931924611134, 0.12589254117941673, 0.10002302850208247, 0.1],
        ),
        ("constant", [0.032, 0.352, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ],
)  # fmt: skip
def test_learning_rate_factors(kind, wanted):
    decay = LrDecay(kind, final=0.1, start=0.8, ramp_kimg=2.0)
    images = (0, 640, 1936, 2000, 5000, 8000, 9000, 9999, 10_000)
    assert [decay.at(i, 10_000, 64) for i in images] == wanted


def test_the_plain_cosine_ends_at_zero_and_stays_there():
    wanted = [1.0, 0.9995957954759072, 0.7500453436132446, 0.11705632119516363, 0.0, 0.0]
    assert [LrDecay().at(i, 10_000, 64) for i in (0, 128, 3333, 7777, 10_000, 10_100)] == wanted


def test_an_unknown_decay_is_refused():
    with pytest.raises(ValueError, match="schedule.lr_decay is 'plateau'"):
        LrDecay("plateau")
