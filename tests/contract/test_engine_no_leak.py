"""Contract 4: no sample that a network is scored on has a part in its training."""

import numpy as np
import pytest
from parity.modules import Layers
from skorch.callbacks import Callback

from sk_tune import CNNClassifier, MLPClassifier, MLPRegressor, NetRegressor, RNNClassifier
from sk_tune._engine import Fit, fitted_estimator, train

ROWS, MONITOR = np.arange(150), np.arange(150, 200)


SMALL = {"max_epochs": 3, "batch_size": 32}
ESTIMATORS = {
    "mlp": MLPClassifier(**SMALL, width=8, normalization="batch", class_weight="balanced"),
    "mlp, early stopping": MLPClassifier(
        **SMALL, width=8, dropout=0.2, early_stopping=True, validation_fraction=0.2
    ),
    "mlp, full batch": MLPClassifier(max_epochs=3, batch_size=-1, width=8),
    "mlp regressor": MLPRegressor(**SMALL, width=8),
    "cnn": CNNClassifier(**SMALL, n_channels=2, width=6, input_shape=(8, 8)),
    "rnn": RNNClassifier(**SMALL, hidden_size=5, input_shape=(8, 8), normalization="batch"),
    "net regressor": NetRegressor(Layers, **SMALL, early_stopping=True),
    # No fleet has callbacks.
    "alone": MLPClassifier(
        **SMALL,
        width=8,
        early_stopping=True,
        validation_fraction=0.2,
        callbacks=[Callback()],
    ),
}

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*trained alone:sk_tune.exceptions.SkTuneWarning"
)


def _fit(estimator, X, y, **changes):
    own = {"rows": ROWS, "monitor": MONITOR, "seed": 0}
    return Fit(estimator=estimator, X=X, y=y, **{**own, **changes})


def _assert_same_training(ours, reference):
    assert (ours.status, reference.status) == ("trained", "trained")
    np.testing.assert_array_equal(ours.train_loss, reference.train_loss)
    for name, array in reference.state.weights.items():
        np.testing.assert_array_equal(ours.state.weights[name], array)
    for index, moments in reference.state.moments.items():
        for name, array in moments.items():
            np.testing.assert_array_equal(ours.state.moments[index][name], array)
    assert ours.state.stopping == reference.state.stopping


@pytest.mark.parametrize("name", ESTIMATORS)
def test_monitor_samples_change_no_weight(name, digits):
    """Other features and targets of monitor samples change only the scores."""
    X, y = digits.X.copy(), digits.y.copy()
    X[MONITOR] = X[MONITOR][:, ::-1] * 50 - 3
    y[MONITOR] = y[MONITOR][::-1]

    (before,) = train([_fit(ESTIMATORS[name], *digits)])
    (after,) = train([_fit(ESTIMATORS[name], X, y)])

    _assert_same_training(after, before)
    assert (after.predictions != before.predictions).any()
    assert (after.monitor_loss != before.monitor_loss).any()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_monitor_changes_no_weight(name, digits):
    """Without monitor samples, or with few, the training is the same, bit by bit."""
    fit = _fit(ESTIMATORS[name], *digits)
    unwatched = _fit(ESTIMATORS[name], *digits, monitor=None)
    hardly = _fit(ESTIMATORS[name], *digits, monitor=MONITOR[:1])

    watched, alone, little = (train([f])[0] for f in (fit, unwatched, hardly))

    assert alone.predictions is None
    assert np.isnan(alone.monitor_score).all()
    assert len(little.predictions) == 1
    for trained in (alone, little):
        _assert_same_training(trained, watched)


@pytest.mark.parametrize("name", ["mlp, early stopping", "mlp regressor", "alone"])
def test_samples_outside_of_the_fit_change_nothing(name, digits):
    """A fit on some samples equals a fit on a table of only these samples."""
    X, y = digits
    rows = ROWS[::2]

    (part,) = train([_fit(ESTIMATORS[name], X, y, rows=rows)])
    (whole,) = train([_fit(ESTIMATORS[name], X[rows], y[rows], rows=None, monitor=None)])

    _assert_same_training(part, whole)


def test_a_regressors_target_is_scaled_by_its_own_samples(diabetes):
    """The monitor's targets move neither the scale nor the mean of the predictions."""
    y = diabetes.y.copy()
    y[MONITOR] *= 1000
    estimator = MLPRegressor(**SMALL, width=8)

    (before,), (after,) = (train([_fit(estimator, diabetes.X, t)]) for t in (diabetes.y, y))

    np.testing.assert_array_equal(after.predictions, before.predictions)
    _assert_same_training(after, before)


@pytest.mark.parametrize("name", ["mlp", "mlp, early stopping", "cnn", "rnn", "alone"])
def test_the_last_monitor_score_is_that_of_the_predictions(name, digits):
    """Without early stopping it is the fitted estimator's score on all monitor samples."""
    X, y = digits
    # The kernel looks at 128 samples at a time.
    fit = _fit(ESTIMATORS[name], X, y, rows=MONITOR, monitor=ROWS)

    (trained,) = train([fit])

    estimator = fitted_estimator(fit, trained)
    predictions = estimator.predict_proba(X[ROWS])
    np.testing.assert_allclose(predictions, trained.predictions, atol=1e-6)
    score = estimator.score(X[ROWS], y[ROWS])
    assert trained.monitor_score[estimator.best_epoch_ - 1] == pytest.approx(score)


def test_a_sample_of_a_class_that_training_lacks_counts_as_wrong(digits):
    """The monitor score is the estimator's score, not one over the easier samples."""
    y = digits.y.copy()
    y[MONITOR[:20]] = 77
    fit = _fit(MLPClassifier(width=16, max_epochs=20), digits.X, y)

    (trained,) = train([fit])

    score = fitted_estimator(fit, trained).score(digits.X[MONITOR], y[MONITOR])
    assert 0 < score <= 0.6
    assert trained.monitor_score[-1] == pytest.approx(score)
