# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Checks across all candidates of a search."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import loguniform, randint, uniform
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sk_tune import GridSearchCV, MLPClassifier, NetClassifier
from sk_tune._diagnosis import apply_remedies
from sk_tune._search_record import INTERRUPTED, LEFT_OUT, UNSCORED, SearchRecord

PARAMS = [{"width": 2**k} for k in range(6)]
FOLDS = np.array([-0.02, 0.0, 0.01, 0.03, -0.02])
RISING = 0.8 + FOLDS + np.arange(6)[:, None] * 0.01


@pytest.fixture(scope="session")
def ceiling(make_search, shapes):
    """Return a function that runs the check for a noise ceiling."""
    return lambda params, scores, **rest: shapes.found(
        "noise ceiling", make_search(params, scores, **rest)
    )


@pytest.fixture(scope="session")
def edge(shapes):
    """Return a function that runs the check of the edges of a search's space."""
    return lambda search: shapes.found("optimum at the edge", search)


def test_differences_beyond_the_folds_noise_are_detected(ceiling):
    """A hard fold is hard for all candidates and does not hide differences."""
    rng = np.random.default_rng(0)
    by_chance = ceiling(PARAMS, 0.8 + 0.02 * rng.normal(size=(6, 5)))
    shared = ceiling(PARAMS, RISING)

    assert (by_chance.code, by_chance.outcome) == ("SKT111", "tip")
    assert by_chance.evidence["alike"] >= 0.8
    assert (shared.outcome, shared.evidence["alike"]) == ("passed", 0.0)


def test_it_is_the_corrected_t_test(ceiling):
    """Just below and above the limit of Nadeau and Bengio."""
    # Differences d with mean 1 and standard deviation s are significant at 5 % on 5 folds
    # if 1 / (s * sqrt(1/5 + 1/4)) exceeds 2.1318, a quantile of Student's table.
    base = np.array([-1.0, -1.0, 0.0, 1.0, 1.0])
    base /= base.std(ddof=1)
    limit = 1 / (2.1318 * math.sqrt(1 / 5 + 1 / 4))
    for spread, alike in ((0.99 * limit, 0.0), (1.01 * limit, 1.0)):
        others = np.zeros((6, 5))
        others[0] = 1 + spread * base

        assert ceiling(PARAMS, others).evidence["alike"] == alike


def test_repeated_folds_are_not_independent(ceiling):
    """Ten times five folds count as the corrected t-test allows."""
    # As above, with 49 degrees of freedom (quantile 1.6766) and the variance 1/50 + 1/4:
    # more repetitions shrink only the first term.
    rng = np.random.default_rng(0)
    base = rng.normal(size=50)
    base = (base - base.mean()) / base.std(ddof=1)
    limit = 1 / (1.6766 * math.sqrt(1 / 50 + 1 / 4))
    rows = [p for _ in range(10) for p in np.array_split(rng.permutation(100), 5)]
    record = SearchRecord(
        n_rows=100, y=None, groups=None, last_rows=tuple(range(6)), resource=None
    )
    for spread, alike in ((0.99 * limit, 0.0), (1.01 * limit, 1.0)):
        scores = np.zeros((6, 50))
        scores[0] = 1 + spread * base

        more = {"_search_record": record, "held_out_rows_": [rows] * 6}
        finding = ceiling(PARAMS, scores, **more)

        assert finding.evidence["alike"] == alike
        assert finding.evidence["n_repeats"] == 10


def test_candidates_without_a_score_are_left_out(ceiling):
    """NaN does not count, and two equal candidates are not a ceiling."""
    scores = RISING.copy()
    scores[0] = np.nan

    assert ceiling(PARAMS, scores).evidence["n_candidates"] == 5
    assert ceiling(PARAMS[:2], np.ones((2, 5))).outcome == "not applicable"


@settings(max_examples=20)
@given(shift=st.floats(-5, 5), scale=st.floats(0.01, 100))
def test_the_scale_of_the_score_does_not_matter(ceiling, shift, scale):
    """The share of tied candidates is the same for percent and fractions."""
    scores = np.random.default_rng(1).normal(size=(6, 3))

    first, second = (ceiling(PARAMS, own) for own in (scores, shift + scale * scores))

    assert first.evidence["alike"] == second.evidence["alike"]


