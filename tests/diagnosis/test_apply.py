# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Applied remedies."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from skopt.space import Categorical, Integer, Real

from sk_tune import (
    GridSearchCV,
    HyperbandSearchCV,
    MLPClassifier,
    NetClassifier,
    RandomizedSearchCV,
)
from sk_tune._diagnosis import Change, Finding, apply_remedies
from sk_tune._space import Choice, as_space

DROPOUT = Change(parameter="dropout", action="at least", value=0.3, reason="overfits")
EPOCHS = Change(parameter="max_epochs", action="at least", value=80, reason="improves")
WIDER = Change(parameter="width", action="extend up to", value=256, reason="edge")


def finding(name, *changes, outcome="issue"):
    return Finding(
        code="SKT100",
        name=name,
        outcome=outcome,
        severity="medium",
        message="",
        changes=changes,
    )


def net(**params):
    return MLPClassifier(random_state=0, **params)


def test_an_estimator_is_changed_in_a_copy():
    """The original stays unchanged; in a pipeline, names get the step's prefix."""
    given = net(dropout=0.1)

    applied = apply_remedies([finding("overfitting", DROPOUT)], given)
    inside = apply_remedies(
        finding("overfitting", DROPOUT), make_pipeline(StandardScaler(), given)
    )

    assert given.dropout == 0.1
    assert applied.target.dropout == 0.3
    assert str(applied) == "dropout: 0.1 -> 0.3 (overfits)"
    assert inside.target[-1].dropout == 0.3
    assert inside.changes[0].parameter == "mlpclassifier__dropout"


RATE = Change(parameter="learning_rate", action="at most", value=1e-3, reason="jumps")
LACKED = Change(parameter="hidden_size", action="at least", value=64, reason="")


@pytest.mark.parametrize(
    ("findings", "changed"),
    [
        # Parameters that the target lacks are skipped.
        ([finding("underfitting", LACKED)], []),
        # Of several issues only the first cause is treated, and no tips.
        (
            [
                finding("overfitting", DROPOUT),
                finding("converged long ago", EPOCHS, outcome="tip"),
                finding("learning rate too high", RATE),
            ],
            ["learning_rate"],
        ),
        # Tips are followed only if they are passed alone.
        ([finding("still improving", EPOCHS, outcome="tip")], []),
        (finding("still improving", EPOCHS, outcome="tip"), ["max_epochs"]),
        # If rows differ in kind or leak, parameters are not changed.
        ([finding("overfitting", DROPOUT), finding("folds disagree")], []),
        ([finding("still improving", EPOCHS), finding("groups across folds")], []),
        ([finding("still improving", EPOCHS), finding("near duplicates across folds")], []),
        # With few rows other issues may be chance: only their remedy is applied.
        (
            [finding("learning rate too high", RATE), finding("too few rows", DROPOUT)],
            ["dropout"],
        ),
        ([finding("learning rate too high", RATE), finding("too few rows")], []),
    ],
)
def test_only_the_cause_is_treated(findings, changed):
    """The set of findings decides which finding is treated."""
    applied = apply_remedies(findings, net(learning_rate=1.0))

    assert [change.parameter for change in applied.changes] == changed
    assert (str(applied) == "Nothing was changed.") is (changed == [])


@pytest.mark.parametrize("prefix", ["", "net__", "a__net__"])
def test_a_space_is_changed_behind_any_prefix(prefix):
    """Names in a space may have the prefixes of steps."""
    space = {f"{prefix}dropout": stats.uniform(0, 0.5), f"{prefix}activation": ["relu"]}

    applied = apply_remedies([finding("overfitting", DROPOUT)], space)

    assert applied.target[f"{prefix}dropout"].support() == (0.3, 0.5)
    assert space[f"{prefix}dropout"].support() == (0.0, 0.5)
    assert "uniform from 0 to 0.5 -> uniform from 0.3 to 0.5" in str(applied)


