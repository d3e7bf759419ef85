"""The global generators are put back, whatever ends the block."""

import random

import numpy as np
import pytest
import torch

from sk_tune.backend._task_copy import kept_random_states

DRAW = {
    "random": random.random,
    "numpy": np.random.random,
    "numpy, normal": np.random.standard_normal,
    "torch": lambda: torch.rand(()).item(),
}


def _seed():
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


@pytest.mark.parametrize("name", DRAW)
@pytest.mark.parametrize("n_drawn", [1, 3])
def test_numbers_after_the_block_are_those_without_it(name, n_drawn):
    """What is drawn in it, even half a pair of normal numbers, leaves no trace."""
    draw = DRAW[name]
    _seed()
    draw()
    expected = [draw() for _ in range(3)]

    _seed()
    draw()
    with kept_random_states():
        inside = [draw() for _ in range(n_drawn)]
    after = [draw() for _ in range(3)]

    assert inside == expected[:n_drawn]
    assert after == expected


def _draw_and_raise(error):
    with kept_random_states():
        _seed()
        random.random()
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_puts_them_back_too(error):
    """A block that is left by an exception leaves no trace either."""
    _seed()
    expected = [draw() for draw in DRAW.values()]

    _seed()
    with pytest.raises(error):
        _draw_and_raise(error)

    assert [draw() for draw in DRAW.values()] == expected


def test_seeding_in_the_block_is_forgotten():
    """A new seed inside does not outlive it."""
    _seed()
    with kept_random_states():
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002
        torch.manual_seed(5)
    seen = [draw() for draw in DRAW.values()]

    _seed()
    assert seen == [draw() for draw in DRAW.values()]


def test_blocks_in_each_other():
    """The outer block puts back what was before it."""
    _seed()
    with kept_random_states():
        random.random()
        with kept_random_states():
            torch.manual_seed(9)
        np.random.seed(4)  # noqa: NPY002
    seen = [draw() for draw in DRAW.values()]

    _seed()
    assert seen == [draw() for draw in DRAW.values()]
