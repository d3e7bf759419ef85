"""Gradient boosting with networks as stages, and its losses."""

from functools import partial

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marks import parametrize_with_checks
from modules import OneLayer
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softmax
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import LinearRegression
from sklearn.metrics import (
    log_loss,
    mean_gamma_deviance,
    mean_pinball_loss,
    mean_poisson_deviance,
)
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from sk_tune import (
    BoostingClassifier,
    BoostingRegressor,
    MLPClassifier,
    MLPRegressor,
    NetRegressor,
    RNNRegressor,
    fleet,
)
from sk_tune._ensemble._boosting import _REGRESSION_LOSSES, _BinaryLogLoss, _LogLoss

# The default, in the precision in which samples and weights can be compared.
PRECISE = MLPRegressor(n_layers=1, members=1, max_epochs=10, dtype="float64")


@parametrize_with_checks([
    BoostingClassifier(n_estimators=5),
    BoostingRegressor(n_estimators=5),
])
def test_boosting_passes_the_checks_of_scikit_learn(estimator, check):
    """All checks pass, including those with sample weights."""
    if "sample_weight_equivalence" in check.func.__name__:
        # Sums of repeated and of weighted samples differ in the last bit of float64, which
        # may be that of a target's float32; scikit-learn compares its seventh digit.
        estimator.set_params(estimator=PRECISE)
    check(estimator)


@pytest.fixture
def net():
    """Return a small stage."""
    return MLPRegressor(n_layers=1, width=8, max_epochs=3, learning_rate=0.01)


def test_squared_error_with_trees_is_scikit_learns_gradient_boosting(diabetes):
    """With a full tree step a stage of trees is one of GradientBoostingRegressor."""
    X, y = diabetes
    tree = DecisionTreeRegressor(max_depth=3)
    ours = BoostingRegressor(tree, 20, learning_rate=0.1, random_state=0).fit(X, y)
    # Its learning rate is 0.1 too.
    theirs = GradientBoostingRegressor(n_estimators=20, random_state=0).fit(X, y)

    # A tree fitted to the residual minimises the squared error: the line search stays at 1.
    assert_allclose(ours.weights_, 0.1)
    assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-6)


def test_a_linear_stage_solves_least_squares_at_once(diabetes):
    """One stage at learning rate 1 is the regression itself."""
    X, y = diabetes
    boosting = BoostingRegressor(LinearRegression(), 1, learning_rate=1.0).fit(X, y)

    assert_allclose(boosting.predict(X), LinearRegression().fit(X, y).predict(X))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_staged_predictions_end_at_the_prediction(iris, net, n_classes):
    """Stages add up to predict, predict_proba and decision_function."""
    keep = iris.y < n_classes
    X, y = iris.X[keep], np.array(["x", "y", "z"])[iris.y[keep]]
    boosting = BoostingClassifier(net, 6, random_state=0).fit(X, y)

    labels = list(boosting.staged_predict(X))
    probabilities = list(boosting.staged_predict_proba(X))
    raw = boosting.decision_function(X)

    assert len(labels) == len(probabilities) == len(boosting) == 6
    assert_array_equal(labels[-1], boosting.predict(X))
    assert_allclose(probabilities[-1], boosting.predict_proba(X), rtol=1e-5)
    two = np.column_stack([expit(-raw), expit(raw)])
    own = softmax(raw, axis=1) if n_classes == 3 else two
    assert_allclose(boosting.predict_proba(X), own)
    losses = [log_loss(y, p) for p in probabilities]
    assert_allclose(losses, boosting.train_score_, rtol=1e-4)
    assert losses[-1] < losses[0]


def test_classes_are_one_network(iris, net):
    """A stage has an output for each class, not a network for each."""
    boosting = BoostingClassifier(net, 2, random_state=0).fit(*iris)

    assert [stage.n_outputs_ for stage in boosting.estimators_] == [3, 3]
    assert boosting._combination.n_stacks == 0
    boosting.predict(iris.X)
    assert boosting._combination.n_stacks == 1


