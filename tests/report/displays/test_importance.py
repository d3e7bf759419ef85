"""Functional ANOVA of a forest, compared with closed forms and brute force."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeRegressor

from sk_tune._report import HyperparameterImportanceDisplay
from sk_tune._report._parameter_importance import importance_of, variance_shares
from sk_tune._report._search_trials import Parameter, parameters_of


def _uniform(n_rows, n_columns, seed=0):
    X = np.random.default_rng(seed).uniform(size=(n_rows, n_columns))
    columns = [
        Parameter(name=f"p{j}", label=f"p{j}", values=X[:, j]) for j in range(n_columns)
    ]
    return X, columns


def _brute_force(tree, supports):
    """Main and total shares by evaluating the tree at every point of the grid."""
    points = np.array(list(itertools.product(*supports)), dtype=np.float32)
    values = tree.predict(points).reshape([len(s) for s in supports])
    axes = range(values.ndim)
    variance = values.var()
    main = [
        values.mean(axis=tuple(k for k in axes if k != j)).var() / variance for j in axes
    ]
    total = [1 - values.mean(axis=j).var() / variance for j in axes]
    return np.array(main), np.array(total)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    n_columns=st.integers(1, 4),
    n_values=st.integers(1, 5),
    n_rows=st.integers(3, 40),
)
def test_shares_of_a_tree_match_the_whole_grid(seed, n_columns, n_values, n_rows):
    """Sums over leaves equal means and variances over all points of the space."""
    rng = np.random.default_rng(seed)
    # Exact in float32, as the tree compares.
    X = rng.integers(0, 16, size=(n_rows, n_columns)) / 16
    tree = DecisionTreeRegressor(random_state=0).fit(X, rng.normal(size=n_rows))
    supports = [rng.choice(16, n_values, replace=False) / 16 for _ in range(n_columns)]

    main, total = variance_shares(tree, supports)

    points = np.array(list(itertools.product(*supports)), dtype=np.float32)
    if np.ptp(tree.predict(points)) == 0:
        assert np.isnan(main).all()
        return
    expected_main, expected_total = _brute_force(tree, supports)
    np.testing.assert_allclose(main, expected_main, atol=1e-9)
    np.testing.assert_allclose(total, expected_total, atol=1e-9)


def test_an_additive_function_has_the_shares_of_its_terms():
    """Of 3 a + 2 b + c over the cube the shares are 9/14, 4/14 and 1/14."""
    X, columns = _uniform(300, 4)
    scores = X @ [3.0, 2.0, 1.0, 0.0]

    importance = importance_of(columns, scores)

    # Trees are steps; the tolerance is what they are off by at 300 trials.
    np.testing.assert_allclose(importance.main, [9 / 14, 4 / 14, 1 / 14, 0], atol=0.06)
    assert importance.order[:3] == [0, 1, 2]
    assert importance.is_conclusive
    assert importance.r2 > 0.9
    assert importance.noise < 0.02
    assert importance.message.startswith("p0 matters most: ")
    # Nothing depends on numpy's global state.
    again = importance_of(columns, scores, n_permutations=0)
    np.testing.assert_array_equal(importance.total, again.total)


def test_an_interaction_in_trials_has_the_share_of_its_closed_form():
    """Of (a and b) + c / 2, each 0 or 1, all main shares and the interaction are 1/4."""
    X = np.random.default_rng(0).integers(2, size=(300, 3)).astype(float)
    columns = [Parameter(name=n, label=n, values=X[:, j]) for j, n in enumerate("abc")]
    scores = X[:, 0] * X[:, 1] + X[:, 2] / 2

    importance = importance_of(columns, scores, n_permutations=0)

    # Trees are exact on eight points, but for what they split on random numbers.
    np.testing.assert_allclose(importance.main, [0.25, 0.25, 0.25], atol=0.03)
    np.testing.assert_allclose(importance.total, [0.5, 0.5, 0.25], atol=0.03)


def test_categories_and_logarithms_count_as_they_are_drawn():
    """A step of 1 between two categories and a slope of 1 in the logarithm: 3/4 and 1/4."""
    rng = np.random.default_rng(0)
    rates, kinds = rng.uniform(-4, 0, 300), rng.integers(2, size=300)
    rows = [{"rate": 10.0**r, "kind": "ab"[k]} for r, k in zip(rates, kinds, strict=True)]
    scores = kinds + (rates + 4) / 4

    importance = importance_of(parameters_of(rows), scores)

    # Variances: 1/4 of the step, 1/12 of the slope.
    shares = dict(zip(importance.labels, importance.main, strict=True))
    assert shares == pytest.approx({"rate": 1 / 4, "kind": 3 / 4}, abs=0.04)


@pytest.mark.slow
def test_random_scores_allow_a_conclusion_in_a_twentieth_of_searches():
    """The permutation test keeps its level, however few the trials."""
    conclusive, n_rows = 0, 8
    for seed in range(40):
        _, columns = _uniform(n_rows, 3, seed)
        scores = np.random.default_rng(1000 + seed).normal(size=n_rows)
        own = importance_of(columns, scores, n_trees=2, random_state=seed)
        conclusive += own.is_conclusive

    # More than 6 of 40 happen in 0.3 % of cases at a level of 5 %.
    assert conclusive <= 6


@pytest.mark.parametrize(
    "scores", [[0.5], [0.5, 0.7, 0.6, np.nan], [0.4] * 9, [np.nan] * 9]
)
def test_too_few_or_equal_scores_are_inconclusive(scores):
    """Shares are 0, without a warning."""
    _, columns = _uniform(len(scores), 2)

    importance = importance_of(columns, np.array(scores))

    assert importance.total.tolist() == [0.0, 0.0]
    assert not importance.is_conclusive
    assert "No conclusion" in importance.message


def test_resources_of_rungs_do_not_affect_importance():
    """Shares are computed for the largest number of epochs."""
    X, columns = _uniform(60, 2)
    # Each configuration has a rung of 1 and one of 9 epochs; at 9 only p1 matters.
    values = [
        Parameter(name=c.name, label=c.label, values=np.tile(c.values, 2)) for c in columns
    ]
    scores = np.concatenate([3 * X[:, 0] - 10, X[:, 1]])

    importance = importance_of(
        values,
        scores,
        configurations=np.tile(np.arange(60), 2),
        n_resources=np.repeat([1, 9], 60),
    )

    assert importance.labels[importance.order[0]] == "p1"
    assert importance.main[1] > 0.8
    assert importance.n_trials == 60


def test_one_extreme_score_does_not_dominate():
    """A score of -1e9 counts as the lowest ordinary score."""
    X, columns = _uniform(80, 2)
    scores = X[:, 0].copy()
    scores[np.argmax(X[:, 1])] = -1e9

    importance = importance_of(columns, scores)

    assert importance.labels[importance.order[0]] == "p0"
    assert importance.main[0] > 0.8


def _slope(made, n_rows=30, n_parameters=2):
    rng = np.random.default_rng(0)
    rows = [
        {f"p{j}": float(v) for j, v in enumerate(values)}
        for values in rng.uniform(size=(n_rows, n_parameters))
    ]
    return made(rows, [row["p1"] for row in rows])


def test_bars_are_the_shares_the_most_important_first(made):
    """Widths and names match the computation."""
    display = HyperparameterImportanceDisplay.from_search(_slope(made))

    expected, order = display.importance, display.importance.order
    total = [bar.get_width() for bar in display.total_bars_]
    main = [bar.get_width() for bar in display.main_bars_]
    np.testing.assert_array_equal(total, expected.total[order])
    np.testing.assert_array_equal(main, expected.main[order])
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["p1", "p0"]
    assert display.noise_line_.get_xdata()[0] == expected.noise
    assert display.ax_.get_title(loc="left").startswith("p1 matters most")
    many = HyperparameterImportanceDisplay.from_search(
        _slope(made, n_parameters=8), max_parameters=3
    )
    assert len(many.total_bars_) == 3


def test_without_a_conclusion_no_bars_are_drawn_and_the_title_says_so(made):
    """Long bars would contradict the title."""
    rows = [{"p0": float(i), "p1": float(i % 3)} for i in range(12)]
    scores = np.random.default_rng(2).normal(size=12)

    display = HyperparameterImportanceDisplay.from_search(made(rows, scores))

    assert not display.importance.is_conclusive
    assert display.total_bars_ is display.main_bars_ is display.noise_line_ is None
    assert not display.ax_.patches
    assert not display.ax_.lines
    assert {t.get_text() for t in display.ax_.get_yticklabels()} == {"p0", "p1"}
    assert "no bars" in display.ax_.texts[0].get_text()
    assert display.ax_.get_title(loc="left").startswith("No conclusion: 12 candidates")


def test_long_names_leave_room_for_bars(made):
    """At 4 x 3 inches bars take at least a quarter of the width."""
    rows = [{f"net__optimizer__{'long_' * 8}{i}": 1.0 for i in range(3)} for _ in range(6)]
    for number, row in enumerate(rows):
        row.update(dict.fromkeys(row, float(number)))
    ax = plt.subplots(figsize=(4, 3), layout="constrained")[1]

    display = HyperparameterImportanceDisplay.from_search(made(rows, np.arange(6.0)), ax=ax)
    display.figure_.canvas.draw()

    assert display.ax_.get_window_extent().width > display.figure_.bbox.width / 4


def test_conditional_parameters_and_rungs_are_supported(hyperband):
    """Every parameter of the space has a bar."""
    display = HyperparameterImportanceDisplay.from_search(hyperband)

    names = {t.get_text() for t in display.ax_.get_yticklabels()}
    assert names == {"dropout", "learning_rate", "momentum", "optimizer"}
