# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Remedies carried out."""

import pytest
from scipy import stats
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import GridSearchCV, HyperbandSearchCV, MLPClassifier, RandomizedSearchCV
from sk_tune.diagnosis import Change, Finding, apply
from sk_tune.space import Choice

DROPOUT = Change(parameter="dropout", action="at least", value=0.3, reason="overfits")
EPOCHS = Change(parameter="max_epochs", action="at least", value=80, reason="improves")
WIDER = Change(parameter="width", action="extend above", value=256, reason="edge")


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
    """The given one stays as it is, and is not refitted."""
    given = net(dropout=0.1)

    applied = apply([finding("overfitting", DROPOUT)], given)

    assert given.dropout == 0.1
    assert applied.target.dropout == 0.3
    assert str(applied) == "dropout: 0.1 -> 0.3 (overfits)"


def test_the_network_in_a_pipeline_is_changed():
    """Names get the step in front."""
    pipe = make_pipeline(StandardScaler(), net())

    applied = apply(finding("overfitting", DROPOUT), pipe)

    assert applied.target[-1].dropout == 0.3
    assert applied.changes[0].parameter == "mlpclassifier__dropout"


def test_what_a_network_lacks_is_not_changed():
    """A parameter that the target does not have is passed over."""
    change = Change(parameter="hidden_size", action="at least", value=64, reason="")

    applied = apply([finding("underfitting", change)], net())

    assert applied.changes == ()
    assert str(applied) == "Nothing was changed."


def test_a_cause_goes_before_its_consequences():
    """Of the issues of one network only the first cause is treated, and no tips."""
    rate = Change(parameter="learning_rate", action="at most", value=1e-3, reason="jumps")
    findings = [
        finding("overfitting", DROPOUT),
        finding("converged long ago", EPOCHS, outcome="tip"),
        finding("learning rate too high", rate),
    ]

    applied = apply(findings, net(learning_rate=1.0))

    assert [c.parameter for c in applied.changes] == ["learning_rate"]


def test_tips_are_followed_only_if_given_alone():
    """What has no issue is left alone, unless it is asked for."""
    tip = finding("still improving", EPOCHS, outcome="tip")

    assert apply([tip], net()).changes == ()
    assert apply(tip, net()).target.max_epochs == 80


def test_a_fold_that_differs_spoils_all_else():
    """Where the rows are not of one kind, parameters are not to be mended."""
    findings = [finding("overfitting", DROPOUT), finding("folds disagree")]

    assert apply(findings, net()).changes == ()


@pytest.mark.parametrize("name", ["near duplicates across folds", "groups across folds"])
def test_leaking_folds_spoil_all_else(name):
    """A network that is judged by rows it was trained on is not to be trained longer."""
    findings = [finding("still improving", EPOCHS), finding(name)]

    assert apply(findings, net()).changes == ()


def test_few_rows_spoil_what_else_is_found():
    """Where rows are few other issues may be chance: theirs is the only remedy."""
    rate = Change(parameter="learning_rate", action="at most", value=1e-3, reason="jumps")
    other = finding("learning rate too high", rate)

    treated = apply([other, finding("too few rows", DROPOUT)], net(learning_rate=1.0))
    left = apply([other, finding("too few rows")], net(learning_rate=1.0))

    assert [c.parameter for c in treated.changes] == ["dropout"]
    assert left.changes == ()


@pytest.mark.parametrize("prefix", ["", "net__", "a__net__"])
def test_a_space_is_changed_whatever_stands_in_front(prefix):
    """Names in a space may have steps before them."""
    space = {f"{prefix}dropout": stats.uniform(0, 0.5), f"{prefix}activation": ["relu"]}

    applied = apply([finding("overfitting", DROPOUT)], space)

    assert applied.target[f"{prefix}dropout"].support() == (0.3, 0.5)
    assert space[f"{prefix}dropout"].support() == (0.0, 0.5)
    assert "uniform from 0 to 0.5 -> uniform from 0.3 to 0.5" in str(applied)