def test_several_targets_are_one_network(diabetes, net):
    """A y of two columns has stages of two outputs and is predicted as such."""
    Y = np.column_stack([diabetes.y, -diabetes.y])
    boosting = BoostingRegressor(net, 2, random_state=0).fit(diabetes.X, Y)

    assert boosting.estimators_[0].n_outputs_ == 2
    assert boosting.predict(diabetes.X).shape == Y.shape


def test_early_stopping_keeps_the_best_stage(breast_cancer):
    """Training stops when held-out samples no longer improve; the best stage is kept."""
    X, y = StandardScaler().fit_transform(breast_cancer.X), breast_cancer.y
    y = np.where(np.random.default_rng(0).random(len(y)) < 0.2, 1 - y, y)
    options = {"learning_rate": 1.0, "n_iter_no_change": 3, "random_state": 0}
    stage = MLPRegressor(width=64, max_epochs=20)
    boosting = BoostingClassifier(stage, 60, **options).fit(X, y)

    scores = boosting.validation_score_
    assert len(boosting.train_score_) == len(scores) < 60
    assert boosting.n_estimators_ == len(boosting) == scores.argmin() + 1
    assert len(scores) >= 4
    assert scores[-1] + boosting.tol >= scores[-4:-1].max()


def test_huber_losses_of_all_stages_are_of_one_function(diabetes):
    """Otherwise they would fall with the residuals on which their scale depends."""
    X, y = StandardScaler().fit_transform(diabetes.X), diabetes.y / 100
    noise = np.random.default_rng(0).normal(size=(len(X), 20))
    options = {"learning_rate": 0.5, "n_iter_no_change": 5, "random_state": 0}
    tree = DecisionTreeRegressor(max_depth=6, random_state=0)
    boosting = BoostingRegressor(tree, 40, loss="huber", **options)
    boosting.fit(np.hstack([X, noise]), y)

    assert len(boosting.validation_score_) < 40
    assert boosting.n_estimators_ == boosting.validation_score_.argmin() + 1
    assert (np.diff(boosting.train_score_) < 0).all()


def test_stages_may_compute_in_float32(diabetes):
    """Outputs of another dtype do not change the sum in float64."""

    class Single(OneLayer):
        def forward(self, x):
            return self.output(x.float())

    net = NetRegressor(Single, max_epochs=1)
    boosting = BoostingRegressor(net, 3, random_state=0).fit(*diabetes)

    *_, last = boosting.staged_predict(diabetes.X)
    assert_allclose(boosting.predict(diabetes.X), last, rtol=1e-5)


def test_samples_set_aside_train_no_stage(breast_cancer, net):
    """The ensemble equals one of the remaining samples, and weights count in both parts."""
    X, y = StandardScaler().fit_transform(breast_cancer.X), breast_cancer.y
    w = np.random.default_rng(0).integers(1, 9, len(X))
    boosting = BoostingClassifier(
        net, 3, n_iter_no_change=3, validation_fraction=0.25, random_state=0
    ).fit(X, y, w)

    seed = np.random.RandomState(0).randint(np.iinfo(np.int32).max)
    options = {"test_size": 0.25, "random_state": seed, "stratify": y}
    train, valid = train_test_split(np.arange(len(X)), **options)
    assert_allclose(expit(boosting.init_), np.average(y[train], weights=w[train]))
    staged = boosting.staged_predict_proba(X[valid])
    losses = [log_loss(y[valid], p, sample_weight=w[valid]) for p in staged]
    kept = boosting.validation_score_[: boosting.n_estimators_]
    assert_allclose(losses, kept, rtol=1e-5)


def test_subsamples_are_drawn_again(diabetes):
    """Each stage trains on its own share of the samples."""
    seen = []

    class Noting(LinearRegression):
        def fit(self, X, y, sample_weight=None):
            seen.append(X[:, 0].copy())
            return super().fit(X, y, sample_weight)

    BoostingRegressor(Noting(), 2, subsample=0.25, random_state=0).fit(*diabetes)

    assert [len(rows) for rows in seen] == [50, 50]
    assert not np.array_equal(*seen)