def test_the_last_rung_and_the_deciding_metric_are_compared(make_search, shapes):
    """Dropped candidates had fewer epochs; refit names the deciding metric."""
    search = make_search(PARAMS, np.ones((6, 5)), refit="auc")
    search.cv_results_ |= {f"split{k}_test_auc": RISING[:, k] for k in range(5)}
    search.cv_results_["mean_test_auc"] = RISING.mean(axis=1)
    search.cv_results_["n_resources"] = np.array([9, 1, 9, 9, 9, 9])

    evidence = shapes.found("noise ceiling", search).evidence

    assert (evidence["n_candidates"], evidence["alike"]) == (5, 0.0)


@pytest.mark.parametrize(
    ("naive", "outcome", "severity"),
    [(0.801, "passed", None), (0.82, "tip", "low"), (0.86, "tip", "medium")],
)
def test_optimism_is_measured_by_the_interval(
    make_search, shapes, naive, outcome, severity
):
    """The bias is compared with the width of the interval."""
    corrected = SimpleNamespace(score=0.8, low=0.75, high=0.85, naive_score=naive)
    search = make_search(PARAMS, RISING, expected_score_=corrected)

    finding = shapes.found("optimistic best score", search)

    assert (finding.outcome, finding.severity) == (outcome, severity)
    assert finding.evidence["optimism"] == pytest.approx(naive - 0.8)
    # Some metrics cannot be corrected.
    search.expected_score_ = None
    assert shapes.found("optimistic best score", search).outcome == "not applicable"


@pytest.mark.parametrize(
    ("reason", "n_failed"),
    [
        # Candidates that the search stopped did not fail.
        (INTERRUPTED, 0),
        (LEFT_OUT, 0),
        (UNSCORED, 0),
        ("", 0),
        ("loss is nan", 2),
    ],
    ids=["interrupt", "time", "metric", "none", "failure"],
)
def test_failures_are_counted(make_search, shapes, reason, n_failed):
    """The first reason is reported; stopped candidates do not count."""
    reasons = np.array(["", reason, reason, "", "", ""], dtype=object)
    search = make_search(PARAMS, np.ones((6, 2)), results={"failure_reason": reasons})

    finding = shapes.found("failed candidates", search)

    said = f"2 of 6 candidates failed. First reason: {reason}"
    expected = ("tip", "low", said) if n_failed else ("passed", None)
    assert (finding.outcome, finding.severity, finding.message)[: len(expected)] == expected
    assert finding.evidence["n_failed"] == n_failed


@pytest.mark.parametrize(
    ("reason", "blames_rates"), [("its loss became nan", True), ("KeyError: 'town'", False)]
)
def test_learning_rates_are_blamed_for_losses_that_ran_away(
    make_search, shapes, reason, blames_rates
):
    """Other failures have other causes."""
    reasons = np.array(["", reason, "", "", "", ""], dtype=object)
    search = make_search(PARAMS, np.ones((6, 2)), results={"failure_reason": reasons})

    remedy = shapes.found("failed candidates", search).remedy

    assert ("learning rate" in remedy) == blames_rates


RATES = loguniform(1e-4, 1e-2)
DRAWN = RATES.rvs(20, random_state=0).tolist()
LUCKY = [*np.linspace(1e-4, 9e-3, 19).tolist(), 1e-2]


def varied(make_search, name, values, score, **rest):
    """Return a search over one parameter, with a score for each value."""
    scores = np.array([[score(v)] * 3 for v in values])
    return make_search([{name: v} for v in values], scores, **rest)


def test_an_optimum_at_the_high_end_widens_the_range(make_search, edge):
    """The score rises with the rate up to the end of the range."""
    space = {"learning_rate": RATES}
    search = varied(make_search, "learning_rate", DRAWN, np.log, space=space)

    finding = edge(search)

    assert (finding.code, finding.outcome) == ("SKT109", "tip")
    (change,) = finding.changes
    assert (change.parameter, change.action) == ("learning_rate", "extend up to")
    assert change.value > 1e-2
    low, high = apply_remedies(finding, space).target["learning_rate"].support()
    assert (low, high) == (1e-4, change.value)


