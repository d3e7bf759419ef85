"""Losses of regressors: means of counts and positive targets, and quantiles."""

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import (
    make_scorer,
    mean_gamma_deviance,
    mean_pinball_loss,
    mean_poisson_deviance,
    mean_tweedie_deviance,
    r2_score,
)
from sklearn.model_selection import cross_val_score

from sk_tune import (
    BaggingRegressor,
    GridSearchCV,
    MLPRegressor,
    TrialEnsembleRegressor,
    collapse,
    table_pipeline,
)

_RNG = np.random.default_rng(0)
X = _RNG.uniform(-1, 1, size=(1500, 3))
MEAN = np.exp(1 + X[:, 0] - 2 * X[:, 1])
COUNTS = _RNG.poisson(MEAN)
AMOUNTS = MEAN * _RNG.gamma(2.0, 0.5, 1500)
TRAIN, TEST = slice(0, 1000), slice(1000, None)
POSITIVE = {"poisson": COUNTS, "gamma": AMOUNTS, "tweedie": AMOUNTS * (COUNTS > 0)}
SMALL = {"width": 16, "max_epochs": 3, "random_state": 0, "dtype": "float64"}
LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture(scope="module")
def quantile_net():
    """A network of three quantiles."""
    net = MLPRegressor(loss="quantile", width=32, max_epochs=30, random_state=0)
    return net.fit(X[TRAIN], AMOUNTS[TRAIN])


@pytest.mark.parametrize("loss", POSITIVE)
def test_means_are_near_the_truth(loss):
    """They are positive, and have less than half the deviance of the mean of all."""
    power = {"poisson": 1, "gamma": 2, "tweedie": 1.5}[loss]
    y = POSITIVE[loss]
    net = MLPRegressor(loss=loss, width=32, max_epochs=30, random_state=0)

    predicted = net.fit(X[TRAIN], y[TRAIN]).predict(X[TEST])

    assert (predicted > 0).all()
    options = {"power": 1.5 if loss == "tweedie" else power}
    truth = mean_tweedie_deviance(MEAN[TEST], predicted, **options)
    baseline = mean_tweedie_deviance(MEAN[TEST], np.full(500, y[TRAIN].mean()), **options)
    assert truth < 0.2 * baseline


@pytest.mark.parametrize("loss", POSITIVE)
def test_training_starts_at_the_mean(loss):
    """Without steps, a network without hidden units of weight predicts the mean of y."""
    y = 1e6 * POSITIVE[loss]
    net = MLPRegressor(loss=loss, **SMALL, learning_rate=1e-12)

    predicted = net.fit(X, y).predict(X)

    assert net.target_mean_.tolist() == [0.0]
    np.testing.assert_allclose(net.target_scale_, y.mean())
    assert np.median(predicted) == pytest.approx(y.mean(), rel=0.5)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", ["poisson", "gamma", "tweedie", "quantile"])
def test_the_loss_of_an_epoch_is_scikit_learns_metric(loss, weighted):
    """One step of one batch: the loss recorded is the metric before it."""
    y = POSITIVE.get(loss, AMOUNTS)
    weight = np.arange(1500) % 3 + 1.0 if weighted else None
    options = {"batch_size": 1500, "lr_schedule": "constant", "early_stopping": False}
    # The recorded loss of several members is the mean of their losses.
    options |= {"members": 1, "max_epochs": 2}
    net = MLPRegressor(loss=loss, **{**SMALL, **options})
    net.fit(X, y, sample_weight=weight)

    recorded = net.partial_fit(X, y, sample_weight=weight).history_[-1]["train_loss"]
    twin = MLPRegressor(loss=loss, **{**SMALL, **options})
    before = twin.fit(X, y, sample_weight=weight)

    options = {"sample_weight": weight}
    if loss == "quantile":
        # Before they are sorted.
        outputs = before.net_.forward(before._inputs(X)).numpy()
        columns = (outputs * net.target_scale_ + net.target_mean_).T
        expected = np.mean([
            mean_pinball_loss(y, column, alpha=level, **options)
            for level, column in zip(LEVELS, columns, strict=True)
        ])
        expected /= net.target_scale_[0]
    else:
        metric = {
            "poisson": mean_poisson_deviance,
            "gamma": mean_gamma_deviance,
            "tweedie": lambda *a, **w: mean_tweedie_deviance(*a, power=1.5, **w),
        }[loss]
        scale = net.target_scale_[0]
        expected = metric(y / scale, before.predict(X) / scale, **options)
    assert recorded == pytest.approx(expected, rel=1e-6)


BAD = {
    "negative": ("poisson", np.r_[-1.0, COUNTS[1:]], "non-negative y and sum"),
    "all zero": ("tweedie", np.zeros(1500), "non-negative y and sum"),
    "zero": ("gamma", np.r_[0.0, AMOUNTS[1:]], "strictly positive y"),
}


