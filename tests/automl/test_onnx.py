"""Averages as ONNX models."""

import warnings

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from marks import slow
from scipy.stats import norm
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, QuantileTransformer

from sk_tune import AutoClassifier, AutoRegressor, MLPClassifier, TablePreparer
from sk_tune._compat import boosted_trees
from sk_tune.automl import _onnx_blend
from sk_tune.automl._blend import Blend
from sk_tune.automl._models import boosting_model, linear_model, network_models
from sk_tune.automl._onnx_blend import Encoded, Forest, TreesOutput, export_blend
from sk_tune.automl._onnx_columns import Circles, Quantiles, _normal_quantile, front_of
from sk_tune.ensemble import Combination, Member
from sk_tune.prepare import circles

SMALL = {"time_budget": None, "n_rounds": 0, "cv": 2, "leak_guard": False}
NETWORKS = {**SMALL, "models": ["network"], "random_state": 0}


def _answer(path, rows):
    session = onnxruntime.InferenceSession(path)
    (answer,) = session.run(None, {"X": rows})
    return answer


def _as_told(X, inputs):
    """Return a table as the model takes it."""
    columns = []
    for column in inputs:
        own = X[column["name"]]
        if column["kind"] == "category":
            places = {value: place for place, value in enumerate(column["values"])}
            codes = own.astype(object).astype(str).map(places).fillna(-1)
            own = codes.where(own.notna())
        if column["kind"] == "date":
            own = (own - pd.Timestamp("1970-01-01")) / pd.Timedelta("1D")
        columns.append(own.to_numpy(dtype=np.float64))
    return np.column_stack(columns)


@pytest.mark.slow
def test_members_may_lack_a_class_and_take_codes(mixed, tmp_path):
    """Numbers are places among the training samples, categories are for embeddings."""
    X, y = mixed
    X = X.drop(columns="since").assign(many=[f"c{k % 11}" for k in range(120)])
    X["many"] = X["many"].where(X.index != 7)
    y = np.where((np.arange(120) % 9 == 0) & (y == "yes"), "maybe", y)
    members = [
        Member(
            make_pipeline(
                TablePreparer(embeddings=True, numeric="quantile"),
                MLPClassifier(max_epochs=2, width=8, random_state=0),
            ).fit(X[rows], y[rows]),
            0.5,
        )
        for rows in (np.arange(120) < 90, y != "maybe")
    ]
    blend = Blend(
        combination=Combination(members, np.unique(y)),
        temperature=1.7,
        names=("MLP 1", "MLP 2"),
    )

    about = export_blend(blend, tmp_path / "blend.onnx")

    answer = _answer(tmp_path / "blend.onnx", _as_told(X, about["inputs"]))
    np.testing.assert_allclose(answer, blend.predict_proba(X), atol=1e-5)


@pytest.mark.slow
def test_numbers_are_predicted_in_their_units(tmp_path):
    """An array has its columns numbered."""
    X, y = load_diabetes(return_X_y=True)
    auto = AutoRegressor(**{**NETWORKS, "models": ["linear"]}).fit(X[:200], y[:200])

    about = auto.to_onnx(tmp_path / "auto.onnx")

    assert [column["name"] for column in about["inputs"]] == [str(k) for k in range(10)]
    answer = _answer(tmp_path / "auto.onnx", X[200:])
    np.testing.assert_allclose(answer[:, 0], auto.predict(X[200:]), rtol=1e-5)


@pytest.fixture(scope="module")
def dated():
    """Return 300 rows with all that a table may hold, and labels that follow from them."""
    rng = np.random.default_rng(0)
    n = 300
    X = pd.DataFrame({
        "size": rng.normal(size=n),
        "flag": rng.integers(0, 2, n),
        "town": rng.choice([f"t{k}" for k in range(20)], n),
        "since": pd.Timestamp("1999-12-28")
        + pd.to_timedelta(rng.integers(0, 9000, n), "h"),
    })
    y = np.where(
        X["size"] + (X["town"] < "t15") + (X["since"].dt.month == 3) > 0.8, "b", "a"
    )
    X.loc[::7, ["size", "town"]] = None
    X.loc[::9, "since"] = pd.NaT
    return X, y


