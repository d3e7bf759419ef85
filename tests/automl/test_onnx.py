"""Export of ensembles to ONNX."""

import warnings

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import TweedieRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, QuantileTransformer

from sk_tune import AutoClassifier, AutoRegressor, MLPClassifier, TablePreparer
from sk_tune._automl._blend import Blend
from sk_tune._automl._models import boosting_model, linear_model, network_models
from sk_tune._ensemble import Combination, Member, export_ensemble
from sk_tune._ensemble._onnx_steps import _normal_quantile, _step, add_steps
from sk_tune._ensemble._onnx_trees import add_boosting
from sk_tune._onnx_graph import Graph
from sk_tune._prepare import circles

SMALL = {"time_budget": None, "n_rounds": 0, "cv": 2, "leak_guard": False}
NETWORKS = {**SMALL, "models": ["networks"], "random_state": 0}


def _answer(path, rows):
    session = onnxruntime.InferenceSession(path)
    (answer,) = session.run(None, {"X": rows})
    return answer


def _output(add, X, folder):
    """Return the output of a graph for X, with the operators added by a function."""
    graph = Graph(X.shape[1:], np.float64)
    graph.write(folder / "part.onnx", add(graph, graph.X), "found")
    return _answer(folder / "part.onnx", X)


def _as_inputs(X, inputs):
    """Return the inputs of the model for a table."""
    columns = []
    for column in inputs:
        values = X[column["name"]]
        if column["kind"] == "category":
            places = {value: place for place, value in enumerate(column["values"])}
            codes = values.astype(object).astype(str).map(places).fillna(-1)
            values = codes.where(values.notna())
        if column["kind"] == "date":
            values = (values - pd.Timestamp("1970-01-01")) / pd.Timedelta("1D")
        columns.append(values.to_numpy(dtype=np.float64))
    return np.column_stack(columns)


def test_members_may_lack_a_class_and_use_codes(mixed, tmp_path):
    """Numeric columns become quantiles, and categories are embedded."""
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

    about = export_ensemble(blend.parts, tmp_path / "blend.onnx")

    answer = _answer(tmp_path / "blend.onnx", _as_inputs(X, about["inputs"]))
    np.testing.assert_allclose(answer, blend.predict_proba(X), atol=1e-5)


@pytest.mark.slow
def test_targets_are_predicted_in_their_units(tmp_path):
    """The columns of an array have numbers as names."""
    X, y = load_diabetes(return_X_y=True)
    auto = AutoRegressor(**{**NETWORKS, "models": ["linear"]}).fit(X[:200], y[:200])

    about = auto.to_onnx(tmp_path / "auto.onnx")

    assert [column["name"] for column in about["inputs"]] == [str(k) for k in range(10)]
    answer = _answer(tmp_path / "auto.onnx", X[200:])
    np.testing.assert_allclose(answer[:, 0], auto.predict(X[200:]), rtol=1e-5)


def test_the_threshold_is_returned(few_linear, tmp_path):
    """Labels follow from the probability of one class and a number."""
    X, y = load_breast_cancer(return_X_y=True)
    options = {**SMALL, "models": ["linear"], "threshold": 0.9, "random_state": 0}
    auto = AutoClassifier(**options).fit(X[:200], y[:200])

    about = auto.to_onnx(tmp_path / "auto.onnx")

    column = about["classes"].index(about["threshold"]["class"])
    share = _answer(tmp_path / "auto.onnx", X)[:, column]
    is_positive = share >= about["threshold"]["value"]
    labels = np.array(about["classes"])[np.where(is_positive, column, 1 - column)]
    np.testing.assert_array_equal(labels, auto.predict(X).astype(str))


@pytest.fixture(scope="module")
def dated():
    """Return 300 rows with all kinds of columns, and labels that depend on them."""
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
    """Return rows with values that the training rows lack."""
    new = X.head(60).copy()
    new.loc[:9, "town"] = "never seen"
    new.loc[5:14, "since"] = pd.to_datetime(["2000-02-29 00:00", "2000-12-31 23:59"] * 5)
    new.loc[10:19, "size"] = [1e30, -1e30] * 5
    return new


