"""Transformers fitted once per fold, and their held-out samples."""

from functools import partial

import numpy as np
import pytest
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import Pipeline as SamplingPipeline
from joblib import Memory
from sklearn import model_selection
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA, KernelPCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import make_scorer
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from sk_tune import GridSearchCV
from sk_tune._search._fold_fits import FittedTransformers, FoldCache
from sk_tune.exceptions import TrainedAloneWarning

CV = StratifiedKFold(3, shuffle=True, random_state=1)
RATES = [0.001, 0.03]


class Counting(TransformerMixin, BaseEstimator):
    """A transformer that counts its fits, and adds noise without a seed."""

    fits: list[float] = []  # noqa: RUF012 - shared by all clones on purpose

    def __init__(self, scale=1.0, noise=0.0):
        self.scale = scale
        self.noise = noise

    def fit(self, X, y=None):
        Counting.fits.append(self.scale)
        self.shift_ = self.noise * np.random.default_rng().normal(size=X.shape[1])
        return self

    def transform(self, X):
        return X * self.scale + self.shift_


@pytest.fixture
def counted():
    """The number of fits so far, none at the start."""
    Counting.fits.clear()
    return Counting.fits


def test_a_transformer_is_fitted_once_for_each_fold_and_value(net, iris, counted):
    """Network parameters do not multiply the fits of transformers."""
    pipeline = Pipeline([("count", Counting()), ("scale", StandardScaler()), ("net", net)])
    grid = {
        "count__scale": [1.0, 2.0],
        "net__learning_rate": RATES,
        "net__hidden_layer_sizes": [(4,), (6,)],
    }

    GridSearchCV(pipeline, grid, cv=CV, refit=False).fit(*iris)

    assert sorted(counted) == [1.0] * 3 + [2.0] * 3


def test_a_second_transformer_is_fitted_once_for_each_first(net, iris, counted):
    """The key of a later transformer has the parameters of earlier transformers only."""
    pipeline = Pipeline([("pca", PCA()), ("count", Counting()), ("net", net)])
    grid = {"pca__n_components": [2, 3], "net__learning_rate": RATES}

    GridSearchCV(pipeline, grid, cv=CV, refit=False).fit(*iris)

    assert len(counted) == 2 * 3


def _kept(pipeline, data):
    """Return a search over rates that keeps all of its models."""
    search = GridSearchCV(pipeline, {"net__learning_rate": RATES}, cv=CV, keep_models="all")
    return search.fit(*data)


def _twins(search, net, iris):
    """Yield each network of a search trained alone on the rows of its noise."""
    for row in (0, 1):
        for fold, (train, test) in enumerate(CV.split(*iris)):
            shift = search.models_[row][fold].named_steps["noise"].shift_
            alone = clone(net).set_params(learning_rate=RATES[row])
            alone.fit(iris.X[train] + shift, iris.y[train])
            yield row, fold, test, alone, iris.X[test] + shift


def test_random_transformers_are_the_same_in_training_and_scoring(net, iris, counted):
    """An unseeded transformer's draws for training are the same in scoring."""
    search = _kept(Pipeline([("noise", Counting(noise=5.0)), ("net", net)]), iris)

    for row, fold, test, alone, shifted in _twins(search, net, iris):
        model = search.models_[row][fold]
        np.testing.assert_allclose(
            model.predict_proba(iris.X[test]), alone.predict_proba(shifted), atol=1e-9
        )
        np.testing.assert_allclose(
            search.oof_predictions_[row][test], model.predict_proba(iris.X[test]), atol=1e-9
        )


def test_a_dropped_transformer_is_not_mistaken_for_another(net, iris, counted, monkeypatch):
    """Fitted again its result differs; the network is then trained on the new rows."""
    monkeypatch.setattr(FittedTransformers.__init__, "__defaults__", (1,))
    pipeline = Pipeline([("noise", Counting(noise=50.0)), ("net", net)])

    with pytest.warns(
        TrainedAloneWarning, match="6 networks were trained alone.*fitted again"
    ):
        search = _kept(pipeline, iris)

    for row, fold, test, alone, shifted in _twins(search, net, iris):
        expected = alone.predict_proba(shifted)
        model = search.models_[row][fold]
        np.testing.assert_allclose(model.predict_proba(iris.X[test]), expected, atol=1e-9)
        np.testing.assert_allclose(search.oof_predictions_[row][test], expected, atol=1e-6)
        score = search.cv_results_[f"split{fold}_test_score"][row]
        assert score == alone.score(shifted, iris.y[test])
    # The curves of the engine are those of other networks.
    assert len(search.learning_curves_) == 0
    assert any("fitted again" in reason for reason in search.ledger_.alone_reasons)