@pytest.mark.parametrize("loss", ["absolute_error", "huber"])
def test_robust_losses_mind_outliers_less(loss):
    """With a few wild targets the line behind them is found better."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    truth = X @ [1.0, -2.0]
    y = truth.copy()
    y[:20] += 200.0
    tree = DecisionTreeRegressor(max_depth=3)
    plain, robust = (
        BoostingRegressor(tree, 60, learning_rate=0.2, loss=own, random_state=0).fit(X, y)
        for own in ("squared_error", loss)
    )

    errors = [np.abs(b.predict(X) - truth)[20:].mean() for b in (plain, robust)]
    assert errors[1] < 0.5 * errors[0]


def test_boosting_repeats_itself(iris, net):
    """The same random_state gives the same ensemble; a RandomState gives another one."""
    first, second = (
        BoostingClassifier(net, 3, subsample=0.5, random_state=1).fit(*iris) for _ in "ab"
    )
    state = np.random.RandomState(1)
    third, fourth = (
        BoostingClassifier(net, 3, random_state=state).fit(*iris) for _ in "ab"
    )

    assert_array_equal(first.predict_proba(iris.X), second.predict_proba(iris.X))
    assert np.abs(third.predict_proba(iris.X) - fourth.predict_proba(iris.X)).max() > 0


def test_stages_may_be_pipelines_with_weights(iris, net):
    """Weights reach a network behind a scaler; a weight of 0 is a sample left out."""
    pipe = make_pipeline(StandardScaler(), net)
    weight = np.ones(150)
    weight[::2] = 0
    weighted = BoostingClassifier(pipe, 3, random_state=0).fit(*iris, sample_weight=weight)
    without = BoostingClassifier(pipe, 3, random_state=0).fit(iris.X[1::2], iris.y[1::2])

    found = [own.predict_proba(iris.X) for own in (weighted, without)]
    assert_allclose(*found, atol=1e-6)


def test_weights_without_use_are_refused(diabetes):
    """Stages that take no weights cannot heed them."""

    class Unweighted(LinearRegression):
        def fit(self, X, y):
            return super().fit(X, y)

    with pytest.raises(ValueError, match="Unweighted does not"):
        BoostingRegressor(Unweighted(), 2).fit(*diabetes, sample_weight=np.ones(200))


def test_stages_of_all_folds_train_together_in_a_block(iris, net):
    """In a block around a search each stage is a fleet over the folds."""
    boosting = BoostingClassifier(net, 3, random_state=0)
    grid = {"learning_rate": [0.3]}
    with fleet(n_jobs=1) as report:
        inside = GridSearchCV(boosting, grid, cv=3, refit=False).fit(*iris)
    outside = GridSearchCV(boosting, grid, cv=3, refit=False).fit(*iris)

    assert report.n_in_fleets == report.n_adopted == 9
    assert report.n_trained_again == 0
    assert_allclose(*[own.cv_results_["mean_test_score"] for own in (inside, outside)])


def test_removed_stages_do_not_predict(iris, net):
    """Predictions use the current stages and weights."""
    boosting = BoostingClassifier(net, 4, random_state=0).fit(*iris)
    first = list(boosting.staged_predict_proba(iris.X))[1]

    boosting.estimators_ = boosting.estimators_[:2]
    boosting.weights_ = boosting.weights_[:2]

    assert_allclose(boosting.predict_proba(iris.X), first, rtol=1e-5)
    boosting.weights_[0] *= 2
    *_, last = boosting.staged_predict_proba(iris.X)
    assert_allclose(boosting.predict_proba(iris.X), last, rtol=1e-5)


def test_padded_sequences_are_boosted():
    """NaN at the end of a sequence is its length, for recurrent stages."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 5, 2))
    X[:10, 3:] = np.nan
    stage = RNNRegressor(hidden_size=4, max_epochs=2, random_state=0)

    boosting = BoostingRegressor(stage, 2, random_state=0).fit(X, np.arange(30.0))

    assert np.isfinite(boosting.predict(X)).all()
    with pytest.raises(ValueError, match="Input X contains NaN"):
        BoostingRegressor(MLPRegressor(), 2).fit(X[:, 4], np.arange(30.0))


