"""Random candidates, against scikit-learn's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.model_selection import ParameterSampler

from sk_tune.sampler import RandomSampler
from sk_tune.space import as_space

ENDLESS = [{"a": stats.uniform(), "b": [1, 2]}, {"a": stats.randint(0, 9), "c": ["x"]}]


@given(batches=st.lists(st.integers(1, 5), max_size=6), seed=st.integers(0, 1000))
def test_batches_do_not_change_what_is_drawn(batches, seed):
    """Asked for in any batches, candidates of distributions are ParameterSampler's."""
    sampler = RandomSampler(as_space(ENDLESS), seed)

    asked = [candidate for n in batches for candidate in sampler.ask(n)]

    assert asked == list(ParameterSampler(ENDLESS, sum(batches), random_state=seed))


@pytest.mark.parametrize("n_points", [1, 5, 12])
def test_lists_are_drawn_as_scikit_learn_draws_them(n_points):
    """The first candidates asked for are those of ParameterSampler."""
    grid = {"b": [1, 2, 3], "a": ["x", "y", "z", None]}

    asked = RandomSampler(as_space(grid), 3).ask(n_points)

    assert asked == list(ParameterSampler(grid, n_points, random_state=3))


def test_scores_change_nothing():
    """What is told does not influence what is drawn."""
    told, untold = (RandomSampler(as_space(ENDLESS), 0) for _ in range(2))

    told.tell(told.ask(3), [1.0, 2.0, 3.0], n_resources=9)
    untold.ask(3)

    assert told.ask(5) == untold.ask(5)
