"""Estimators with a network for the engine, and the resulting fits."""

import gc
import weakref

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse
from sklearn import model_selection
from sklearn.compose import ColumnTransformer
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.feature_selection import SelectFromModel, SequentialFeatureSelector
from sklearn.impute import IterativeImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import GridSearchCV, MLPClassifier
from sk_tune._compat import FoldTask
from sk_tune._search import _network_training
from sk_tune._search._fold_fits import FitMaker, _stack


@pytest.fixture
def task(iris):
    """Return a function that makes the task of a candidate on the first fold."""
    train, test = next(StratifiedKFold(3).split(*iris))

    def task(estimator, **more):
        fields = {
            "X": iris.X,
            "y": iris.y,
            "train": train,
            "test": test,
            "parameters": {},
            "fit_params": {},
            "candidate": 0,
            "fold": 0,
        }
        return FoldTask(estimator=estimator, **{**fields, **more})

    return task


def test_weights_behind_a_pipeline_are_those_of_the_training_rows(task):
    """They are the weights of the fold's rows; monitor rows have weight 1."""
    weight = np.arange(1.0, 151.0)
    pipeline = Pipeline([("scale", StandardScaler()), ("net", MLPClassifier())])
    fold_task = task(pipeline, fit_params={"net__sample_weight": weight})

    fit = FitMaker().make(fold_task, 0).fit

    np.testing.assert_array_equal(fit.sample_weight[fit.rows], weight[fold_task.train])
    np.testing.assert_array_equal(fit.sample_weight[fit.monitor], 1)


def test_rows_that_cannot_be_transformed_cost_the_curves_only(task):
    """If the held-out rows cannot be transformed the fit has no monitor."""

    class TrainOnly(StandardScaler):
        def fit_transform(self, X, y=None):
            return self.fit(X).mean_ * 0 + X

        def transform(self, X):
            raise RuntimeError

    pipeline = Pipeline([("t", TrainOnly()), ("net", MLPClassifier())])
    fit = FitMaker().make(task(pipeline), 0).fit

    assert fit.monitor is None
    assert len(fit.rows) == len(fit.X) == 100


@pytest.mark.parametrize(
    "kind",
    [
        np.asarray,
        np.ndarray.tolist,
        torch.as_tensor,
        pd.DataFrame,
        pl.DataFrame,
        sparse.csr_array,
    ],
)
def test_tables_of_every_kind_are_joined(kind):
    """Training and held-out rows become one table of their kind."""
    first, second = np.eye(3), np.ones((2, 3))

    joined = _stack(kind(first), kind(second))

    if sparse.issparse(joined):
        joined = joined.toarray()
    np.testing.assert_array_equal(np.asarray(joined), np.vstack([first, second]))


def test_transformers_that_use_joblib_share_their_rows(make_estimator, iris, monkeypatch):
    """A ColumnTransformer calls joblib; candidates still train on one table per fold."""
    columns = ColumnTransformer([("scale", StandardScaler(), [0, 1, 2, 3])])
    net = make_estimator("MLPClassifier")
    pipeline = Pipeline([("columns", columns), ("net", net)])
    requests, train = [], _network_training.train

    def noting(fits, **options):
        requests.extend(fits)
        return train(fits, **options)

    monkeypatch.setattr(_network_training, "train", noting)
    GridSearchCV(pipeline, {"net__learning_rate": [0.01, 0.02, 0.03]}, cv=2).fit(*iris)

    assert len(requests) == 6
    assert len({id(fit.X) for fit in requests}) == 2


def test_a_search_inside_a_transformer_is_independent(make_estimator, iris):
    """Tasks of a scikit-learn search before the network are not candidates."""
    inner = model_selection.GridSearchCV(
        LogisticRegression(max_iter=1000), {"C": [0.1, 1.0]}, cv=2
    )
    select = SelectFromModel(inner, importance_getter="best_estimator_.coef_")
    pipeline = Pipeline([("select", select), ("net", make_estimator("MLPClassifier"))])

    search = GridSearchCV(pipeline, {"net__learning_rate": [1e-3, 1e-2]}, cv=2).fit(*iris)

    assert search.ledger_.n_candidates == 2
    assert search.ledger_.n_fits == 4


