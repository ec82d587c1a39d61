import json

import jax.numpy as jnp
import numpy as np
import pytest

from facejax.io.tfrecord import read_records
from facejax.train.logging import MetricAverages, RunWriter, truncate_lines


def events(folder):
    """What TensorBoard would show of a run."""
    from tensorboardX.proto.event_pb2 import Event

    for path in (folder / "tensorboard").iterdir():
        for record in read_records(path):
            yield from Event.FromString(record).summary.value


def _feed(averages, rows):
    for row in rows:
        averages.update({name: jnp.float32(value) for name, value in row.items()})


ROWS = [{"a": 1.0}, {"a": 2.0, "b": 5.0}, {"a": np.nan}, {"a": 6.0, "b": np.inf}, {"a": 0.1}]


def test_means_ignore_missing_and_not_finite_values_and_start_afresh():
    averages = MetricAverages()
    _feed(averages, ROWS)
    means = averages.fetch()
    assert means == pytest.approx({"a": (1 + 2 + 6 + 0.1) / 4, "b": 5.0})
    assert averages.fetch() == {}
    _feed(averages, [{"a": np.nan}])
    assert averages.fetch() == {}


@pytest.mark.parametrize("cut", [0, 1, 2, 4])
def test_a_window_survives_a_checkpoint_exactly(cut):
    whole = MetricAverages()
    _feed(whole, ROWS)
    first, second = MetricAverages(), MetricAverages()
    _feed(first, ROWS[:cut])
    state = json.loads(json.dumps(first.state()))
    second.load(state, lambda tree: tree)
    _feed(second, ROWS[cut:])
    assert second.fetch() == whole.fetch()


def test_truncation_drops_later_and_torn_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    truncate_lines(path, 3)
    assert not path.exists()
    path.write_text('{"step": 2}\n{"step": 4}\n{"step": 6}\n{"ste')
    truncate_lines(path, 4)
    assert path.read_text() == '{"step": 2}\n{"step": 4}\n'


def test_writer_writes_lines_pictures_and_events(tmp_path):
    picture = np.full((4, 5, 3), 7, np.uint8)
    with RunWriter(tmp_path) as writer:
        writer.scalars(3, {"loss": 0.5, "stage": "one"})
        writer.images(3, 12, {"fakes": picture})
        writer.histograms(3, {"weights": np.array([[0.0, 1.0], [1.0, np.nan]]), "none": []})
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line == {"step": 3, "loss": 0.5, "stage": "one"}
    from facejax.io.images import read_image

    got = read_image(tmp_path / "samples" / "fakes-000012.png")
    np.testing.assert_allclose(got * 255, picture, atol=1e-4)
    found = {value.tag: value for value in events(tmp_path)}
    assert set(found) == {"loss", "fakes", "weights"}
    assert found["loss"].simple_value == 0.5 and found["fakes"].image.width == 5
    assert (found["weights"].histo.num, found["weights"].histo.sum) == (3, 2)
    with RunWriter(tmp_path, step=2):
        pass
    assert (tmp_path / "metrics.jsonl").read_text() == ""
