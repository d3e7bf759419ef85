# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Scales of features: records of searches, findings, and their remedies."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler
from torch import nn

from sk_tune import (
    BayesSearchCV,
    CNNClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    HyperbandSearchCV,
    MLPClassifier,
    MLPRegressor,
    NetClassifier,
    RNNClassifier,
    TablePreparer,
    diagnose,
)
from sk_tune._diagnosis import Change, Finding, apply_remedies, verdict
from sk_tune._input_scale import input_scale

NAME = "features not scaled"
UNITS = np.array([1e6, 1.0, 1e-6])


@pytest.fixture(scope="module")
def table():
    """A table in units of 1e-6 to 1e6; only the smallest column is informative."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    return X * UNITS, (X[:, 2] > 0).astype(int)


def net(**params):
    return MLPClassifier(**{"width": 16, "max_epochs": 15, "random_state": 0, **params})


def of_scale(source, *data):
    (finding,) = [f for f in diagnose(source, *data) if f.name == NAME]
    return finding


def test_a_search_records_the_scale_and_the_remedy_raises_the_score(table):
    """The verdict names the columns; apply adds a scaler, which raises the score."""
    search = pickle.loads(pickle.dumps(GridSearchCV(net(), {}, cv=3).fit(*table)))

    found = verdict(diagnose(search))
    mended = apply_remedies(diagnose(search), search).target.fit(*table)

    assert (found.code, found.outcome, found.result_row) == ("SKT118", "issue", 0)
    assert found.evidence["std_ratio"] == pytest.approx(1e12, rel=0.2)
    assert "'column 0'" in found.message
    assert "StandardScaler" in found.remedy
    assert isinstance(mended.estimator.steps[0][1], StandardScaler)
    assert mended.best_score_ > search.best_score_ + 0.3
    assert of_scale(mended).outcome == "passed"


def test_the_scale_is_measured_after_the_transformers(table):
    """For each candidate, because transformers may differ."""
    pipe = Pipeline([("scaler", StandardScaler()), ("net", net(max_epochs=2))])
    search = GridSearchCV(pipe, {"scaler": [StandardScaler(), "passthrough"]}, cv=3)

    scaled, plain = (
        next(f for f in diagnose(search, result_row=k) if f.name == NAME)
        for k in (search.fit(*table).cv_results_["rank_test_score"] * 0 + [0, 1])
    )

    assert (scaled.outcome, plain.outcome) == ("passed", "issue")


@pytest.mark.parametrize(
    "transformer",
    [
        StandardScaler(),
        TablePreparer(),
        OneHotEncoder(sparse_output=False, max_categories=30),
        make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False)),
    ],
    ids=["standardised", "prepared", "one-hot", "polynomial"],
)
def test_prepared_tables_raise_no_alarm(transformer):
    """Also with rare categories, skewed columns and indicators."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({
        "amount": np.exp(rng.normal(size=500)),
        "year": rng.integers(1990, 2020, size=500),
        "count": rng.poisson(0.3, size=500),
        "flag": rng.random(500) < 0.01,
    })

    finding = of_scale(net(max_epochs=2).fit(transformer.fit_transform(X), X.year > 2000))
    assert finding.message.endswith("Pass X.")
    features = transformer.transform(X)
    assert of_scale(net(max_epochs=2).fit(features, X.year > 2000), features).outcome == (
        "passed"
    )