def test_lists_of_spaces_and_choices_are_changed_inside():
    """Every place in which a parameter may vary is changed."""
    inner = {"net__dropout": [0.0, 0.5]}
    space = [
        {"net__dropout": [0.1, 0.4]},
        ({"net__optimizer": Choice({"sgd": inner, "adamw": {}})}, 5),
    ]

    target = apply([finding("overfitting", DROPOUT)], space).target

    assert target[0] == {"net__dropout": [0.4]}
    changed, n_iter = target[1]
    assert n_iter == 5
    assert changed["net__optimizer"].pairs() == [
        ("sgd", {"net__dropout": [0.5]}),
        ("adamw", {}),
    ]


def test_a_space_gets_what_it_lacks():
    """A remedy for what did not vary is added as one value."""
    applied = apply([finding("overfitting", DROPOUT)], {"net__width": [8, 16]})

    assert applied.target == {"net__width": [8, 16], "net__dropout": [0.3]}
    assert applied.changes[0].before is None


@pytest.mark.parametrize(
    "space",
    [
        {"net__width": [8], "other__width": [2]},
        {"scale__with_std": [True, False]},
        {"module__width": [8, 16]},
    ],
)
def test_where_it_is_not_clear_whose_parameter_it_would_be_none_is_added(space):
    """Two networks, none, or a module whose arguments are its own matter."""
    assert apply([finding("overfitting", DROPOUT)], space).target == space


def test_what_is_added_is_the_networks_in_every_dict():
    """Not that of the step which a dict happens to be about."""
    space = [{"net__width": [8, 16]}, {"scale__with_std": [False]}]
    pipeline = Pipeline([("scale", StandardScaler()), ("net", net())])
    search = GridSearchCV(pipeline, [{"net__dropout": [0.0]}, {"scale__with_std": [False]}])

    target = apply([finding("overfitting", DROPOUT)], space).target
    changed = apply([finding("overfitting", DROPOUT)], search).target.param_grid

    assert [element["net__dropout"] for element in target] == [[0.3], [0.3]]
    assert [element["net__dropout"] for element in changed] == [[0.3], [0.3]]
    assert not any("scale__dropout" in element for element in [*target, *changed])


def test_a_search_is_changed_in_space_and_estimator():
    """What varies is changed in the space, what does not in the estimator."""
    pipe = make_pipeline(StandardScaler(), net())
    search = RandomizedSearchCV(pipe, {"mlpclassifier__width": stats.randint(8, 65)})
    edge = finding("optimum at the edge", WIDER, outcome="tip")

    target = apply([finding("overfitting", DROPOUT), edge], search).target

    space = target.param_distributions
    assert list(space) == ["mlpclassifier__width"]
    assert space["mlpclassifier__width"].support() == (8, 256)
    assert target.estimator[-1].dropout == 0.3
    assert search.param_distributions["mlpclassifier__width"].support() == (8, 64)


def test_a_search_over_rungs_gets_longer_rungs():
    """Epochs are what Hyperband grants, so the last rung grants more."""
    search = HyperbandSearchCV(net(), {"dropout": [0.0, 0.5]}, max_resources=20)

    applied = apply([finding("still improving", EPOCHS)], search)

    assert applied.target.max_resources == 80
    assert applied.target.estimator.max_epochs == search.estimator.max_epochs


def test_rungs_are_never_shortened():
    """Fewer epochs are what the lower rungs try anyway."""
    fewer = Change(parameter="max_epochs", action="at most", value=3, reason="rises")
    search = HyperbandSearchCV(net(), {"dropout": [0.0, 0.5]}, max_resources=20)

    assert apply([finding("overfitting", fewer)], search).changes == ()


def test_a_grid_is_changed_to_a_grid():
    """A search with a grid can go on with the changed one."""
    search = GridSearchCV(net(), {"width": [8, 16]})
    edge = finding("optimum at the edge", WIDER, outcome="tip")

    assert apply([edge], search).target.param_grid == {"width": [8, 16, 256]}
