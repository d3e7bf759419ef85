# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Checks that look at all candidates of a search."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import loguniform, randint, uniform
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sk_tune import GridSearchCV, MLPClassifier, NetClassifier
from sk_tune._search_record import INTERRUPTED, LOST_RACE, UNSCORED, SearchRecord
from sk_tune.diagnosis import apply
from sk_tune.diagnosis._candidate_checks import (
    check_edge,
    check_failures,
    check_noise_ceiling,
    check_optimism,
    described_space,
    fold_scores,
    last_rows,
)

PARAMS = [{"width": 2**k} for k in range(6)]
FOLDS = np.array([-0.02, 0.0, 0.01, 0.03, -0.02])


def test_candidates_that_differ_by_chance_are_alike(make_search):
    """Scores that differ less than the folds do are at a noise ceiling."""
    rng = np.random.default_rng(0)
    scores = 0.8 + 0.02 * rng.normal(size=(6, 5))

    finding = check_noise_ceiling(make_search(PARAMS, scores))

    assert (finding.code, finding.outcome) == ("SKT111", "tip")
    assert finding.evidence["alike"] >= 0.8


def test_differences_that_all_folds_share_are_seen(make_search):
    """Folds that are hard are so for all candidates, which does not hide differences."""
    scores = 0.8 + FOLDS + np.arange(6)[:, None] * 0.01

    finding = check_noise_ceiling(make_search(PARAMS, scores))

    assert finding.outcome == "passed"
    assert finding.evidence["alike"] == 0.0


def test_it_is_the_corrected_t_test(make_search):
    """One fold's difference is just below and just above Nadeau and Bengio's limit."""
    # Differences d with mean 1 and standard deviation s are significant at 5 % on 5 folds
    # from 1 / (s * sqrt(1/5 + 1/4)) = 2.1318 on, a quantile of Student's table.
    base = np.array([-1.0, -1.0, 0.0, 1.0, 1.0])
    base /= base.std(ddof=1)
    limit = 1 / (2.1318 * math.sqrt(1 / 5 + 1 / 4))
    for spread, alike in ((0.99 * limit, 0.0), (1.01 * limit, 1.0)):
        others = np.zeros((6, 5))
        others[0] = 1 + spread * base

        finding = check_noise_ceiling(make_search(PARAMS, others))

        assert finding.evidence["alike"] == alike


def test_repeated_folds_are_not_independent(make_search):
    """Ten times five folds tell no more than the corrected t-test allows."""
    # As above, with 49 degrees of freedom, whose quantile is 1.6766, and the variance of
    # 1/50 + 1/4: more repetitions make the first part small, never the second.
    rng = np.random.default_rng(0)
    base = rng.normal(size=50)
    base = (base - base.mean()) / base.std(ddof=1)
    limit = 1 / (1.6766 * math.sqrt(1 / 50 + 1 / 4))
    rows = [p for _ in range(10) for p in np.array_split(rng.permutation(100), 5)]
    record = SearchRecord(n_rows=100, y=None, last_rows=tuple(range(6)), resource=None)
    for spread, alike in ((0.99 * limit, 0.0), (1.01 * limit, 1.0)):
        scores = np.zeros((6, 50))
        scores[0] = 1 + spread * base

        finding = check_noise_ceiling(
            make_search(PARAMS, scores, search_record_=record, held_out_rows_=[rows] * 6)
        )

        assert finding.evidence["alike"] == alike
        assert finding.evidence["n_repeats"] == 10


def test_few_candidates_are_not_compared(make_search):
    """Two candidates that are alike are no ceiling."""
    finding = check_noise_ceiling(make_search(PARAMS[:2], np.ones((2, 5))))

    assert finding.outcome == "not applicable"


def test_failed_candidates_are_left_out(make_search):
    """NaN is no score to be alike."""
    scores = 0.8 + FOLDS + np.arange(6)[:, None] * 0.01
    scores[0] = np.nan

    finding = check_noise_ceiling(make_search(PARAMS, scores))

    assert finding.evidence["n_candidates"] == 5


