import numpy as np
import pytest

from facejax.data.sampler import IndexSampler, process_slice


def test_every_epoch_is_a_permutation_and_epochs_differ():
    sampler = IndexSampler(10, seed=3)
    epochs = sampler.indices(0, 40).reshape(4, 10)
    assert epochs.dtype == np.int64
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(10), (4, 1)))
    assert len({tuple(e) for e in epochs}) > 1


@pytest.mark.parametrize("position,count", [(0, 0), (3, 5), (9, 2), (17, 25)])
def test_a_range_is_a_piece_of_the_stream(position, count):
    sampler = IndexSampler(10, seed=3)
    whole = sampler.indices(0, 60)
    np.testing.assert_array_equal(
        sampler.indices(position, count), whole[position : position + count]
    )


def test_pure_in_seed_and_position():
    a, b = IndexSampler(50, seed=1), IndexSampler(50, seed=1)
    b.indices(1000, 3)  # looking elsewhere first changes nothing
    np.testing.assert_array_equal(a.indices(20, 90), b.indices(20, 90))
    assert (a.indices(0, 50) != IndexSampler(50, seed=2).indices(0, 50)).any()


def test_the_result_may_be_written_to():
    sampler = IndexSampler(4, seed=0)
    first = sampler.indices(0, 4)
    expected = first.copy()
    first[:] = -1
    np.testing.assert_array_equal(sampler.indices(0, 4), expected)


def test_processes_cover_the_global_batch_once():
    rows = np.arange(12)
    parts = [rows[process_slice(12, i, 3)] for i in range(3)]
    assert [len(p) for p in parts] == [4, 4, 4]
    np.testing.assert_array_equal(np.concatenate(parts), rows)


def test_bad_input():
    with pytest.raises(ValueError, match="at least one example"):
        IndexSampler(0)
    with pytest.raises(ValueError, match="seed"):
        IndexSampler(3, seed=-1)
    with pytest.raises(ValueError, match="negative"):
        IndexSampler(3).indices(-1, 2)
    with pytest.raises(ValueError, match="10 .* 4 processes"):
        process_slice(10, 0, 4)
    with pytest.raises(ValueError, match="outside"):
        process_slice(8, 4, 4)
