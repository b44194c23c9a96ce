"""Threads beside the main one: order, errors, and an end without threads that are left."""

import threading
from collections import deque
from itertools import count, islice

import pytest

from spikevrt.restoration.pipeline import ahead, behind


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_items_come_in_order_from_a_thread_that_is_at_most_so_far_ahead():
    taken = []

    def items():
        for i in range(50):
            taken.append(i)
            yield i

    for i in ahead(items(), 3):
        assert taken[-1] <= i + 5  # one in each hand
    assert i == 49


def test_an_endless_reader_stops_with_its_user():
    assert list(islice(ahead(count(), 2), 4)) == [0, 1, 2, 3]


def test_what_a_reader_raises_comes_after_what_it_read():
    def broken():
        yield 1
        yield 2
        raise ValueError("bad frame")

    found = []
    with pytest.raises(ValueError, match="bad frame"):
        found.extend(ahead(broken(), 5))
    assert found == [1, 2]


def test_everything_is_written_in_order_at_the_end():
    written = []
    with behind(written.append, 2) as put:
        for i in range(50):
            put(i)
    assert written == list(range(50))


@pytest.mark.parametrize("more", [0, 20])
def test_what_a_writer_raises_ends_the_work(more):
    written = []

    def write(item):
        if item == 3:
            raise OSError("disk is full")
        written.append(item)

    with pytest.raises(OSError, match="disk is full"), behind(write, 1) as put:
        deque(map(put, range(4 + more)))
    assert written == [0, 1, 2]


def test_after_an_error_of_the_user_nothing_more_is_written():
    gate, written = threading.Event(), []

    def write(item):
        gate.wait()
        written.append(item)

    def interrupted(put):
        put(1)
        put(2)
        threading.Timer(0.1, gate.set).start()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), behind(write, 5) as put:
        interrupted(put)
    assert written in ([], [1])