@pytest.mark.parametrize("case", BAD)
def test_targets_out_of_range_are_refused(case):
    """In scikit-learn's words, where it has the loss; later calls are checked as well."""
    loss, y, words = BAD[case]
    net = MLPRegressor(loss=loss, lr_schedule="constant", **SMALL)

    with pytest.raises(ValueError, match=f"loss='{loss}' requires {words}"):
        net.fit(X, y)
    if loss != "tweedie":
        with pytest.raises(ValueError, match=f"loss='{loss}' requires {words}"):
            HistGradientBoostingRegressor(loss=loss).fit(X, y)
    net.fit(X, POSITIVE[loss])
    if case == "all zero":
        # The mean of the first targets is the unit, so a later chunk may have no event.
        before = net.predict(X).mean()
        assert net.partial_fit(X, y).predict(X).mean() < before
        return
    with pytest.raises(ValueError, match=words):
        net.partial_fit(X, y)


def test_a_held_out_target_out_of_range_does_not_end_a_search():
    """As in scikit-learn, only training samples must be in the range of the loss."""
    y = np.r_[-1.0, COUNTS[1:]]
    split = [(np.arange(100, 1500), np.arange(100))]

    net = MLPRegressor(loss="poisson", **SMALL)
    search = GridSearchCV(net, {"width": [4]}, cv=split, refit=False).fit(X, y)

    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_several_targets_are_scaled_each_by_its_mean():
    """Each column equals a network with a common mean."""
    y = np.column_stack([COUNTS, 1000 * COUNTS])

    predicted = MLPRegressor(loss="poisson", **SMALL).fit(X, y).predict(X)

    assert predicted.shape == y.shape
    assert r2_score(COUNTS, predicted[:, 1] / 1000) > 0.2


def test_members_average_means():
    """The prediction is the mean of the exponentials of the members' outputs."""
    net = MLPRegressor(loss="poisson", members=3, **SMALL).fit(X, COUNTS)
    module = net.net_.module_.train()

    outputs = module(net._inputs(X)).detach().numpy()

    expected = np.exp(outputs).mean(axis=1)[:, 0] * net.target_scale_
    np.testing.assert_allclose(net.predict(X), expected, rtol=1e-9)


def test_quantiles_never_cross_and_cover(quantile_net):
    """About 80 percent of new targets are between the outer quantiles."""
    quantiles = quantile_net.predict(X[TEST], return_quantiles=True)

    low, middle, high = quantiles.T
    assert (np.diff(quantiles, axis=1) >= 0).all()
    np.testing.assert_array_equal(quantile_net.predict(X[TEST]), middle)
    assert np.mean((low <= AMOUNTS[TEST]) & (AMOUNTS[TEST] <= high)) == pytest.approx(
        0.8, abs=0.08
    )
    assert quantile_net.score(X, AMOUNTS) == r2_score(AMOUNTS, quantile_net.predict(X))
    assert quantile_net.quantiles_.tolist() == [*LEVELS]


def test_crossing_outputs_are_sorted():
    """A network that is not trained predicts increasing quantiles, too."""
    levels = np.linspace(0.05, 0.95, 9)
    net = MLPRegressor(loss="quantile", quantiles=levels, **SMALL, learning_rate=1e-9)

    quantiles = net.fit(X, AMOUNTS).predict(X, return_quantiles=True)

    outputs = net.net_.forward(net._inputs(X)).numpy()
    assert (np.diff(outputs, axis=1) < 0).any()
    assert (np.diff(quantiles, axis=1) >= 0).all()


def test_one_level_predicts_one_quantile():
    """Cross-validation by the pinball loss of the level prefers it to the median."""
    scorer = make_scorer(mean_pinball_loss, alpha=0.9, greater_is_better=False)
    nets = (
        MLPRegressor(loss="quantile", quantiles=level, **{**SMALL, "max_epochs": 20})
        for level in (0.5, 0.9)
    )

    middle, high = (cross_val_score(net, X, AMOUNTS, scoring=scorer).mean() for net in nets)

    assert high > middle + 0.1


def test_a_pipeline_returns_quantiles(quantile_net):
    """It passes the argument to its last step."""
    pipe = table_pipeline(MLPRegressor(loss="quantile", **SMALL))
    frame = pd.DataFrame(X, columns=["a", "b", "c"])

    quantiles = pipe.fit(frame, AMOUNTS).predict(frame, return_quantiles=True)

    assert quantiles.shape == (1500, 3)