def test_one_class_and_classifiers_as_stages_are_refused(iris):
    """One class cannot be learnt, and a stage must predict numbers."""
    with pytest.raises(ValueError, match="Got 1 class, 'setosa'"):
        BoostingClassifier().fit(iris.X[:50], ["setosa"] * 50)
    with pytest.raises(ValueError, match=r"must be a regressor, .* Got MLPClassifier\("):
        BoostingClassifier(MLPClassifier()).fit(iris.X, iris.y)


def test_networks_are_as_good_stages_as_trees(digits):
    """On digits the default is no worse than scikit-learn's with as many trees."""
    X, y = digits
    train, test = train_test_split(np.arange(len(y)), random_state=0, stratify=y)
    ours = BoostingClassifier(n_estimators=10, random_state=0).fit(X[train], y[train])
    theirs = GradientBoostingClassifier(n_estimators=10, random_state=0)

    theirs.fit(X[train], y[train])
    assert ours.score(X[test], y[test]) >= theirs.score(X[test], y[test])


def test_noise_is_scored_at_chance_on_the_inner_split(make_estimator):
    """On random labels, the loss of the samples that stop training stays at chance."""
    stage = make_estimator("MLPRegressor", max_epochs=5, learning_rate=0.03)
    own, fresh, trained = [], [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(600, 20)), rng.integers(2, size=600)
        boosting = BoostingClassifier(
            stage, 10, n_iter_no_change=10, validation_fraction=0.5, random_state=seed
        ).fit(X[:400], y[:400])
        own.append(boosting.validation_score_)
        trained.append(boosting.train_score_[len(boosting.validation_score_) - 1])
        fresh.append(boosting.score(X[400:], y[400:]))

    # All stages lose more on these samples than a coin does, which loses log 2; the best
    # one is that of no stage or hardly any.
    assert np.mean([losses.min() for losses in own]) > np.log(2) - 0.02
    assert np.mean(trained) < np.log(2) - 0.05
    # Standard error of three means of 200 samples: 0.02.
    assert abs(np.mean(fresh) - 0.5) < 0.08


KINDS = ["squared_error", "absolute_error", "huber", "binary", "classes"]
KINDS += ["quantile", "poisson", "gamma"]


def _case(kind, seed, n=40):
    """Return a loss, targets, predictions, predictions of a stage, and weights."""
    rng = np.random.default_rng(seed)
    n_columns = 3 if kind == "classes" else 1
    F, f = rng.normal(size=(2, n, n_columns))
    w = rng.uniform(0.1, 2.0, n)
    if kind == "binary":
        return _BinaryLogLoss(), rng.integers(0, 2, (n, 1)).astype(float), F, f, w
    if kind == "classes":
        return _LogLoss(), np.eye(3)[rng.integers(0, 3, n)], F, f, w
    loss = _REGRESSION_LOSSES[kind](0.7)
    y = rng.normal(scale=2.0, size=(n, n_columns))
    if kind in {"poisson", "gamma"}:
        y = np.exp(y)
    loss.update(y, F, w)
    return loss, y, F, f, w


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10**6))
def test_the_residual_is_the_negative_gradient(kind, seed):
    """Central differences of each sample's loss give the residual, by each column."""
    loss, y, F, _, _ = _case(kind, seed)
    h = 1e-6
    for column in range(F.shape[1]):
        moved = np.zeros_like(F)
        moved[:, column] = h
        slope = (loss.each(y, F + moved) - loss.each(y, F - moved)) / (2 * h)
        smooth = np.abs(np.abs(y - F) - getattr(loss, "delta", 0.0))[:, 0] > 1e-4
        smooth &= np.abs(y - F)[:, 0] > 1e-4
        assert_allclose(loss.residual(y, F)[smooth, column], -slope[smooth], atol=1e-5)