@pytest.mark.parametrize(
    ("steps", "grid"),
    [
        ([("scale", StandardScaler(copy=False))], {"scale__with_std": [True, False]}),
        (
            [("fill", SimpleImputer()), ("scale", StandardScaler(copy=False))],
            {"scale__with_std": [True, False]},
        ),
        ([("keep", "passthrough")], {"net__learning_rate": RATES}),
        (
            [("scale", StandardScaler(copy=False)), ("pca", PCA())],
            {"pca__n_components": [2, 3]},
        ),
    ],
)
@pytest.mark.parametrize("has_memory", [False, True])
def test_transformers_that_work_in_place_affect_no_other(
    net, iris, tmp_path, steps, grid, has_memory
):
    """A transformer that overwrites its rows does not change other candidates' rows."""
    memory = Memory(tmp_path, verbose=0) if has_memory else None
    pipeline = Pipeline([*steps, ("net", net)], memory=memory)
    X, y = iris.X.copy(), iris.y
    ours = GridSearchCV(
        pipeline, grid, cv=CV, refit=False, scoring="neg_log_loss", keep_models="all"
    ).fit(X, y)
    pipeline.memory = None
    theirs = model_selection.GridSearchCV(
        pipeline, grid, cv=CV, refit=False, scoring="neg_log_loss"
    ).fit(X, y)

    np.testing.assert_array_equal(X, iris.X)
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"]
    )
    for row, models in ours.models_.items():
        for model, (_, test) in zip(models, CV.split(X, y), strict=True):
            np.testing.assert_allclose(
                ours.oof_predictions_[row][test], model.predict_proba(X[test]), atol=1e-9
            )


@pytest.mark.parametrize("has_memory", [False, True])
def test_models_have_the_users_memory_if_any(net, iris, tmp_path, has_memory):
    """A pipeline uses it in the search and afterwards; none keeps the search's cache."""
    memory = Memory(tmp_path, verbose=0) if has_memory else None
    pipeline = Pipeline([("scale", StandardScaler()), ("net", net)], memory=memory)

    search = _kept(pipeline, iris)

    assert pipeline.memory is memory
    assert any(tmp_path.rglob("output.pkl")) == has_memory
    models = [model for folds in search.models_.values() for model in folds]
    assert len(models) == 6
    for model in (*models, search.best_estimator_):
        assert getattr(model.memory, "location", None) == (tmp_path if has_memory else None)


@pytest.mark.parametrize("random_state", [0, None])
def test_samplers_resample_training_rows_only(net, breast_cancer, random_state):
    """imbalanced-learn's pipeline resamples each training fold and scores all test rows."""
    pipeline = SamplingPipeline([
        ("scale", StandardScaler()),
        ("sample", RandomOverSampler(random_state=random_state)),
        ("net", net),
    ])
    grid = {"net__learning_rate": RATES}

    ours = GridSearchCV(pipeline, grid, cv=CV, scoring="neg_log_loss").fit(*breast_cancer)

    assert ours.oof_predictions_.shape == (2, 200, 2)
    assert not np.isnan(ours.oof_predictions_).any()
    assert ours.ledger_.n_in_fleets == 6
    if random_state is not None:
        theirs = model_selection.GridSearchCV(
            pipeline, grid, cv=CV, scoring="neg_log_loss"
        ).fit(*breast_cancer)
        np.testing.assert_allclose(
            ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"]
        )


def test_rows_of_unknown_origin_are_not_cached():
    """A second step with rows from outside of the cache is computed each time."""
    store = FittedTransformers()
    for factor in (1, 2):
        call = FoldCache(store, "fold").cache(lambda step, X, y: (2 * X, step))
        call(PCA(), np.eye(3), None)
        assert call(PCA(), factor * np.eye(3), None)[0].max() == 2 * factor


def test_the_least_recently_used_results_are_dropped():
    """Beyond the limit of bytes."""
    store = FittedTransformers(most_bytes=100)
    first = np.zeros(6), "fitted"
    store.keep("a", first)
    store.keep("b", (np.zeros(6), "fitted"))
    assert store.find("a") is first

    store.keep("c", (np.zeros(6), "fitted"))

    assert store.find("a") is first
    assert store.find("b") is None
    large = np.zeros(99), "fitted"
    store.keep("d", large)
    assert (store.find("a"), store.find("d")) == (None, large)


GRID = {"net__learning_rate": [0.001, 0.01, 0.03, 0.1]}