def test_all_kinds_of_models_and_columns_are_written(dated, make_problem, tmp_path):
    """Dates are days since 1970; trees split categories as in scikit-learn."""
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

    texts = []
    about = export_ensemble(
        blend.parts, tmp_path / "blend.onnx", names=blend.names, progress=texts.append
    )

    assert texts[1] == "boosting 1, 2 folds"
    onnx.checker.check_model(tmp_path / "blend.onnx", full_check=True)
    kinds = {column["name"]: column["kind"] for column in about["inputs"]}
    assert kinds == {
        "size": "number",
        "flag": "number",
        "town": "category",
        "since": "date",
    }
    assert about["classes"] == ["a", "b"]
    assert [member["fold"] for member in about["members"]] == [None, 0, None, 1]
    assert {member["weight"] for member in about["members"]} == {0.25}
    new = _unlike(X)
    rows = _as_inputs(new, about["inputs"])
    answer = _answer(tmp_path / "blend.onnx", rows)
    np.testing.assert_allclose(answer, blend.predict_proba(new), atol=2e-6)


@pytest.mark.parametrize("make", [boosting_model, linear_model])
def test_dates_keep_their_seconds(make, make_problem, tmp_path):
    """A target that changes within a minute is predicted as in Python in each row."""
    rng = np.random.default_rng(0)
    since = pd.Timestamp("2024-02-28") + pd.to_timedelta(
        rng.integers(0, 500_000, 1000), "s"
    )
    X = pd.DataFrame({"since": since, "size": rng.normal(size=1000)})
    y = since.second.to_numpy() + 10.0 * since.hour + X["size"].to_numpy()
    problem = make_problem(X, y, is_classification=False)
    model = make(problem).estimator.fit(X[::2], y[::2])
    blend = Blend(combination=Combination([Member(model, 1.0)]), temperature=1)

    about = export_ensemble(blend.parts, tmp_path / "blend.onnx")

    answer = _answer(tmp_path / "blend.onnx", _as_inputs(X, about["inputs"]))
    np.testing.assert_allclose(answer[:, 0], blend.predict(X), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(
    ("power", "link"), [(0, "auto"), (1.5, "auto"), (0, "log"), (0, "identity")]
)
def test_generalised_linear_models_keep_their_link(power, link, tmp_path):
    """The link "auto" of scikit-learn is the identity up to power 0, else the logarithm."""
    X = np.random.default_rng(0).normal(size=(50, 3))
    y = 5 + X.sum(axis=1) / 4
    model = TweedieRegressor(power=power, link=link, alpha=0.1).fit(X, y)
    blend = Blend(combination=Combination([Member(model, 1.0)]), temperature=1)

    export_ensemble(blend.parts, tmp_path / "blend.onnx", shape=(3,))

    answer = _answer(tmp_path / "blend.onnx", X)
    np.testing.assert_allclose(answer[:, 0], model.predict(X), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("models", [["networks"], ["linear", "boosting"]])
def test_images_are_written(models, tmp_path):
    """They keep their shape and are scaled in the graph; trees exist for ten classes."""
    X, y = load_digits(return_X_y=True)
    X = X.reshape(-1, 1, 8, 8)
    auto = AutoClassifier(**{**NETWORKS, "models": models}).fit(X[:200], y[:200])

    for use in models if len(models) > 1 else ["ensemble"]:
        assert auto.set_params(use=use).to_onnx(tmp_path / "auto.onnx")["inputs"] == []
        answer = _answer(tmp_path / "auto.onnx", X[200:300])
        np.testing.assert_allclose(answer, auto.predict_proba(X[200:300]), atol=1e-5)


def test_a_model_that_cannot_be_written_is_named(mixed, tmp_path):
    """The message has a remedy."""
    X, y = mixed
    model = make_pipeline(TablePreparer(), DummyClassifier()).fit(X, y)
    blend = Blend(
        combination=Combination([Member(model, 1.0)], np.unique(y)),
        temperature=1,
        names=("dummy 1",),
    )

    with pytest.raises(TypeError, match="'dummy 1', which is a DummyClassifier. Keep the"):
        export_ensemble(blend.parts, tmp_path / "auto.onnx", names=blend.names)

    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def table():
    """Return numbers and categories, some missing, and three dependent classes."""
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
def test_trees_predict_like_those_of_scikit_learn(table, model, tmp_path):
    """On numbers, categories, and categories that the training rows lack."""
    X, y = table
    model.fit(X, y)
    new = X.astype(float)
    new.loc[::5, "c"] = 5.0
    coded = new.assign(c=pd.Categorical(new["c"].astype(int), categories=range(12)))

    output = _output(
        lambda graph, x: add_boosting(graph, x, model), new.to_numpy(), tmp_path
    )

    raw = getattr(model, "decision_function", model.predict)(coded)
    # The operator returns sums of 32 bits.
    np.testing.assert_allclose(output, raw.reshape(len(coded), -1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("numeric", ["smooth_clip", "standard", "quantile", None])
def test_a_table_is_prepared_as_by_the_preparer(numeric, tmp_path):
    """Numbers and flags, with missing values and values that the training rows lack."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=200), rng.exponential(size=200) * 1e6])
    X = np.column_stack([X, rng.integers(0, 2, 200)])
    X[::7, 0] = X[::9, 2] = np.nan
    prepare = TablePreparer(numeric=numeric).fit(X)
    columns = {name: {"kind": "number"} for name, _ in prepare.kinds_}
    new = np.concatenate([X, 3 * X, X + 1e-9])

    def add(graph, x):
        return add_steps(graph, x, [prepare], columns, "a member")

    output = _output(add, new, tmp_path)

    np.testing.assert_allclose(output, prepare.transform(new), rtol=1e-8, atol=1e-8)


def test_a_step_that_cannot_be_written_is_named():
    """The message also names the member."""
    graph = Graph((2,), np.float64)
    with pytest.raises(TypeError, match="a member with a Normalizer. Keep the model"):
        add_steps(graph, graph.X, [Normalizer()], None, "a member")


def test_normal_quantiles_match_scipy(tmp_path):
    """All digits agree, between the clipped ends."""
    p = np.concatenate([np.linspace(1e-7, 1 - 1e-7, 9999), np.geomspace(1e-7, 0.1, 99)])

    output = _output(_normal_quantile, p[:, None], tmp_path)

    np.testing.assert_allclose(output[:, 0], norm.ppf(p), atol=1e-14)


def test_circles_of_dates_match_the_preparer(tmp_path):
    """Each day of six centuries, including leap years and hours."""
    days = np.concatenate([np.arange(-135_000, 85_000), np.linspace(0, 9e4, 999), [np.nan]])

    step = FunctionTransformer(circles)
    output = _output(lambda graph, x: _step(graph, x, step, ""), days[:, None], tmp_path)

    np.testing.assert_allclose(output, circles(days[:, None]), atol=2e-9)


@pytest.mark.parametrize("whiten", [True, False])
def test_principal_components_match_scikit_learn(whiten, tmp_path):
    """Of equal variance or not."""
    X = np.random.default_rng(0).normal(size=(50, 4)) @ np.diag([1.0, 2.0, 3.0, 4.0]) + 5
    step = PCA(3, whiten=whiten).fit(X)

    output = _output(lambda graph, x: _step(graph, x, step, ""), X, tmp_path)

    np.testing.assert_allclose(output, step.transform(X), atol=1e-10)


def test_quantiles_match_scikit_learn(tmp_path):
    """At values, at ties, between and beyond them, and for missing values."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=500), rng.integers(0, 5, 500)])
    scaler = QuantileTransformer(n_quantiles=300, output_distribution="normal").fit(X)
    new = np.concatenate([X, X + 1e-3, 3 * X, X - 5, [[np.nan, np.nan]]])

    output = _output(lambda graph, x: _step(graph, x, scaler, ""), new, tmp_path)

    np.testing.assert_allclose(output, scaler.transform(new), atol=1e-8)