@given(shift=st.floats(-5, 5), scale=st.floats(0.01, 100))
def test_the_scale_of_the_score_does_not_matter(shift, scale):
    """Percent or parts of one, the share of candidates alike is the same."""
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(6, 3))
    found = [
        check_noise_ceiling(
            SimpleNamespace(
                cv_results_={
                    "params": PARAMS,
                    **{f"split{k}_test_score": own[:, k] for k in range(3)},
                },
                n_splits_=3,
            )
        ).evidence["alike"]
        for own in (scores, shift + scale * scores)
    ]

    assert found[0] == found[1]


def test_the_last_rung_is_what_is_compared(make_search):
    """Candidates that were dropped had fewer epochs, so their scores are of others."""
    results = {"n_resources": np.array([1, 3, 1, 3, 9, 9])}
    search = make_search(PARAMS, np.ones((6, 3)), results=results)

    assert last_rows(search) == [4, 5]


def test_the_metric_that_decides_is_read(make_search):
    """With several metrics it is the one that refit names."""
    search = make_search(PARAMS, np.zeros((6, 2)), refit="auc")
    search.cv_results_ |= {f"split{k}_test_auc": np.arange(6.0) for k in range(2)}

    np.testing.assert_array_equal(fold_scores(search)[:, 0], np.arange(6.0))


@pytest.mark.parametrize(
    ("naive", "outcome", "severity"),
    [(0.801, "passed", None), (0.82, "tip", "low"), (0.86, "tip", "medium")],
)
def test_optimism_is_measured_by_the_interval(naive, outcome, severity):
    """How much too good a score is, is told against how well it is known."""
    corrected = SimpleNamespace(score=0.8, low=0.75, high=0.85, naive_score=naive)

    finding = check_optimism(SimpleNamespace(corrected_score_=corrected))

    assert (finding.outcome, finding.severity) == (outcome, severity)
    assert finding.evidence["optimism"] == pytest.approx(naive - 0.8)


def test_without_a_corrected_score_there_is_no_telling():
    """Some metrics cannot be corrected."""
    assert (
        check_optimism(SimpleNamespace(corrected_score_=None)).outcome == "not applicable"
    )


@pytest.mark.parametrize(
    "reason",
    [INTERRUPTED, UNSCORED, f"stopped after 3 folds: {LOST_RACE} 0"],
    ids=["time", "metric", "race"],
)
def test_candidates_that_the_search_stopped_did_not_fail(make_search, reason):
    """Their parameters are nothing to keep away from."""
    reasons = np.array(["", reason, "", "", "", ""], dtype=object)
    search = make_search(PARAMS, np.ones((6, 2)), results={"failure_reason": reasons})

    assert check_failures(search) is None


def test_failures_are_counted(make_search):
    """Why candidates failed is said once."""
    reasons = np.array(["", "loss is nan", "loss is nan", "", "", ""], dtype=object)
    search = make_search(PARAMS, np.ones((6, 2)), results={"failure_reason": reasons})

    finding = check_failures(search)

    assert (finding.outcome, finding.severity) == ("tip", "low")
    assert "2 of 6" in finding.message
    assert "loss is nan" in finding.message
    assert check_failures(make_search(PARAMS, np.ones((6, 2)))) is None


RATES = loguniform(1e-4, 1e-2)


def varied(make_search, name, values, score, **rest):
    """Return a search over one parameter with a score for each value."""
    scores = np.array([[score(v)] * 3 for v in values])
    return make_search([{name: v} for v in values], scores, **rest)


def test_the_best_at_the_high_end_asks_for_more(make_search):
    """A score that rises with the rate up to the end of a range wants a wider one."""
    values = RATES.rvs(20, random_state=0).tolist()
    space = {"learning_rate": RATES}
    search = varied(make_search, "learning_rate", values, np.log, space=space)

    finding = check_edge(search)

    assert (finding.code, finding.outcome) == ("SKT109", "tip")
    (change,) = finding.changes
    assert (change.parameter, change.action) == ("learning_rate", "extend above")
    assert change.value > 1e-2
    low, high = apply(finding, space).target["learning_rate"].support()
    assert (low, high) == (1e-4, change.value)


