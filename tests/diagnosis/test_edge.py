# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Optima at the edge of the space."""

import numpy as np
import pytest
from scipy.stats import loguniform, randint, uniform
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sk_tune import GridSearchCV, MLPClassifier, NetClassifier
from sk_tune.diagnosis import apply
from sk_tune.diagnosis._candidate_checks import check_edge, described_space

RATES = loguniform(1e-4, 1e-2)


def searched(make_search, name, values, score, **rest):
    """Return a search over one parameter with a score for each value."""
    scores = np.array([[score(v)] * 3 for v in values])
    return make_search([{name: v} for v in values], scores, **rest)


def test_the_best_at_the_high_end_asks_for_more(make_search):
    """A score that rises with the rate up to the end of a range wants a wider one."""
    values = RATES.rvs(20, random_state=0).tolist()
    space = {"learning_rate": RATES}
    search = searched(make_search, "learning_rate", values, np.log, space=space)

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
    search = searched(
        make_search,
        "learning_rate",
        values,
        lambda rate: -(np.log(rate / 1e-3) ** 2),
        space={"learning_rate": RATES},
    )

    assert check_edge(search).outcome == "passed"


def test_names_are_those_in_the_network(make_search):
    """The steps of a pipeline are no part of a change's parameter."""
    search = searched(
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
    search = searched(make_search, name, values, score, space={name: distribution})

    assert check_edge(search).outcome == "passed"


def test_chance_at_the_edge_is_no_crowd(make_search):
    """One lucky candidate at the end, with the next best ones elsewhere, is no optimum."""
    values = [*np.linspace(1e-4, 9e-3, 19).tolist(), 1e-2]
    scores = {v: -abs(v - 4e-3) for v in values} | {1e-2: 1.0}
    search = searched(
        make_search, "learning_rate", values, scores.get, space={"learning_rate": RATES}
    )

    assert check_edge(search).outcome == "passed"


def test_categories_have_no_edge(make_search):
    """What has no order has no end."""
    values = ["relu", "tanh", "gelu", "elu"]
    search = searched(make_search, "activation", values, values.index)

    assert check_edge(search).outcome == "passed"


def test_members_and_the_like_are_at_least_one(make_search):
    """A network of none of them fails; nor is a share below 0 where none was."""
    whole = searched(make_search, "members", [1, 4, 16, 32], lambda v: -v)
    share = searched(
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
    search = searched(
        make_search,
        "hidden_layer_sizes",
        values,
        len,
        space={"hidden_layer_sizes": Sizes()},
    )

    assert check_edge(search).outcome == "not applicable"


def test_few_candidates_show_no_edge(make_search):
    """The better of two values is always at an end."""
    search = searched(make_search, "width", [8, 16], float)

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