@pytest.mark.parametrize("levels", [0.0, 1.0, (0.5, 0.1), (0.1, 0.1), (), (0.5, 1.5), "a"])
def test_wrong_quantiles_are_refused(levels):
    """They must increase between 0 and 1."""
    net = MLPRegressor(loss="quantile", quantiles=levels, **SMALL)

    with pytest.raises(ValueError, match="'quantiles' parameter of MLPRegressor must"):
        net.fit(X, AMOUNTS)


def test_quantiles_need_the_loss_and_one_target(quantile_net):
    """The messages say so."""
    with pytest.raises(ValueError, match="needs loss='quantile'.*loss='squared_error'"):
        MLPRegressor(**SMALL).fit(X, AMOUNTS).predict(X, return_quantiles=True)
    with pytest.raises(ValueError, match="y must have one column for loss='quantile'"):
        MLPRegressor(loss="quantile", **SMALL).fit(X, np.column_stack([COUNTS, AMOUNTS]))


def test_a_warm_start_keeps_the_scale_of_outputs():
    """A loss of the same scale may follow, but not one of logarithms."""
    net = MLPRegressor(warm_start=True, **SMALL).fit(X, COUNTS)
    net.set_params(loss="huber").fit(X, COUNTS)

    with pytest.raises(ValueError, match="must keep the scale of its outputs"):
        net.set_params(loss="poisson").fit(X, COUNTS)


@pytest.mark.parametrize("loss", ["poisson", "quantile"])
def test_files_and_onnx_predict_alike(loss, tmp_path):
    """Also after parameters were set to other values; ONNX has all quantiles."""
    net = MLPRegressor(loss=loss, members=2, **SMALL).fit(X, COUNTS)
    options = {"return_quantiles": True} if loss == "quantile" else {}
    expected = net.predict(X, **options)

    net.save(tmp_path / "net.safetensors")
    net.to_onnx(tmp_path / "net.onnx")
    loaded = MLPRegressor.load(tmp_path / "net.safetensors")
    net.set_params(loss="squared_error", quantiles=0.3)

    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (exported,) = session.run(None, {"X": X})
    np.testing.assert_array_equal(loaded.predict(X, **options), expected)
    np.testing.assert_array_equal(net.predict(X, **options), expected)
    np.testing.assert_allclose(exported.reshape(expected.shape), expected, rtol=1e-9)


@pytest.mark.parametrize("loss", ["poisson", "quantile"])
def test_ensembles_average_predictions(loss, tmp_path):
    """Means, not logarithms, and each quantile; the same in ONNX."""
    options = {"return_quantiles": True} if loss == "quantile" else {}
    net = MLPRegressor(loss=loss, **SMALL)
    bagging = BaggingRegressor(net, 3, random_state=0).fit(X, COUNTS)
    search = GridSearchCV(net, {"width": [8, 16]}, cv=2, keep_models="all").fit(X, COUNTS)
    trials = TrialEnsembleRegressor.from_search(search, random_state=0)

    for ensemble in (bagging, trials):
        weights = getattr(ensemble, "weights_", np.full(3, 1 / 3))
        members = [m.predict(X, **options) for m in ensemble.estimators_]
        expected = np.einsum("m,m...->...", weights, np.array(members))
        small = collapse(ensemble)
        small.to_onnx(tmp_path / "ensemble.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "ensemble.onnx")
        (exported,) = session.run(None, {"X": X})

        for model in (ensemble, small):
            np.testing.assert_allclose(model.predict(X, **options), expected, rtol=1e-9)
        np.testing.assert_allclose(exported.reshape(expected.shape), expected, rtol=1e-6)


def test_members_of_different_losses_are_averaged():
    """A mean, a median of quantiles and a log mean are predictions of one target."""
    nets = [
        MLPRegressor(loss=loss, **SMALL).fit(X, COUNTS)
        for loss in ("squared_error", "quantile", "poisson")
    ]
    bagging = BaggingRegressor(nets[0], 3, random_state=0).fit(X, COUNTS)
    bagging.estimators_ = nets

    expected = np.mean([net.predict(X) for net in nets], axis=0)

    np.testing.assert_allclose(bagging.predict(X), expected, rtol=1e-9)
    with pytest.raises(ValueError, match="needs networks with loss='quantile'"):
        bagging.predict(X, return_quantiles=True)


def test_a_search_over_losses_encodes_targets_for_each():
    """A candidate never trains on the targets of another loss."""
    losses = ["squared_error", "poisson", "quantile"]
    search = GridSearchCV(
        MLPRegressor(**SMALL), {"loss": losses}, cv=2, refit=False, keep_models="all"
    ).fit(X, COUNTS)

    for row, loss in enumerate(losses):
        alone = MLPRegressor(loss=loss, **SMALL).fit(X[750:], COUNTS[750:])
        np.testing.assert_allclose(
            search.models_[row][0].predict(X), alone.predict(X), rtol=1e-6
        )
