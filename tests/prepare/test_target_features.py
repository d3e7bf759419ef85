"""Categories encoded by the target of other rows, and crosses that the target chooses."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    KFold,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import TargetEncoder

from sk_tune import (
    GridSearchCV,
    MLPClassifier,
    MLPRegressor,
    TablePreparer,
    collapse,
    load,
    save,
)

N = 400


@pytest.fixture
def towns():
    """A number, and a column of 60 towns, some missing, each with an effect."""
    rng = np.random.default_rng(0)
    town = rng.integers(60, size=N)
    X = pd.DataFrame({"age": rng.normal(size=N), "town": [f"town {i}" for i in town]})
    effect = rng.normal(size=60)[town] + 0.5 * rng.normal(size=N)
    return X.mask(rng.random(X.shape) < 0.05), effect


def _targets(kind, effect):
    classes = {"classes": ["low", "high"], "shares": ["low", "mid", "high"]}
    if kind not in classes:
        return np.round(100 * effect) if kind == "whole numbers" else effect
    return np.array(classes[kind])[pd.qcut(effect, len(classes[kind]), labels=False)]


def _preparer(**params):
    return TablePreparer(numeric=None, target_encoding=True, **params)


@pytest.mark.parametrize("kind", ["numbers", "whole numbers", "classes", "shares"])
def test_categories_are_encoded_as_by_scikit_learn(kind, towns):
    """Out of fold in fit_transform, and by all training rows in transform."""
    X, effect = towns
    y = _targets(kind, effect)
    encoder = TargetEncoder(
        target_type={"classes": "binary", "shares": "multiclass"}.get(kind, "continuous"),
        cv=KFold(5, shuffle=True, random_state=0),
    )
    texts = X[["town"]].astype(object).fillna("missing")
    preparer = _preparer()

    trained = preparer.fit_transform(X, y)
    new = preparer.transform(X)

    names = preparer.get_feature_names_out().tolist()
    columns = [name.endswith("_target") for name in names]
    expected = ["town_high", "town_low", "town_mid"] if kind == "shares" else ["town"]
    assert [n for n in names if n.endswith("_target")] == [f"{n}_target" for n in expected]
    assert_allclose(trained[:, columns], encoder.fit_transform(texts, y))
    assert_allclose(new[:, columns], encoder.transform(texts))


def test_a_category_that_fit_has_not_seen_gets_the_mean_of_the_target(towns):
    """So does a missing value if the training rows have none."""
    X, y = towns
    X = X.dropna()
    y = y[X.index]
    preparer = _preparer().fit(X, y)
    place = preparer.get_feature_names_out().tolist().index("town_target")

    new = preparer.transform(X.head(2).assign(town=["elsewhere", None]))

    assert_allclose(new[:, place], y.mean())


def test_columns_of_few_categories_are_not_encoded():
    """Their one-hot columns hold the same."""
    X = pd.DataFrame({"town": ["Bern", "Köln", "Ulm"] * 20})
    plain = TablePreparer().fit_transform(X)

    assert np.array_equal(_preparer().fit_transform(X, np.arange(60.0)), plain)


def test_means_are_scaled_like_numbers(towns):
    """Large targets remain small inputs."""
    X, y = towns
    preparer = TablePreparer(target_encoding=True)
    Z = preparer.fit_transform(X, 1e6 * y + 1e9)

    place = preparer.get_feature_names_out().tolist().index("town_target")
    assert abs(np.median(Z[:, place])) < 1e-6
    assert np.abs(Z).max() <= 3


def test_text_that_recurs_in_few_rows_is_encoded():
    """Tickets of two or three rows, but neither names nor a copy as categories."""
    tickets = [f"A/{k // 2}" for k in range(300)]
    X = pd.DataFrame({"ticket": tickets, "name": [f"name {k}" for k in range(300)]})
    y = np.arange(300) // 2 % 2
    embedded = _preparer(embeddings=True).fit(X, y)

    Z = embedded.transform(X)

    assert embedded.get_feature_names_out().tolist() == ["ticket_target"]
    assert [*embedded.dropped_] == ["name"]
    assert np.corrcoef(embedded.fit_transform(X, y)[:, 0], y)[0, 1] > 0.5
    assert Z.shape == (300, 1)


@pytest.mark.parametrize("is_out_of_fold", [True, False])
def test_categories_of_pure_noise_are_worth_nothing(is_out_of_fold):
    """A network scores at chance, unless it trains on means of its own targets."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({f"c{j}": rng.integers(200, size=600).astype(str) for j in range(2)})
    X = "street " + X
    y = rng.permutation(600) % 2
    prepare = TablePreparer if is_out_of_fold else _InSample
    net = MLPClassifier(width=16, max_epochs=20, random_state=0)
    pipe = make_pipeline(prepare(target_encoding=True), net)
    cv = StratifiedKFold(4, shuffle=True, random_state=0)

    loss = log_loss(y, cross_val_predict(pipe, X, y, cv=cv, method="predict_proba"))

    assert (loss < 0.75) == is_out_of_fold


class _InSample(TablePreparer):
    """A preparer that encodes training rows by their own targets."""

    def fit_transform(self, X, y=None):
        return self.fit(X, y).transform(X)