def _unlike(X):
    """Return rows with values that no training row has."""
    new = X.head(60).copy()
    new.loc[:9, "town"] = "never seen"
    new.loc[5:14, "since"] = pd.to_datetime(["2000-02-29 00:00", "2000-12-31 23:59"] * 5)
    new.loc[10:19, "size"] = [1e30, -1e30] * 5
    return new


@pytest.mark.parametrize("is_written", [False, slow(True)])
def test_all_kinds_of_models_and_columns_are_written(
    is_written, dated, make_problem, tmp_path, monkeypatch
):
    """Dates are days since 1970; trees and their categories decide as scikit-learn's."""
    modules = []
    if not is_written:
        # To write the module that an ONNX model is made of takes many seconds.
        monkeypatch.setattr(
            _onnx_blend,
            "export_module",
            lambda module, networks, example, path, **own: (
                path.touch() or modules.append(module.eval())
            ),
        )
    X, y = dated
    problem = make_problem(X, y)
    models = [linear_model(problem), boosting_model(problem), network_models(problem)[0]]
    members = []
    for model in models:
        few = {model.resource: min(model.most_resources, 5)}
        estimator = model.estimator.set_params(**few)
        # Five steps of a solver do not converge.
        with warnings.catch_warnings(action="ignore"):
            members.append(Member(estimator.fit(X[::2], y[::2]), 1 / 4))
    members.append(Member(clone(models[1].estimator).fit(X[1::2], y[1::2]), 1 / 4))
    blend = Blend(
        combination=Combination(members, np.unique(y)),
        temperature=1.3,
        names=(*(f"{model.name} 1" for model in models), "boosting 1"),
    )

    about = export_blend(blend, tmp_path / "blend.onnx")

    kinds = {column["name"]: column["kind"] for column in about["inputs"]}
    assert kinds == {
        "size": "number",
        "flag": "number",
        "town": "category",
        "since": "date",
    }
    assert about["classes"] == ["a", "b"]
    assert [own["fold"] for own in about["members"]] == [0, 0, 0, 1]
    assert {own["weight"] for own in about["members"]} == {0.25}
    new = _unlike(X)
    rows = _as_told(new, about["inputs"])
    for module in modules:
        answer = module(torch.from_numpy(rows)).detach().numpy()
    if is_written:
        answer = _answer(tmp_path / "blend.onnx", rows)
    np.testing.assert_allclose(answer, blend.predict_proba(new), atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("models", [["network"], ["linear", "boosting"]])
def test_images_are_written(models, tmp_path):
    """They keep their shape and are scaled inside; ten classes have trees of their own."""
    X, y = load_digits(return_X_y=True)
    X = X.reshape(-1, 1, 8, 8)
    auto = AutoClassifier(**{**NETWORKS, "models": models}).fit(X[:200], y[:200])

    for use in models if len(models) > 1 else ["ensemble"]:
        assert auto.set_params(use=use).to_onnx(tmp_path / "auto.onnx")["inputs"] == []
        answer = _answer(tmp_path / "auto.onnx", X[200:300])
        np.testing.assert_allclose(answer, auto.predict_proba(X[200:300]), atol=1e-5)


def test_a_model_that_cannot_be_written_is_named(mixed, tmp_path):
    """With what to do instead."""
    X, y = mixed
    model = make_pipeline(TablePreparer(), DummyClassifier()).fit(X, y)
    blend = Blend(
        combination=Combination([Member(model, 1.0)], np.unique(y)),
        temperature=1,
        names=("dummy 1",),
    )

    with pytest.raises(TypeError, match="'dummy 1', which is a DummyClassifier. Keep the"):
        export_blend(blend, tmp_path / "auto.onnx")

    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def table():
    """Return numbers and categories, some missing, and three classes that follow."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=600), "b": rng.normal(size=600)})
    codes = rng.integers(0, 12, 600)
    codes[codes == 5] = 6
    X.insert(1, "c", pd.Categorical.from_codes(codes, categories=range(12)))
    y = (X["a"] + np.isin(codes, [1, 4, 9]) > 0).astype(int) + (X["b"] > 1)
    X.loc[::8, "a"] = np.nan
    return X, y.to_numpy()


@pytest.mark.parametrize(
    "model",
    [
        HistGradientBoostingClassifier(max_iter=20),
        HistGradientBoostingRegressor(max_iter=20),
        HistGradientBoostingRegressor(max_iter=20, loss="poisson"),
    ],
    ids=["classes", "numbers", "logarithms"],
)
def test_trees_decide_as_those_of_scikit_learn(table, model):
    """By numbers, categories, and categories that no training row has."""
    X, y = table
    model.fit(X, y)
    trees = boosted_trees(model)
    new = X.astype(float)
    new.loc[::5, "c"] = 5.0
    coded = new.assign(c=pd.Categorical(new["c"].astype(int), categories=range(12)))

    features = Encoded(trees)(torch.from_numpy(new.to_numpy()))
    # Of two members, the trees of the second follow those of the first.
    leaves = Forest([trees, trees])(torch.cat([features, features], dim=1))
    found = TreesOutput(trees, model)(leaves[:, len(trees.trees) :]).numpy()

    is_classifier = hasattr(model, "predict_proba")
    predict = model.predict_proba if is_classifier else model.predict
    np.testing.assert_allclose(found, predict(coded).reshape(len(coded), -1), rtol=1e-12)


@pytest.mark.parametrize("numeric", ["smooth_clip", "standard", "quantile", None])
def test_a_table_is_prepared_as_by_the_preparer(numeric):
    """Numbers and flags, with missing ones and some that no training row had."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=200), rng.exponential(size=200) * 1e6])
    X = np.column_stack([X, rng.integers(0, 2, 200)])
    X[::7, 0] = X[::9, 2] = np.nan
    prepare = TablePreparer(numeric=numeric).fit(X)
    columns = {name: ("number", []) for name, _ in prepare.kinds_}
    new = np.concatenate([X, 3 * X, X + 1e-9])

    found = front_of([prepare], columns, "a member")(torch.from_numpy(new)).numpy()

    np.testing.assert_allclose(found, prepare.transform(new), rtol=1e-8, atol=1e-8)


def test_what_cannot_be_written_is_named():
    """With the member that has it."""
    with pytest.raises(TypeError, match="'a member' with a Normalizer. Keep the model"):
        front_of([Normalizer()], None, "a member")


def test_normal_quantiles_are_those_of_scipy():
    """To all digits, from one end that is clipped to the other."""
    p = np.concatenate([np.linspace(1e-7, 1 - 1e-7, 9999), np.geomspace(1e-7, 0.1, 99)])

    found = _normal_quantile(torch.from_numpy(p)).numpy()

    np.testing.assert_allclose(found, norm.ppf(p), atol=1e-14)


def test_places_of_dates_are_those_of_the_preparer():
    """Each day of six centuries, leap years and hours too."""
    days = np.concatenate([np.arange(-135_000, 85_000), np.linspace(0, 9e4, 999), [np.nan]])

    found = Circles()(torch.from_numpy(days[:, None])).numpy()

    np.testing.assert_allclose(found, circles(days[:, None]), atol=2e-9)


def test_quantiles_are_those_of_scikit_learn():
    """Between values, at values that recur, beyond all of them, and missing."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=500), rng.integers(0, 5, 500)])
    scaler = QuantileTransformer(n_quantiles=300, output_distribution="normal").fit(X)
    new = np.concatenate([X, X + 1e-3, 3 * X, X - 5, [[np.nan, np.nan]]])

    found = Quantiles(scaler)(torch.from_numpy(new)).numpy()

    np.testing.assert_allclose(found, scaler.transform(new), atol=1e-8)