@pytest.mark.parametrize("kind", ["squared_error", "binary", "classes", "poisson", "gamma"])
@given(seed=st.integers(0, 10**6))
def test_the_curvature_is_the_second_derivative_along_a_stage(kind, seed):
    """Second differences of each sample's loss in the direction of f give the curvature."""
    loss, y, F, f, _ = _case(kind, seed)
    h = 1e-3
    ahead, here, behind = (loss.each(y, F + t * f) for t in (h, 0, -h))

    second = (ahead - 2 * here + behind) / h**2
    assert_allclose(loss.curvature(y, F, f), second, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10**6))
def test_a_small_part_of_the_step_never_raises_the_loss(kind, seed):
    """The step is a descent direction for any stage."""
    loss, y, F, f, w = _case(kind, seed)
    rho = loss.step(y, F, f, w)

    assert loss.mean(y, F + 1e-3 * rho * f, w) <= loss.mean(y, F, w) + 1e-12


@pytest.mark.parametrize("kind", ["binary", "classes"])
def test_the_step_is_bounded_where_classes_are_separated(kind):
    """A stage that separates all samples has a finite factor."""
    loss, y, F, _, w = _case(kind, 0)
    F = 30 * (2 * y - 1)

    rho = loss.step(y, F, loss.residual(y, F), w)

    # One Newton step along the residual is one nat, give or take.
    assert 0 < np.abs(rho * loss.residual(y, F)).max() < 3


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_is_the_best_constant(kind):
    """No other constant near it has less loss; Friedman's Huber starts at the median."""
    loss, y, _, _, w = _case(kind, 1, n=41)
    if kind == "huber":
        median = _REGRESSION_LOSSES["absolute_error"](0.5).start(y, w)
        assert_allclose(loss.start(y, w), median)
        return
    start = loss.start(y, w)
    best = loss.mean(y, np.tile(start, (len(y), 1)), w)

    for shift in np.random.default_rng(0).normal(scale=0.1, size=(50, len(start))):
        assert loss.mean(y, np.tile(start + shift, (len(y), 1)), w) >= best - 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_of_two_is_a_sample_twice(kind):
    """Start, mean and step of weighted samples equal repeated samples."""
    loss, y, F, f, _ = _case(kind, 2, n=15)
    w = np.random.default_rng(0).integers(1, 4, 15)
    index = np.repeat(np.arange(15), w)
    many = np.ones(len(index))

    for once, repeated in (
        (loss.start(y, w * 1.0), loss.start(y[index], many)),
        (loss.mean(y, F, w * 1.0), loss.mean(y[index], F[index], many)),
        (loss.step(y, F, f, w * 1.0), loss.step(y[index], F[index], f[index], many)),
    ):
        assert_allclose(once, repeated, rtol=1e-12)


def test_the_huber_loss_adapts_to_the_residuals():
    """Its limit is the weighted quantile of their sizes."""
    loss = _REGRESSION_LOSSES["huber"](0.75)
    y = np.array([[1.0], [-2.0], [3.0], [100.0]])

    loss.update(y, np.zeros((4, 1)), np.ones(4))

    assert loss.delta == 3.0
    assert_allclose(loss.each(y, np.zeros((4, 1))), [0.5, 2.0, 4.5, 295.5])


