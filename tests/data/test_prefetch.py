import gc
import threading

import pytest

from facejax.data.prefetch import Prefetcher


def prefetch_threads():
    return [t for t in threading.enumerate() if t.name == "prefetch" and t.is_alive()]


def test_order_and_end():
    with Prefetcher(lambda step: step * step, start=2, stop=7) as batches:
        assert list(batches) == [4, 9, 16, 25, 36]
        with pytest.raises(StopIteration):
            next(batches)


def test_the_queue_is_bounded():
    made, third = [], threading.Event()

    def load(step):
        made.append(step)
        if len(made) == 3:
            third.set()
        return step

    with Prefetcher(load, depth=2) as batches:
        assert not third.wait(0.1)
        assert made == [0, 1]
        assert next(batches) == 0
        assert third.wait(5)


def test_batches_before_an_error_arrive_then_the_error_itself():
    def load(step):
        if step == 2:
            raise KeyError("broken file")
        return step

    with Prefetcher(load, depth=4) as batches:
        assert next(batches) == 0
        assert next(batches) == 1
        with pytest.raises(KeyError, match="broken file"):
            next(batches)
        with pytest.raises(StopIteration):
            next(batches)


def test_close_in_the_middle_leaves_no_thread():
    before = len(prefetch_threads())
    for _ in range(5):
        batches = Prefetcher(lambda step: bytearray(100), depth=3)
        next(batches)
        batches.close()
        batches.close()
        with pytest.raises(StopIteration):
            next(batches)
    assert len(prefetch_threads()) == before


def test_a_forgotten_prefetcher_stops_its_thread():
    batches = Prefetcher(lambda step: step)
    next(batches)
    thread = batches._thread
    del batches
    gc.collect()
    thread.join(timeout=5)
    assert not thread.is_alive()


def test_depth_must_be_positive():
    with pytest.raises(ValueError, match="depth"):
        Prefetcher(lambda step: step, depth=0)
