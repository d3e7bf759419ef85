"""Codes of values, and values drawn at random, against closed forms and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.svm import SVC

from sk_tune._space import Distribution, Range, Values

UNIT = st.floats(0.0, 1.0, exclude_max=True)
N_DRAWS = 2000


@pytest.mark.parametrize("is_log", [False, True])
@given(low=st.integers(-100, 100), width=st.integers(1, 10_000), code=UNIT)
def test_integers_keep_their_value_through_codes(is_log, low, width, code):
    """Decoding is inverse to encoding, and snapping is encoding the value of a code."""
    low = max(low, 1) if is_log else low
    integers = Range(low, low + width, is_log=is_log, is_integer=True)
    value = integers.decode(code)

    assert type(value) is int
    assert low <= value <= low + width
    assert integers.decode(integers.encode(value)) == value
    assert integers.snap(np.array([code]))[0] == pytest.approx(integers.encode(value))


@given(low=st.floats(1e-6, 1e6), factor=st.floats(1.001, 1e6), code=UNIT)
def test_intervals_keep_their_value_through_codes(low, factor, code):
    """Both scales are inverse to themselves, and keep to the bounds."""
    for is_log in (False, True):
        interval = Range(low, low * factor, is_log=is_log)
        value = interval.decode(code)

        assert low <= value <= low * factor
        assert interval.encode(value) == pytest.approx(code, abs=1e-6)


DISTRIBUTIONS = [
    stats.uniform(2, 3),
    stats.loguniform(1e-4, 1.0),
    stats.norm(1, 2),
    stats.randint(3, 9),
    stats.poisson(2.5),
    stats.binom(5, 0.3),
    stats.expon(),
]


def _name(frozen):
    return frozen.dist.name


@pytest.mark.parametrize("frozen", DISTRIBUTIONS, ids=_name)
def test_codes_of_a_distribution_are_its_quantiles(frozen):
    """Uniform codes are values distributed as the distribution's own."""
    dimension = Distribution(frozen)
    codes = (np.arange(N_DRAWS) + 0.5) / N_DRAWS
    values = np.array([dimension.decode(code) for code in codes])

    for quantile in (0.1, 0.5, 0.9):
        value = frozen.ppf(quantile)
        assert np.mean(values <= value) == pytest.approx(frozen.cdf(value), abs=2e-3)


@pytest.mark.parametrize("frozen", DISTRIBUTIONS, ids=_name)
def test_drawn_values_keep_their_value_through_codes(frozen):
    """Values of `rvs` become Python numbers and survive encoding."""
    dimension = Distribution(frozen)
    rng = np.random.RandomState(0)

    for _ in range(50):
        value = dimension.sample(rng)
        assert type(value) in {int, float}
        assert dimension.decode(dimension.encode(value)) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("frozen", DISTRIBUTIONS, ids=_name)
def test_every_code_is_a_finite_value(frozen):
    """The ends of the interval of codes are values too, of distributions without end."""
    dimension = Distribution(frozen)

    assert np.isfinite([dimension.decode(0.0), dimension.decode(1.0)]).all()


def test_a_discrete_distribution_counts_its_values():
    """Only a bounded one has a number of values; codes are the middles of steps."""
    assert [Distribution(stats.randint(3, 5)).encode(n) for n in (3, 4)] == [0.25, 0.75]
    assert Distribution(stats.randint(3, 9)).n_points == 6
    assert Distribution(stats.rv_discrete(values=([1, 10], [0.5, 0.5]))).n_points == 2
    assert Distribution(stats.poisson(2)).n_points is None
    assert Distribution(stats.randint(0, 10**9)).n_points == 10**9


class OnlyRvs:
    """A distribution of the user's own."""

    def rvs(self, random_state=None):
        return np.float64(random_state.uniform())


def test_an_object_that_only_draws_has_no_codes():
    """Its values still become Python numbers."""
    dimension = Distribution(OnlyRvs())

    assert not dimension.has_codes
    assert type(dimension.sample(np.random.RandomState(0))) is float


VALUES = [
    (4, 8),
    [1],
    {"a": 1},
    None,
    True,
    1,
    1.5,
    "text",
    np.tanh,
    lambda x: x,
    SVC(),
    np.arange(3),
    np.arange(2),
    float("nan"),
]