def test_lists_of_spaces_and_choices_are_changed_inside():
    """Every place in which a parameter varies is changed."""
    inner = {"net__dropout": [0.0, 0.5]}
    space = [
        {"net__dropout": [0.1, 0.4]},
        ({"net__optimizer": Choice({"sgd": inner, "adamw": {}})}, 5),
    ]

    target = apply_remedies([finding("overfitting", DROPOUT)], space).target

    assert target[0] == {"net__dropout": [0.4]}
    changed, n_iter = target[1]
    assert n_iter == 5
    assert changed["net__optimizer"].pairs() == [
        ("sgd", {"net__dropout": [0.5]}),
        ("adamw", {}),
    ]


@pytest.mark.parametrize(
    "space",
    [
        {"net__width": [8], "other__width": [2]},
        {"scale__with_std": [True, False]},
        {"module__width": [8, 16]},
    ],
)
def test_no_parameter_is_added_without_a_clear_prefix(space):
    """With two networks, no network, or only arguments of a module."""
    assert apply_remedies([finding("overfitting", DROPOUT)], space).target == space


def test_added_parameters_have_the_networks_prefix_in_every_dict():
    """Also in a dict about another step."""
    space = [{"net__width": [8, 16]}, {"scale__with_std": [False]}]
    pipeline = Pipeline([("scale", StandardScaler()), ("net", net())])
    search = GridSearchCV(pipeline, [{"net__dropout": [0.0]}, {"scale__with_std": [False]}])

    target = apply_remedies([finding("overfitting", DROPOUT)], space).target
    changed = apply_remedies([finding("overfitting", DROPOUT)], search).target.param_grid

    assert target[0] == {"net__width": [8, 16], "net__dropout": [0.3]}
    assert [element["net__dropout"] for element in target] == [[0.3], [0.3]]
    assert [element["net__dropout"] for element in changed] == [[0.3], [0.3]]
    assert not any("scale__dropout" in element for element in [*target, *changed])


def test_a_search_is_changed_in_space_and_estimator():
    """Varied parameters change in the space, all others in the estimator."""
    pipe = make_pipeline(StandardScaler(), net())
    search = RandomizedSearchCV(pipe, {"mlpclassifier__width": stats.randint(8, 65)})
    edge = finding("optimum at the edge", WIDER, outcome="tip")

    target = apply_remedies([finding("overfitting", DROPOUT), edge], search).target

    space = target.param_distributions
    assert list(space) == ["mlpclassifier__width"]
    assert space["mlpclassifier__width"].support() == (8, 256)
    assert target.estimator[-1].dropout == 0.3
    assert search.param_distributions["mlpclassifier__width"].support() == (8, 64)


def test_a_search_over_rungs_gets_longer_rungs():
    """The last rung grants more epochs; lower rungs already try fewer."""
    fewer = Change(parameter="max_epochs", action="at most", value=3, reason="rises")
    search = HyperbandSearchCV(net(), {"dropout": [0.0, 0.5]}, max_resources=20)

    applied = apply_remedies([finding("still improving", EPOCHS)], search)

    assert applied.target.max_resources == 80
    assert applied.target.estimator.max_epochs == search.estimator.max_epochs
    assert apply_remedies([finding("overfitting", fewer)], search).changes == ()


def changed(described, action, value, parameter="learning_rate"):
    """Return a description of values, or a value, after a change."""
    name = parameter.rpartition("net__")[2]
    change = Change(parameter=name, action=action, value=value, reason="")
    return apply_remedies(finding("", change), {parameter: described}).target[parameter]


@pytest.mark.parametrize(
    ("before", "parameter", "action", "value", "after"),
    [
        *(
            (4, "module__width", action, value, after)
            for action, value, after in (
                ("set", 7, 7),
                ("at least", 5, 5),
                ("at least", 3, 4),
                ("at most", 3, 3),
                ("at most", 5, 4),
                ("multiply", 2.4, 10),
                ("extend up to", 9, 4),
                ("extend down to", 1, 4),
            )
        ),
        # None becomes the bound; names, flags and full batches are unchanged.
        (None, "learning_rate", "at most", 1.0, 1.0),
        ("relu", "module__activation", "at least", 1.0, "relu"),
        (True, "warm_start", "at least", 3, True),
        (-1, "batch_size", "multiply", 2, -1),
        # Values stay within their limits.
        (0.5, "module__dropout", "multiply", 4, 0.8),
        (2, "module__width", "multiply", 0.1, 1),
        (0, "module__dropout", "at least", 0.2, 0.2),
        (1, "learning_rate", "at most", 0.1, 0.1),
    ],
)
def test_values_change(before, parameter, action, value, after):
    """Integers stay integers."""
    change = Change(parameter=parameter, action=action, value=value, reason="")
    target = apply_remedies(
        finding("", change), NetClassifier(None, **{parameter: before})
    ).target
    found = target.get_params()[parameter]

    assert found == after
    assert type(found) is type(after)


