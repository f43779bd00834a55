"""One item is loaded ahead, never two."""

import threading

import pytest

from common.inference.ahead import load_ahead


def test_the_next_item_loads_while_the_present_one_is_worked_on():
    started = [threading.Event() for _ in range(4)]

    def load(number):
        started[number].set()
        return number * number

    results = []
    for number, future in load_ahead(range(4), load):
        results.append((number, future.result()))
        if number < 3:
            assert started[number + 1].wait(timeout=5)
        if number < 2:
            assert not started[number + 2].is_set()
    assert results == [(0, 0), (1, 1), (2, 4), (3, 9)]


def test_an_error_belongs_to_its_item():
    def load(number):
        if number == 1:
            raise OSError("gone")
        return number

    found = []
    for number, future in load_ahead(range(3), load):
        if number == 1:
            with pytest.raises(OSError, match="gone"):
                future.result()
        else:
            found.append(future.result())
    assert found == [0, 2]