def test_values_of_any_kind_are_categories_and_come_back_themselves():
    """The same objects are returned; True and 1 are distinguished."""
    dimension = Values(VALUES)

    assert dimension.n_categories == len(VALUES)
    for index, value in enumerate(VALUES):
        assert dimension.encode(value) == index
        assert dimension.decode(float(index)) is value


def test_equal_values_are_found_where_the_object_is_another():
    """A candidate that was stored and read again is still known."""
    dimension = Values([(4, 8), {"a": [1]}, np.arange(3), "b"])

    assert dimension.encode((4, 8)) == 0
    assert dimension.encode({"a": [1]}) == 1
    assert dimension.encode(np.arange(3)) == 2
    with pytest.raises(LookupError):
        dimension.encode((8, 4))


def test_numbers_in_a_list_are_ordered_by_rank():
    """Codes are the middles of equal parts, in order of the numbers, not of the list."""
    dimension = Values([64, 16, 32])

    assert dimension.n_categories == 0
    assert [dimension.encode(v) for v in (16, 32, 64)] == pytest.approx([1 / 6, 0.5, 5 / 6])
    assert [dimension.decode(c) for c in (0.0, 0.4, 1.0)] == [16, 32, 64]


@pytest.mark.parametrize("values", [[1, None], ["1", 2], [True, False], [1.0, np.inf], [7]])
def test_other_lists_have_no_order(values):
    """None, text, booleans and infinities are not numbers; one value needs no order."""
    assert Values(values).n_categories == len(values)


def test_a_range_is_not_listed():
    """A range of a billion numbers takes no memory, forwards and backwards."""
    forwards, backwards = Values(range(10**9)), Values(range(10**9 - 1, -1, -1))

    for dimension in (forwards, backwards):
        assert dimension.n_points == 10**9
        assert dimension.decode(dimension.encode(123_456_789)) == 123_456_789
    assert forwards.at(5) == backwards.at(10**9 - 6)


def test_numpys_numbers_become_pythons():
    """Elements of arrays do not reach estimators as numpy scalars."""
    kinds = [np.array([1, 2]), np.array([0.5, 1.0]), np.array([True]), np.array(["a"])]

    assert [type(Values(v).at(0)) for v in kinds] == [int, float, bool, str]


def test_weights_say_how_often_a_value_is_drawn():
    """With weights 3 to 1, three quarters of the draws are the first value."""
    dimension = Values(["a", "b"], weights=(0.75, 0.25))
    rng = np.random.RandomState(0)

    drawn = [dimension.sample(rng) for _ in range(N_DRAWS)]

    # Five standard deviations.
    assert np.mean(np.array(drawn) == "a") == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize("values", [["a", "b", "c"], [2, 3, 1]])
def test_uniform_numbers_are_spread_by_weights(values):
    """Each value gets its share of the interval, whether values have an order or none."""
    dimension = Values(values, weights=(0.75, 0.25, 0.0))

    codes = dimension.spread((np.arange(100) + 0.5) / 100)

    drawn = [dimension.decode(code) for code in codes]
    assert [drawn.count(value) for value in values] == [75, 25, 0]


@pytest.mark.parametrize("value", [-1, 11, 2.5, "3", None, True, float("nan")])
@pytest.mark.parametrize("dimension", [Range(0, 10, is_integer=True), Values([0, 5, 10])])
def test_what_is_not_among_the_values_has_no_code(dimension, value):
    """The space raises an error that names the parameter."""
    with pytest.raises(LookupError):
        dimension.encode(value)


def test_a_bound_that_was_rounded_is_inside():
    """A value that left the interval by the last digit is at its end."""
    assert Range(0.1, 0.3).encode(np.nextafter(0.3, 1)) == 1.0
    with pytest.raises(LookupError):
        Range(0.1, 0.3).encode(0.31)


@pytest.mark.parametrize("dimension", [Range(0, 1), Distribution(stats.norm())])
def test_what_is_not_listed_has_no_index(dimension):
    """Asking for a value by its index is an error."""
    with pytest.raises(IndexError):
        dimension.at(0)