def _ends(described):
    """Return the values of a list, or the ends of a range."""
    if isinstance(described, Real | Integer):
        return described.bounds
    if isinstance(described, Categorical):
        return list(described.categories)
    if isinstance(described, tuple):
        return described[:2]
    return described.support() if hasattr(described, "support") else list(described)


LOG = stats.loguniform(1e-4, 1e-2)


@pytest.mark.parametrize(
    ("described", "action", "value", "after"),
    [
        # Lists of numbers stay lists; other lists are unchanged, unless set.
        ([0.1, 0.2, 0.3], "at least", 0.2, [0.2, 0.3]),
        ([0.1, 0.2], "at least", 0.5, [0.5]),
        ([0.1, 0.2, 0.3], "at most", 0.2, [0.1, 0.2]),
        ([0.2], "at most", 0.1, [0.1]),
        ([1, 0.1], "extend down to", 0.0025, [0.0025, 1, 0.1]),
        ([1, 2], "multiply", 4, [4, 8]),
        ([1, 2], "extend up to", 4, [1, 2, 4]),
        ([1, 2], "extend up to", 2, [1, 2]),
        ([4, 8], "extend down to", 2, [2, 4, 8]),
        (["a", "b"], "at least", 1, ["a", "b"]),
        ([0.1, None], "at least", 1, [0.1, None]),
        (np.array([1.0, 2.0]), "at least", 2.0, [2.0]),
        ([1, 2], "set", 5, [5]),
        (Categorical([8, 16, 32]), "at least", 16, [16, 32]),
        # A distribution stays one, of the same family.
        (stats.uniform(0, 0.5), "at least", 0.2, (0.2, 0.5)),
        (stats.uniform(0, 0.1), "at least", 0.2, (0.2, 0.3)),
        (stats.uniform(2, 1), "at most", 2.5, (2, 2.5)),
        (stats.uniform(0, 1), "extend up to", 2.0, (0, 2)),
        (LOG, "at most", 1e-5, (1e-7, 1e-5)),
        (LOG, "at least", 1e-3, (1e-3, 1e-2)),
        (LOG, "multiply", 10, (1e-3, 1e-1)),
        (LOG, "extend down to", 1e-5, (1e-5, 1e-2)),
        (LOG, "extend down to", 0.0, (1e-4, 1e-2)),
        (stats.randint(4, 9), "extend up to", 12, (4, 12)),
        (stats.randint(4, 9), "at least", 6, (6, 8)),
        # Dimensions and tuples keep their kind and their prior.
        (Real(1e-4, 1e-2, "log-uniform"), "at least", 1e-3, (1e-3, 1e-2)),
        (Integer(1, 8), "extend up to", 16, (1, 16)),
        ((1e-4, 1e-2, "log-uniform"), "at most", 1e-3, (1e-4, 1e-3)),
        ((1, 8), "at least", 4, (4, 8)),
    ],
)
def test_ranges_change(described, action, value, after):
    """A description keeps its kind, with other values or ends."""
    found = changed(described, action, value)

    assert list(_ends(found)) == (
        list(after) if isinstance(after, list) else pytest.approx(list(after))
    )
    if not isinstance(described, list | np.ndarray):
        assert type(found) is type(described)
        assert getattr(found, "prior", None) == getattr(described, "prior", None)
        families = {
            getattr(getattr(d, "dist", None), "name", "") for d in (found, described)
        }
        assert len(families) == 1
    if isinstance(described, tuple):
        assert found[2:] == described[2:]