@pytest.mark.parametrize("loss", ["poisson", "gamma", "quantile"])
def test_boosting_by_a_loss_is_near_scikit_learns(loss):
    """Deviance or pinball loss of new samples is within 10 percent of boosted trees."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(2000, 2))
    mean = np.exp(X[:, 0] + 2 * X[:, 1])
    y = rng.poisson(mean) if loss == "poisson" else mean * rng.gamma(2.0, 0.5, 2000)
    metric = {
        "poisson": mean_poisson_deviance,
        "gamma": mean_gamma_deviance,
        "quantile": partial(mean_pinball_loss, alpha=0.8),
    }[loss]
    level = {"quantile": 0.8} if loss == "quantile" else {}
    theirs = HistGradientBoostingRegressor(
        loss=loss, max_depth=3, learning_rate=0.2, max_iter=50, **level
    )
    tree = DecisionTreeRegressor(max_depth=3, min_samples_leaf=20)
    alpha = {"alpha": 0.8} if level else {}
    ours = BoostingRegressor(
        tree, 50, loss=loss, learning_rate=0.2, random_state=0, **alpha
    )

    losses = [
        metric(y[1000:], m.fit(X[:1000], y[:1000]).predict(X[1000:]))
        for m in (ours, theirs)
    ]

    assert losses[0] < 1.1 * losses[1]


def test_boosting_refuses_targets_that_a_deviance_cannot_have():
    """Negative counts, as scikit-learn's boosting does."""
    X, y = np.ones((30, 2)), np.arange(30) - 1.0

    with pytest.raises(ValueError, match="loss='poisson' requires non-negative y"):
        BoostingRegressor(loss="poisson").fit(X, y)


STAGE = MLPRegressor(width=8, max_epochs=2, batch_size=64)


@pytest.mark.parametrize(
    "options",
    [
        {"subsample": 0.5},
        {"loss": "huber", "n_iter_no_change": 3, "tol": 0.0},
        {"loss": "poisson"},
        {"n_iter_no_change": 20},
    ],
)
def test_ten_stages_and_then_twenty_equal_twenty_at_once(diabetes, options):
    """A warm start continues with the same seeds, draws and samples set aside."""
    X, y = StandardScaler().fit_transform(diabetes.X), diabetes.y / 100
    at_once = BoostingRegressor(STAGE, 20, random_state=3, **options).fit(X, y)
    boosting = BoostingRegressor(STAGE, 10, random_state=3, warm_start=True, **options)
    first = boosting.fit(X, y).estimators_[0]
    boosting.set_params(n_estimators=20).fit(X, y)

    assert boosting.estimators_[0] is first
    assert boosting.n_estimators_ == at_once.n_estimators_
    assert_array_equal(boosting.train_score_, at_once.train_score_)
    assert_array_equal(boosting.predict(X), at_once.predict(X))


def test_a_warm_start_does_not_remove_stages(diabetes):
    """Fewer stages than there are is an error, as in scikit-learn."""
    boosting = BoostingRegressor(STAGE, 2, warm_start=True).fit(*diabetes)

    with pytest.raises(ValueError, match="at least the number of trained stages.*2. Got 1"):
        boosting.set_params(n_estimators=1).fit(*diabetes)


@pytest.mark.parametrize(("verbose", "n_lines"), [(0, 0), (1, 12), (2, 21)])
def test_verbose_prints_stages_as_scikit_learn_does(diabetes, capsys, verbose, n_lines):
    """A header, then ten stages and every tenth; or all of them."""
    tree = DecisionTreeRegressor(max_depth=1)
    sklearn = GradientBoostingRegressor(n_estimators=20, verbose=verbose)
    sklearn.fit(*diabetes)
    expected = capsys.readouterr().out.splitlines()
    BoostingRegressor(tree, 20, verbose=verbose).fit(*diabetes)
    lines = capsys.readouterr().out.splitlines()

    assert len(lines) == n_lines
    assert [line.split()[0] for line in lines] == [line.split()[0] for line in expected]


def test_stages_use_the_workers_of_n_jobs(diabetes):
    """Estimators inside of a stage take its number as their default."""
    seen = []

    class Seeing(LinearRegression):
        def fit(self, X, y):
            seen.append(joblib.effective_n_jobs(None))
            return super().fit(X, y)

    BoostingRegressor(Seeing(), 2, n_jobs=3).fit(*diabetes)

    assert seen == [3, 3]