def test_an_edge_among_candidates_alike_by_noise_is_not_reported(make_search, edge, shapes):
    """The noise ceiling says to stop tuning; a wider range would contradict it."""
    noise = 30 * np.random.default_rng(0).normal(size=(len(DRAWN), 3))
    scores = np.log(DRAWN)[:, np.newaxis] + noise - noise.mean(axis=1, keepdims=True)
    params = [{"learning_rate": rate} for rate in DRAWN]
    search = make_search(params, scores, space={"learning_rate": RATES})

    assert edge(search).outcome == "not applicable"
    ceiling = shapes.found("noise ceiling", search)
    assert ceiling.message.startswith("The folds cannot distinguish any candidate from")


def test_names_have_no_prefix(make_search, edge):
    """Changes omit pipeline steps, and the resource of rungs."""
    pipe = make_pipeline(StandardScaler(), MLPClassifier())
    name = "mlpclassifier__width"
    search = varied(make_search, name, [8, 16, 32, 64], float, estimator=pipe)
    params = [{"width": w, "max_epochs": 9} for w in (8, 16, 32, 64)]
    scores = np.array([[w] * 3 for w in (8, 16, 32, 64)])
    space = {"width": [8, 16, 32, 64]}
    rungs = make_search(params, scores, space=space, resource="max_epochs")

    (change,) = edge(search).changes

    assert change.parameter == "width"
    assert type(change.value) is int
    assert change.value > 64
    assert [c.parameter for c in edge(rungs).changes] == ["width"]


class Sizes:
    """A distribution that can only draw values, without known limits."""

    def rvs(self, random_state=None):
        """Return two layers."""
        return (32, 32)


def _with_end(distribution):
    values = distribution.rvs(20, random_state=0).tolist()
    return [distribution.support()[0], *values[1:]]


@pytest.mark.parametrize(
    ("name", "values", "score", "space", "outcome"),
    [
        # An optimum inside, and one lucky candidate at the end, are not a cluster.
        ("lr", DRAWN, lambda v: -(np.log(v / 1e-3) ** 2), RATES, "passed"),
        ("lr", LUCKY, lambda v: 1.0 if v == 1e-2 else -abs(v - 4e-3), RATES, "passed"),
        ("lr", LUCKY, lambda v: 1.0 if v == 1e-4 else -abs(v - 4e-3), RATES, "passed"),
        # Dropout has no values below 0, and unordered values have no end.
        *(
            (name, _with_end(ends), lambda v: -v, ends, "passed")
            for name, ends in (
                ("dropout", uniform(0, 0.5)),
                ("n_layers", randint(0, 9)),
                ("weight_decay", uniform(0, 1)),
            )
        ),
        (
            "activation",
            ["elu", "gelu", "relu", "tanh"],
            lambda v: ord(v[0]),
            None,
            "passed",
        ),
        ("members", [1, 4, 16, 32], lambda v: -v, None, "passed"),
        ("module__p", [0.0, 0.2, 0.5, 0.8], lambda v: -v, None, "passed"),
        ("hidden_layer_sizes", [(8,), (16,), (32, 32), (9,)], len, Sizes(), None),
        # The better of two values is always at an end.
        ("width", [8, 16], float, None, None),
    ],
)
def test_no_edge_is_reported_without_an_edge(
    make_search, edge, name, values, score, space, outcome
):
    """Natural limits and chance do not count as edges."""
    estimator = NetClassifier(nn.Linear) if name == "module__p" else MLPClassifier()
    space = None if space is None else {name: space}

    search = varied(make_search, name, values, score, space=space, estimator=estimator)

    finding = edge(search)
    assert finding.outcome == (outcome or "not applicable")
    assert finding.changes == ()


def test_constant_parameters_have_no_edge(iris, edge):
    """The space of a grid may be empty."""
    net = MLPClassifier(width=4, max_epochs=1, random_state=0)

    assert edge(GridSearchCV(net, {}, cv=3).fit(*iris)).outcome == "not applicable"