@pytest.mark.parametrize(
    ("columns", "params", "outcome", "words"),
    [
        ({"a": (0, 1), "b": (3, 2)}, {}, "passed", "common scale"),
        ({"a": (0, 20)}, {}, "tip", "'a' has a root mean square of 20"),
        ({"a": (2000, 10)}, {}, "issue", "'a' has a root mean square of 2e+03"),
        ({"a": (0, 1), "b": (0, 0.004)}, {}, "issue", "'a' is 250 times that of 'b'"),
        ({"a": (2, 0.02)}, {}, "issue", "100 standard deviations from 0"),
        ({"a": (0, 0.01)}, {}, "tip", "largest root mean square is 0.01"),
        # Normalisation removes a common scale, but not differences between columns.
        ({"a": (0, 200)}, {"normalization": "batch"}, "passed", "common scale"),
        ({"a": (0, 200), "b": (0, 1)}, {"normalization": "layer"}, "issue", "200 times"),
        # Bins have no scale.
        (
            {"a": (2000, 10)},
            {"numerical_embedding": "piecewise_linear"},
            None,
            "bins its numbers",
        ),
    ],
)
def test_unusual_scales_are_named(columns, params, outcome, words):
    """By the root mean square, the ratio of spreads and the distance from 0."""
    z = np.random.default_rng(0).normal(size=(300, len(columns)))
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    X = pd.DataFrame({
        n: mean + std * z[:, i] for i, (n, (mean, std)) in enumerate(columns.items())
    })

    finding = of_scale(net(max_epochs=1, **params).fit(X, z[:, 0] > 0), X)

    assert finding.outcome == (outcome or "not applicable")
    assert words in finding.message


class Normalised(nn.Module):
    """A module that normalises its inputs."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))

    def forward(self, X):
        """Return two outputs for each sample."""
        return self.layers(X)


class Plain(Normalised):
    """A module without normalisation."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Linear(3, 2)


def test_modules_that_normalise_get_an_issue_only_if_training_failed(table):
    """Modules without normalisation are treated like other networks."""
    normalised, plain = (
        GridSearchCV(NetClassifier(module, max_epochs=15, random_state=0), {}, cv=3)
        for module in (Normalised, Plain)
    )

    assert of_scale(normalised.fit(*table)).severity == "low"
    assert of_scale(plain.fit(*table)).outcome == "issue"


def test_heavy_tails_are_a_tip():
    """Outliers inflate the standard deviation, so scaling squeezes other values."""
    X = np.exp(3 * np.random.default_rng(0).normal(size=(1000, 1)))
    scaled = StandardScaler().fit_transform(X)

    finding = of_scale(net(max_epochs=1).fit(scaled, scaled[:, 0] > 0), scaled)

    assert (finding.outcome, finding.severity) == ("tip", "low")
    assert "1 of 1 features have heavy tails" in finding.message


@pytest.mark.parametrize("kind", ["array", "frame", "sparse"])
def test_statistics_match_numpy(kind):
    """Mean, standard deviation and quartiles of the training rows."""
    X = np.random.default_rng(0).normal(2.0, 3.0, size=(200, 4))
    rows = np.arange(50, 200)
    given = {"array": X, "frame": pd.DataFrame(X), "sparse": sparse.csr_array(X)}[kind]

    scale = input_scale(given, net(), rows)

    assert scale.mean == pytest.approx(X[rows].mean(axis=0))
    assert scale.std == pytest.approx(X[rows].std(axis=0))
    quartiles = np.percentile(X[rows], (25, 75), axis=0)
    assert scale.bulk == pytest.approx(np.diff(quartiles, axis=0)[0] / 1.349)
    assert scale.is_sparse == (kind == "sparse")


@pytest.mark.parametrize(
    ("shape", "network", "axis"),
    [
        ((30, 3, 8, 8), CNNClassifier(), 1),
        ((30, 20, 4), RNNClassifier(), 2),
        ((30, 2 * 36), CNNClassifier(input_shape=(2, 6, 6)), 1),
    ],
)
def test_images_and_sequences_have_a_scale_for_each_channel(shape, network, axis):
    """Over all samples and positions."""
    X = np.random.default_rng(0).normal(size=shape)
    whole = X if network.input_shape is None else X.reshape(30, *network.input_shape)
    others = tuple(i for i in range(whole.ndim) if i != axis)

    scale = input_scale(X, network)

    assert scale.mean == pytest.approx(whole.mean(axis=others))
    assert scale.is_table == (X.ndim == 2)