def test_an_optimum_inside_is_fine(make_search):
    """A score that is best in the middle of the range is found there."""
    values = RATES.rvs(20, random_state=0).tolist()
    search = varied(
        make_search,
        "learning_rate",
        values,
        lambda rate: -(np.log(rate / 1e-3) ** 2),
        space={"learning_rate": RATES},
    )

    assert check_edge(search).outcome == "passed"


def test_names_are_those_in_the_network(make_search):
    """The steps of a pipeline are no part of a change's parameter."""
    search = varied(
        make_search,
        "mlpclassifier__width",
        [8, 16, 32, 64],
        float,
        estimator=make_pipeline(StandardScaler(), MLPClassifier()),
    )

    (change,) = check_edge(search).changes

    assert change.parameter == "width"
    assert type(change.value) is int
    assert change.value > 64


@pytest.mark.parametrize(
    ("name", "distribution", "score"),
    [
        ("dropout", uniform(0, 0.5), lambda v: -v),
        ("n_layers", randint(0, 9), lambda v: -v),
        ("weight_decay", uniform(0, 1), lambda v: -v),
    ],
)
def test_natural_ends_are_no_edges(make_search, name, distribution, score):
    """There is no dropout below 0."""
    values = distribution.rvs(20, random_state=0).tolist()
    values[0] = distribution.support()[0]
    search = varied(make_search, name, values, score, space={name: distribution})

    assert check_edge(search).outcome == "passed"


def test_chance_at_the_edge_is_no_crowd(make_search):
    """One lucky candidate at the end, with the next best ones elsewhere, is no optimum."""
    values = [*np.linspace(1e-4, 9e-3, 19).tolist(), 1e-2]
    scores = {v: -abs(v - 4e-3) for v in values} | {1e-2: 1.0}
    search = varied(
        make_search, "learning_rate", values, scores.get, space={"learning_rate": RATES}
    )

    assert check_edge(search).outcome == "passed"


def test_categories_have_no_edge(make_search):
    """What has no order has no end."""
    values = ["relu", "tanh", "gelu", "elu"]
    search = varied(make_search, "activation", values, values.index)

    assert check_edge(search).outcome == "passed"


def test_members_and_the_like_are_at_least_one(make_search):
    """A network of none of them fails; nor is a share below 0 where none was."""
    whole = varied(make_search, "members", [1, 4, 16, 32], lambda v: -v)
    share = varied(
        make_search,
        "module__p",
        [0.0, 0.2, 0.5, 0.8],
        lambda v: -v,
        estimator=NetClassifier(nn.Linear),
    )

    assert check_edge(whole).changes == ()
    assert check_edge(share).changes == ()


def test_a_distribution_that_only_draws_has_no_edge(make_search):
    """It has no quantiles by which an end could be told."""

    class Sizes:
        def rvs(self, random_state=None):
            return (32, 32)

    values = [(8,), (16,), (32,), (32, 32)]
    search = varied(
        make_search,
        "hidden_layer_sizes",
        values,
        len,
        space={"hidden_layer_sizes": Sizes()},
    )

    assert check_edge(search).outcome == "not applicable"


def test_few_candidates_show_no_edge(make_search):
    """The better of two values is always at an end."""
    search = varied(make_search, "width", [8, 16], float)

    assert check_edge(search).outcome == "not applicable"


def test_epochs_that_rungs_grant_are_no_part_of_the_space(make_search):
    """A search over epochs has them in its parameters, but does not draw them."""
    params = [{"width": w, "max_epochs": 9} for w in (8, 16, 32, 64)]
    search = make_search(
        params,
        np.array([[w] * 3 for w in (8, 16, 32, 64)]),
        space={"width": [8, 16, 32, 64]},
        resource="max_epochs",
    )

    assert [c.parameter for c in check_edge(search).changes] == ["width"]


def test_what_has_no_space_is_refused():
    """Anything else than a search is a mistake of the caller."""
    with pytest.raises(TypeError, match="has no space"):
        described_space(object())


def test_a_search_of_one_candidate_has_no_edge(iris):
    """Where nothing varies there is nothing to widen."""
    net = MLPClassifier(width=4, max_epochs=1, random_state=0)
    search = GridSearchCV(net, {}, cv=3).fit(*iris)

    assert check_edge(search).outcome == "not applicable"