@pytest.mark.parametrize(
    ("described", "action", "value", "after"),
    [
        ([0, 0.1], "at least", 0.2, [0.2]),
        ((0, 0.5), "at least", 0.2, (0.2, 0.5)),
        (Real(0, 0.5), "at least", 0.2, (0.2, 0.5)),
        ((0, 0.5), "extend up to", 0.75, (0.0, 0.75)),
        ([0, 1], "at most", 0.1, [0]),
        # A bound of 0 on a non-negative parameter leaves one value.
        (stats.uniform(0, 0.5), "at most", 0.0, [0.0]),
        (Real(0.0, 0.5), "at most", 0.0, [0.0]),
        ((0.0, 0.5), "at most", 0.0, [0.0]),
    ],
)
def test_whole_numbers_of_a_real_parameter_are_not_rounded(described, action, value, after):
    """A dropout of 0 or a rate of 1 does not make the parameter an integer."""
    assert _ends(changed(described, action, value, "net__dropout")) == after
    assert changed(stats.randint(1, 4), "at most", 1, "n_layers") == [1]


def test_tuples_are_lists_for_scikit_learn():
    """Its searches treat a tuple as values to choose from."""
    wider = Change(parameter="width", action="at least", value=32, reason="")

    applied = apply_remedies(finding("", wider), GridSearchCV(net(), {"width": (8, 32)}))

    assert applied.target.param_grid == {"width": [32]}


@pytest.mark.parametrize(
    "described",
    [
        *([1, 2], stats.uniform(0, 5), Real(0, 5), Integer(1, 5), (0.0, 5.0)),
        *(Categorical([1]), stats.norm(0, 1)),
    ],
)
def test_without_a_change_the_object_is_the_same(described):
    """Also for a distribution that cannot be cut within its family."""
    assert changed(described, "at least", 0) is described


@given(
    action=st.sampled_from(["at least", "at most", "extend up to", "extend down to"]),
    value=st.floats(1e-6, 10),
    kind=st.sampled_from(["list", "loguniform", "Real", "tuple"]),
)
def test_changed_spaces_are_valid(action, value, kind):
    """sk_tune can parse the result, and bounds hold."""
    described = {
        "list": [1e-4, 1e-2, 1.0],
        "loguniform": stats.loguniform(1e-4, 1.0),
        "Real": Real(1e-4, 1.0, "log-uniform"),
        "tuple": (1e-4, 1.0, "log-uniform"),
    }[kind]

    found = changed(described, action, value)

    drawn = as_space({"x": found}).sample(5, np.random.RandomState(0))
    values = [params["x"] for params in drawn]
    if action == "at least":
        assert min(values) >= value * (1 - 1e-9)
    if action == "at most":
        assert max(values) <= value * (1 + 1e-9)


def test_changes_are_a_table_in_a_notebook():
    """With escaped text; without changes a sentence."""
    change = Change(parameter="rate", action="at most", value=0.5, reason="a < b")
    finding = Finding(
        code="", name="", outcome="tip", severity="low", message="", changes=(change,)
    )

    html = apply_remedies(finding, {"rate": [0.1, 0.9]})._repr_html_()

    row = "<td>rate</td><td>[0.1, 0.9]</td><td>[0.1]</td><td>a &lt; b</td>"
    assert row in html
    assert apply_remedies([], {})._repr_html_() == "<p>Nothing was changed.</p>"


@pytest.fixture
def separable():
    X = np.random.default_rng(0).normal(size=(300, 5))
    return X, (X[:, 0] > 0).astype(int)