@pytest.fixture
def before_the_network(make_estimator):
    """Return a function that makes a transformer with networks."""
    inner = {"max_epochs": 3, "batch_size": 64, "dtype": "float64"}

    def before(kind):
        if kind == "imputer":
            net = make_estimator("MLPRegressor", **inner)
            return IterativeImputer(net, max_iter=1, tol=1e9, random_state=0)
        net = make_estimator("MLPClassifier", **inner)
        return SequentialFeatureSelector(net, n_features_to_select=1, cv=2)

    return before


@pytest.fixture
def with_gaps(iris):
    """Return the data with some values missing in two columns."""
    X = iris.X.copy()
    X[::7, 1] = X[::11, 3] = np.nan
    return X, iris.y


@pytest.mark.parametrize("kind", ["imputer", "selector"])
def test_networks_in_transformers_train_as_usual(
    make_estimator, iris, with_gaps, before_the_network, assert_same_search, kind
):
    """Only the last step is trained by the engine, so scikit-learn's search agrees."""
    net = make_estimator("MLPClassifier", dtype="float64")
    pipeline = Pipeline([("before", before_the_network(kind)), ("net", net)])
    grid = {"net__learning_rate": [1e-3, 1e-2]}

    ours = assert_same_search(
        GridSearchCV(pipeline, grid, cv=2),
        model_selection.GridSearchCV(pipeline, grid, cv=2),
        *(with_gaps if kind == "imputer" else iris),
    )

    assert ours.ledger_.n_in_fleets == 4


def test_transformers_that_a_task_fits_again_train_their_networks(
    make_estimator, with_gaps, before_the_network, assert_same_search, tmp_path
):
    """With its own memory, a pipeline fits its networks again."""
    net = make_estimator("MLPClassifier", dtype="float64")
    steps = [("before", before_the_network("imputer")), ("net", net)]

    assert_same_search(
        GridSearchCV(Pipeline(steps, memory=str(tmp_path)), {"net__width": [4, 6]}, cv=2),
        model_selection.GridSearchCV(Pipeline(steps), {"net__width": [4, 6]}, cv=2),
        *with_gaps,
    )


class Traced(np.ndarray):
    """Rows that count their living tables."""

    tables: list[weakref.ref] = []  # noqa: RUF012 - shared on purpose

    def __array_finalize__(self, _):
        Traced.tables.append(weakref.ref(self))

    @staticmethod
    def n_tables(n_rows):
        """Return the number of living tables with `n_rows` rows."""
        gc.collect()
        tables = [table() for table in Traced.tables]
        return sum(table is not None and table.shape[:1] == (n_rows,) for table in tables)


class Watching(StandardScaler):
    """Records the number of tables of a fold when it is fitted on all rows."""

    n_seen: list[int] = []  # noqa: RUF012 - shared on purpose

    def fit(self, X, y=None):
        """Count training folds and held-out folds."""
        if len(X) == 150:
            Watching.n_seen.append(Traced.n_tables(100) + Traced.n_tables(50))
        return super().fit(X, y)


@pytest.mark.parametrize("name", ["net", "other"])
def test_rows_of_folds_are_not_kept_for_the_refit(make_estimator, iris, name):
    """They exist while candidates are prepared, and for networks only."""
    last = {"net": make_estimator("MLPClassifier"), "other": LogisticRegression()}[name]
    grid = {"net": {"last__width": [4, 5]}, "other": {"last__C": [0.1, 1.0]}}[name]
    steps = [("scale", StandardScaler()), ("watch", Watching()), ("last", last)]
    Watching.n_seen.clear()
    Traced.tables.clear()

    GridSearchCV(Pipeline(steps), grid, cv=3).fit(iris.X.view(Traced), iris.y)

    assert Watching.n_seen == [0]