class Watched(TransformerMixin, BaseEstimator):
    """A transformer that counts its transforms, and may draw noise each time."""

    calls: list[int] = []  # noqa: RUF012 - shared by all clones on purpose
    rng = np.random.default_rng(0)

    def __init__(self, noise=0.0):
        self.noise = noise

    def fit(self, X, y=None):
        self.n_features_ = X.shape[1]
        return self

    def transform(self, X):
        """Return the rows, perhaps with noise."""
        Watched.calls.append(len(X))
        return X + self.noise * Watched.rng.normal(size=X.shape)


@pytest.fixture
def calls():
    """Rows of each transform, none at the start."""
    Watched.calls.clear()
    return Watched.calls


@pytest.mark.parametrize(
    "scoring",
    [
        None,
        "roc_auc_ovr",
        ["accuracy", "neg_log_loss"],
        make_scorer(lambda y_true, y_pred: float(np.mean(y_true == y_pred))),
    ],
)
def test_scores_match_scikit_learn_and_rows_are_transformed_twice(
    net, iris, calls, scoring
):
    """Held-out rows are transformed again to test that they are reproducible."""
    pipeline = Pipeline([("watched", Watched()), ("scale", StandardScaler()), ("net", net)])
    options = {"scoring": scoring, "cv": CV, "refit": False}
    theirs = model_selection.GridSearchCV(pipeline, GRID, **options).fit(*iris)
    calls.clear()

    ours = GridSearchCV(pipeline, GRID, **options).fit(*iris)

    # Once with the fit, on the training rows.
    assert sorted(calls) == [50] * 2 * 3 + [100] * 3
    for name in theirs.cv_results_:
        if name.startswith(("mean_test", "split")):
            np.testing.assert_allclose(
                ours.cv_results_[name], theirs.cv_results_[name], atol=1e-6
            )


def test_held_out_rows_of_other_estimators_are_transformed_once_for_predictions(
    iris, calls
):
    """From the third candidate on; each score transforms them again, without changes."""
    pipeline = Pipeline([
        ("watched", Watched()),
        ("linear", LogisticRegression(max_iter=999)),
    ])
    grid = {"linear__C": [0.01, 0.1, 1.0, 10.0, 100.0]}

    ours = GridSearchCV(pipeline, grid, cv=CV, refit=False).fit(*iris)

    assert sorted(calls) == [50] * (5 + 1 + 2) * 3 + [100] * 3
    predict = partial(model_selection.cross_val_predict, cv=CV, method="predict_proba")
    for C, predictions in zip(grid["linear__C"], ours.oof_predictions_, strict=True):
        alone = clone(pipeline).set_params(linear__C=C)
        np.testing.assert_array_equal(predictions, predict(alone, *iris))


def test_a_scorer_of_the_estimator_gets_pipeline_and_rows(net, iris, calls):
    """A callable gets the fitted pipeline and the original rows, each time."""
    arguments = []

    def scorer(estimator, X, y):
        arguments.append((type(estimator), np.array(X)))
        return estimator.score(X, y)

    pipeline = Pipeline([("watched", Watched()), ("net", net)])
    GridSearchCV(pipeline, GRID, cv=CV, refit=False, scoring=scorer).fit(*iris)

    assert calls.count(50) == 2 * 3 + 4 * 3
    assert {kind for kind, _ in arguments} == {Pipeline}
    tests = [test for _, test in CV.split(*iris)]
    for position, (_, X) in enumerate(arguments):
        np.testing.assert_array_equal(X, iris.X[tests[position % 3]])


def test_random_rows_are_drawn_for_every_score(net, iris, calls):
    """Rows that differ the second time are transformed for each score."""
    pipeline = Pipeline([("watched", Watched(noise=0.1)), ("net", net)])

    GridSearchCV(pipeline, GRID, cv=CV, refit=False).fit(*iris)

    assert calls.count(50) == 2 * 3 + 4 * 3


@pytest.mark.parametrize("has_network", [True, False])
def test_a_kernel_is_split_by_rows_and_columns(net, iris, assert_same_search, has_network):
    """A pairwise step of a pipeline gets the kernel of the training samples of its fold."""
    kernels = ["precomputed", "linear"] if has_network else ["precomputed"]
    last = net if has_network else LogisticRegression()
    pipeline = Pipeline([("pca", KernelPCA(n_components=3)), ("last", last)])
    grid = {"pca__kernel": kernels, "pca__n_components": [2, 3]}
    kernel = iris.X @ iris.X.T

    ours = assert_same_search(
        GridSearchCV(pipeline, grid, cv=CV),
        model_selection.GridSearchCV(pipeline, grid, cv=CV),
        kernel,
        iris.y,
    )

    assert not np.isnan(ours.oof_predictions_).any()
    assert ours.ledger_.n_in_fleets == (12 if has_network else 0)