def test_sequences_of_unequal_length_and_codes_are_supported():
    """Codes of categories have no scale."""
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(n, 2)) for n in range(3, 40)]
    frame = pd.DataFrame({"x": rng.normal(size=20), "c": pd.Categorical(["a", "b"] * 10)})

    assert input_scale(series, RNNClassifier()).mean == pytest.approx(
        np.concatenate(series).mean(axis=0)
    )
    scale = input_scale(frame, net())
    assert (scale.names, scale.has_codes) == (("x",), True)
    assert input_scale(rng.normal(size=(9, 2)), net(categorical_features=[1])).names == (
        "column 0",
    )


def scaler(**rest):
    change = Change(
        parameter="scaler", action="put in front", value=StandardScaler(), reason="scale"
    )
    return Finding(
        **{"code": "SKT118", "name": NAME, "outcome": "issue", "severity": "high", **rest},
        message="",
        changes=(change,),
    )


REGRESSOR = MLPRegressor(max_epochs=2, random_state=0)
POLYNOMIAL = make_pipeline(PolynomialFeatures(2), REGRESSOR)


@pytest.mark.parametrize(
    ("estimator", "name", "renamed", "steps"),
    [
        (REGRESSOR, "", "mlpregressor__", ["standardscaler", "mlpregressor"]),
        (
            POLYNOMIAL,
            "mlpregressor__",
            "mlpregressor__",
            ["polynomialfeatures", "standardscaler", "mlpregressor"],
        ),
        (
            TransformedTargetRegressor(POLYNOMIAL),
            "regressor__mlpregressor__",
            "regressor__mlpregressor__",
            ["polynomialfeatures", "standardscaler", "mlpregressor"],
        ),
        (
            TransformedTargetRegressor(REGRESSOR),
            "regressor__",
            "regressor__mlpregressor__",
            ["standardscaler", "mlpregressor"],
        ),
    ],
    ids=["network", "pipeline", "target of a pipeline", "target"],
)
def test_a_scaler_stands_directly_in_front_of_the_network(estimator, name, renamed, steps):
    """In an estimator, and in a search, which gets a renamed space."""
    search = GridSearchCV(estimator, [{f"{name}width": [4]}, {f"{name}n_layers": [1]}])

    applied = apply_remedies([scaler()], search)
    alone = apply_remedies([scaler()], estimator).target

    inner = applied.target.estimator
    for pipe in (inner, alone):
        assert list(dict(getattr(pipe, "regressor", pipe).steps)) == steps
    spaces = applied.target.param_grid
    assert spaces == [{f"{renamed}width": [4]}, {f"{renamed}n_layers": [1]}]
    assert set(spaces[0]) <= set(inner.get_params())
    assert search.estimator is estimator
    # Other changes are applied to the network there, too.
    dropout = Change(parameter="dropout", action="at least", value=0.1, reason="")
    finding = Finding(
        code="", name="overfitting", outcome="issue", severity="high", message="",
        changes=(dropout,),
    )  # fmt: skip
    (change,) = apply_remedies([finding], estimator).changes
    assert change.parameter == f"{name}dropout"


@pytest.mark.parametrize(
    ("search", "space"),
    [
        (HyperbandSearchCV(net(), {"width": [4]}, max_resources=3), {"width": [4]}),
        (
            HalvingGridSearchCV(net(), {"width": [4]}, resource="max_epochs"),
            {"width": [4]},
        ),
        (BayesSearchCV(net(), [({"width": (4, 8)}, 2)]), [({"width": (4, 8)}, 2)]),
    ],
    ids=["hyperband", "halving", "bayes"],
)
def test_searches_with_rungs_and_lists_of_spaces_are_renamed(search, space):
    """The resource is renamed, too."""
    target = apply_remedies([scaler()], search).target

    values = [v for v in target.get_params(deep=False).values() if v not in (None, space)]
    named = repr(space).replace("width", "mlpclassifier__width")
    assert named in map(repr, values)
    assert getattr(target, "resource", "mlpclassifier__max_epochs") == (
        "mlpclassifier__max_epochs"
    )


def test_a_space_alone_gets_no_scaler():
    """It stays unchanged."""
    assert apply_remedies([scaler()], {"width": [4]}).target == {"width": [4]}
