"""How many threads pay."""

import threading

import numpy as np
import pytest
import torch
from scipy import sparse

from sk_tune.engine import is_small, one_thread
from sk_tune.training import TrainingState


def _state(*shapes):
    weights = {str(i): np.zeros(shape, np.float32) for i, shape in enumerate(shapes)}
    return TrainingState(seed=0, weights=weights, moments={})


@pytest.mark.parametrize(
    ("shapes", "n_rows", "expected"),
    [
        ([(64, 64), (64,)], 1000, True),
        ([(64, 64), (64,)], 100_000, False),
        ([(4096, 4096)], 100, False),
        ([(8, 1, 3, 3)], 10, False),
    ],
    ids=["few rows", "many rows", "wide", "convolution"],
)
def test_small_is_what_multiplies_few_numbers(shapes, n_rows, expected):
    """Rows times weights decide; layers that use a weight more than once are not small."""
    assert is_small(_state(*shapes), np.zeros((n_rows, 3))) is expected


def test_sparse_rows_are_counted_as_others():
    """They have a shape, and no length."""
    assert is_small(_state((64, 64)), sparse.csr_array((1000, 64)))


def test_what_has_more_axes_is_not_small():
    """A recurrent layer uses its weights at every step of a sequence."""
    assert not is_small(_state((4, 4)), np.zeros((2, 5, 4)))


@pytest.mark.parametrize(("wanted", "inside"), [(True, 1), (False, 2)])
def test_threads_are_given_back_after_an_error(wanted, inside):
    """In the block torch has one thread if that is wanted; afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyError), one_thread(wanted=wanted):
            raise KeyError(torch.get_num_threads())
        assert torch.get_num_threads() == 2
        with one_thread(wanted=wanted):
            assert torch.get_num_threads() == inside
    finally:
        torch.set_num_threads(before)


def test_threads_that_shards_share_leave_torch_its_number():
    """A thread that begins while another is in its block finds 1, which is not to stay."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    inside, left = threading.Event(), threading.Event()
    found = []

    def first():
        with one_thread():
            inside.set()
            left.wait(10)

    def second():
        inside.wait(10)
        with one_thread(), one_thread():
            found.append(torch.get_num_threads())
            left.set()
            threads[0].join(10)
        found.append(torch.get_num_threads())

    threads = [threading.Thread(target=run) for run in (first, second)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        third = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        third.start()
        third.join(10)
        assert found == [1, 2, 2]
    finally:
        torch.set_num_threads(before)