def _behind(network, *, is_outside, **options):
    """Return a network behind a scaler and a TransformedTargetRegressor."""
    name = "target" if is_outside else "net"
    if is_outside:
        network = TransformedTargetRegressor(network, **options)
    pipeline = Pipeline([("scale", StandardScaler()), (name, network)])
    return pipeline if is_outside else TransformedTargetRegressor(pipeline, **options)


@pytest.mark.parametrize("is_outside", [True, False])
@pytest.mark.parametrize(
    ("options", "n_targets", "changed"),
    [
        ({"func": np.log1p, "inverse_func": np.expm1}, 1, {}),
        ({"transformer": StandardScaler()}, 2, {}),
        (
            {"transformer": QuantileTransformer(n_quantiles=20)},
            1,
            {"transformer__n_quantiles": [20, 50]},
        ),
    ],
    ids=["function", "two targets", "searched"],
)
def test_networks_behind_transformed_targets_score_as_in_scikit_learn(
    make_estimator, assert_same_search, iris, is_outside, options, n_targets, changed
):
    """They train together, and their held-out predictions have the original units."""
    network = make_estimator("MLPRegressor", max_epochs=3, dtype="float64")
    model = _behind(network, is_outside=is_outside, **options)
    before = "target__" if is_outside else ""
    to_network = "target__regressor__" if is_outside else "regressor__net__"
    grid = {f"{to_network}learning_rate": RATES}
    grid |= {f"{before}{name}": values for name, values in changed.items()}
    X, y = iris.X[:, :2], np.squeeze(iris.X[:, 2 : 2 + n_targets])
    theirs = model_selection.GridSearchCV(model, grid, cv=KFold(3))

    search = assert_same_search(GridSearchCV(model, grid, cv=KFold(3)), theirs, X, y)

    assert search.ledger_.n_in_fleets == search.ledger_.n_fits
    best = search.oof_predictions_[search.best_index_]
    expected = cross_val_predict(search.best_estimator_, X, y, cv=KFold(3))
    np.testing.assert_allclose(best, expected, atol=1e-9)


def test_curves_behind_transformed_targets_are_of_these_targets(make_estimator, iris):
    """The last held-out loss is that of the fold's network on its own targets."""
    network = make_estimator("MLPRegressor", max_epochs=3, dtype="float64")
    model = TransformedTargetRegressor(network, func=np.log1p, inverse_func=np.expm1)
    X, y = iris.X[:, :2], iris.X[:, 2]
    search = GridSearchCV(model, {}, cv=KFold(3), keep_models="all").fit(X, y)

    for fold, (_, test) in enumerate(KFold(3).split(X)):
        regressor = search.models_[0][fold].regressor_
        last = search.learning_curves_.query("fold == @fold").iloc[-1]
        score = regressor.score(X[test], np.log1p(y[test]))
        assert last["valid_score"] == pytest.approx(score)


class RandomUnits(StandardScaler):
    """A target transformer with other units each time it is fitted."""

    def fit(self, X, y=None):
        super().fit(X)
        self.scale_ = self.scale_ * np.random.default_rng().uniform(0.5, 2)
        return self


def test_other_targets_than_in_training_are_noticed(make_estimator, iris):
    """The network is then trained on the new targets."""
    network = make_estimator("MLPRegressor", max_epochs=3, dtype="float64")
    model = TransformedTargetRegressor(network, transformer=RandomUnits())

    with pytest.warns(TrainedAloneWarning, match="2 networks.*returned different samples"):
        search = GridSearchCV(model, {}, cv=KFold(2), refit=False).fit(
            iris.X[:, :2], iris.X[:, 2]
        )

    assert len(search.learning_curves_) == 0


def test_an_estimator_may_work_in_place_on_transformed_samples(counted):
    """Ridge with copy_X=False centres them, and later candidates need them as they were."""
    rng = np.random.default_rng(0)
    X = rng.normal(5.0, 2.0, size=(90, 4))
    y = X @ [1.0, 2.0, 3.0, 4.0]
    grid = {"ridge__alpha": [1.0, 1.001, 1.002]}
    steps = [("first", Counting()), ("second", Counting(scale=2.0))]
    expected = model_selection.GridSearchCV(
        Pipeline([*steps, ("ridge", Ridge())]), grid, cv=3, refit=False
    ).fit(X, y)
    counted.clear()

    search = GridSearchCV(
        Pipeline([*steps, ("ridge", Ridge(copy_X=False))]), grid, cv=3, refit=False
    ).fit(X, y)

    name = "mean_test_score"
    np.testing.assert_allclose(search.cv_results_[name], expected.cv_results_[name])
    # Once for each fold.
    assert sorted(counted) == [1.0] * 3 + [2.0] * 3