def test_a_remedy_that_lowered_the_score_is_reverted_and_not_repeated(separable):
    """The next remedy starts from the same original, until none is left."""
    epochs, dropout = (
        (Change(parameter=name, action=action, value=value, reason="overfits"),)
        for name, action, value in (("max_epochs", "at most", 1), ("dropout", "set", 0.8))
    )
    issue = replace(finding("overfitting", *epochs), alternatives=(dropout,))
    search = GridSearchCV(net(width=16, max_epochs=20), {}, cv=3).fit(*separable)

    first = apply_remedies([issue], search)
    worse = pickle.loads(pickle.dumps(first.target)).fit(*separable)
    second = apply_remedies([issue], worse)
    again = second.target.fit(*separable)
    third = apply_remedies([issue], again)

    assert [c.parameter for c in first.changes] == ["max_epochs"]
    assert worse.best_score_ < search.best_score_
    assert str(second).splitlines() == [
        f"max_epochs: 1 -> 20 (the score fell from {search.best_score_:.4g} to "
        f"{worse.best_score_:.4g})",
        "dropout: 0.0 -> 0.8 (overfits)",
    ]
    assert again.best_score_ < search.best_score_
    assert [(c.parameter, c.after) for c in third.changes] == [("dropout", 0.0)]
    restored = third.target.fit(*separable)
    assert restored.best_score_ == search.best_score_
    assert apply_remedies([issue], restored).changes == ()


def test_a_score_that_became_undefined_is_a_reason_to_revert(separable):
    """Neither a missing score nor a score of 0 is written as nan."""
    search = GridSearchCV(net(), {}, cv=3).fit(*separable)
    issue = finding("overfitting", DROPOUT)
    reasons = []
    for score in (math.nan, 0.0):
        worse = apply_remedies([issue], search).target.fit(*separable)
        worse.best_score_ = score
        reasons.append(apply_remedies([issue], worse).changes[0].reason)

    before = f"{search.best_score_:.4g}"
    assert reasons == [
        f"the score of {before} became undefined",
        f"the score fell from {before} to 0",
    ]


def test_a_remedy_that_raised_the_score_stays(separable):
    """The next call starts from the better search."""
    search = GridSearchCV(net(width=16, max_epochs=1), {}, cv=3).fit(*separable)
    longer = Change(parameter="max_epochs", action="at least", value=20, reason="")

    better = apply_remedies([finding("still improving", longer)], search).target.fit(
        *separable
    )
    applied = apply_remedies([finding("overfitting", DROPOUT)], better)

    assert better.best_score_ > search.best_score_
    assert [c.parameter for c in applied.changes] == ["dropout"]
    assert applied.target.estimator.max_epochs == 20


def test_new_findings_count_if_the_score_fell_without_a_change(separable):
    """Without changes, no remedy is reverted."""
    search = GridSearchCV(net(width=16, max_epochs=20), {}, cv=3).fit(*separable)
    target = apply_remedies([], search).target
    worse = target.set_params(estimator__max_epochs=1).fit(*separable)

    applied = apply_remedies([finding("overfitting", DROPOUT)], worse)

    assert worse.best_score_ < search.best_score_
    assert [c.parameter for c in applied.changes] == ["dropout"]
    assert applied.target.estimator.max_epochs == 1


def test_networks_are_compared_by_their_held_out_loss(separable):
    """Without early stopping, remedies are never reverted."""
    one_epoch = Change(parameter="max_epochs", action="at most", value=1, reason="")
    issue = finding("overfitting", one_epoch)
    for stops, n_changes in ((True, 1), (False, 0)):
        network = net(width=16, max_epochs=20, early_stopping=stops).fit(*separable)
        worse = apply_remedies([issue], network).target.fit(*separable)

        assert len(apply_remedies([issue], worse).changes) == n_changes


def test_scale_is_treated_first_and_alone_where_folds_are_at_fault():
    """Leaks and outlying folds make all other remedies unreliable."""
    change = Change(
        parameter="scaler", action="put in front", value=StandardScaler(), reason=""
    )
    scale, rate = finding("features not scaled", change), finding("diverged", RATE)
    leak = replace(finding("groups across folds"), code="SKT203", severity="high")
    folds = finding("folds disagree")

    def changed(*issues):
        return [c.parameter for c in apply_remedies(issues, net()).changes]

    assert changed(rate, scale) == changed(folds, rate, scale) == ["standardscaler"]
    assert changed(finding("too few rows", DROPOUT), scale) == ["standardscaler"]
    assert changed(leak, rate, scale) == ["standardscaler"]
    assert changed(leak, rate) == changed(folds, rate) == []