def test_searches_score_as_scikit_learn(towns):
    """The engine trains on out-of-fold means, and scores on means of the training fold."""
    X, effect = towns
    X["size"] = X["age"] * effect
    net = MLPRegressor(width=8, max_epochs=5, random_state=0)
    pipe = make_pipeline(TablePreparer(embeddings=True), net)
    name = "tablepreparer__target_encoding"
    grid = {name: [False, True], "tablepreparer__crosses": [0, 2]}

    search = GridSearchCV(pipe, grid, cv=3).fit(X, effect)

    for k, params in enumerate(search.cv_results_["params"]):
        pipe.set_params(**params)
        expected = cross_val_score(pipe, X, effect, cv=3)
        scores = [search.cv_results_[f"split{i}_test_score"][k] for i in range(3)]
        assert_allclose(scores, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["numbers", "shares"])
def test_fitted_pipelines_are_kept_in_files(kind, towns, tmp_path):
    """By pickle, by save and as ONNX, also for unknown categories."""
    X, effect = towns
    X["ticket"] = [f"A/{k // 2}" for k in range(N)]
    net = MLPRegressor if kind == "numbers" else MLPClassifier
    X["size"] = X["age"] * np.arange(N)
    prepare = TablePreparer(target_encoding=True, crosses=2)
    pipe = make_pipeline(prepare, net(width=8, max_epochs=2, random_state=0))
    pipe.fit(X, _targets(kind, effect))
    predict = "predict" if kind == "numbers" else "predict_proba"
    X.loc[:20, ["town", "ticket"]] = "new"
    expected = getattr(pipe, predict)(X)

    save(pipe, tmp_path / "pipe")
    for copy in (load(tmp_path / "pipe"), pickle.loads(pickle.dumps(pipe))):
        assert np.array_equal(getattr(copy, predict)(X), expected)

    runtime = pytest.importorskip("onnxruntime")
    path = tmp_path / "pipe.onnx"
    inputs = collapse(pipe).to_onnx(path)["inputs"]
    columns = [X["age"], X["size"]]
    for column in inputs[2:]:
        texts, codes = X[column["name"]], pd.Index(column["values"])
        places = pd.Series(codes.get_indexer(texts), X.index, dtype=float)
        columns.append(places.where(texts.notna()))
    rows = np.column_stack(columns)
    (answer,) = runtime.InferenceSession(path).run(None, {"X": rows})
    assert_allclose(answer.reshape(expected.shape), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        (np.zeros((N, 2)), "1d array"),
        (np.zeros(N - 1), "inconsistent numbers of samples"),
    ],
)
def test_the_target_is_checked(y, message, towns):
    """One target for each row."""
    for params in ({"target_encoding": True}, {"crosses": 2}):
        with pytest.raises(ValueError, match=message):
            TablePreparer(**params).fit(towns[0], y)


@pytest.mark.parametrize("is_class", [False, True])
def test_numbers_next_to_the_target_are_crossed(is_class):
    """All pairs of the columns that correlate most, in fit and in transform."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(200, 4)), columns=["a", "b", "c", "d"])
    y = X["d"] + 0.5 * X["b"] + 0.1 * X["a"]
    y = (y > 0).map({True: "yes", False: "no"}) if is_class else y
    X.loc[0, "d"], X.loc[1, "b"] = None, 0.0
    preparer = TablePreparer(numeric=None, impute_strategy=None, crosses=2)

    Z = preparer.set_output(transform="pandas").fit_transform(X, y)

    pd.testing.assert_frame_equal(Z, preparer.transform(X))
    crosses = Z[["d_times_b", "d_by_b"]].to_numpy()
    expected = np.column_stack([X["d"] * X["b"], X["d"] / X["b"].replace(0.0, None)])
    assert_allclose(crosses, expected.astype(float))
    assert set(Z) - {"d_times_b", "d_by_b", "d_missing"} == {*"abcd"}


def test_crosses_are_finite_and_scaled():
    """Without columns that are mostly zero, missing or huge; a ratio to 0 is missing."""
    counts = np.arange(60.0)
    X = pd.DataFrame({"a": counts, "b": counts[::-1] ** 2, "huge": 1e200 * counts})
    X["gaps"], X["zero"] = X["a"].where(X["a"] > 40), X["a"] * (X["a"] > 40)
    preparer = TablePreparer(crosses=9)

    Z = preparer.fit_transform(X, counts)

    crosses = [n for n in preparer.get_feature_names_out() if "_times_" in n or "_by_" in n]
    assert sorted(crosses) == ["a_by_b", "a_times_b"]
    assert np.abs(Z).max() <= 3


@pytest.mark.parametrize("n_columns", [0, 1])
def test_one_column_of_numbers_has_no_cross(n_columns):
    """A table of categories has none either."""
    X = pd.DataFrame({"town": ["Bern", "Ulm"] * 30, "age": np.arange(60.0) ** 2})
    X = X.iloc[:, : 1 + n_columns]

    Z = TablePreparer(crosses=3).fit_transform(X, np.arange(60.0))

    assert np.array_equal(Z, TablePreparer().fit_transform(X))


def test_fits_are_repeatable(towns):
    """Two fits on the same rows give the same numbers."""
    X, y = towns

    assert np.array_equal(_preparer().fit_transform(X, y), _preparer().fit_transform(X, y))
    assert clone(_preparer()).target_encoding
