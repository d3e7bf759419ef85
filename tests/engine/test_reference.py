"""The reference engine: what an estimator's own fit gives, always as a result."""

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from torch import nn

from sk_tune import CNNClassifier, MLPClassifier, MLPRegressor, NetRegressor, RNNRegressor
from sk_tune.engine import Fit
from sk_tune.engine._reference import failed, prepare, train_by_reference
from sk_tune.estimators import FitPreparer
from sk_tune.exceptions import SkTuneError, TrainingDivergedError

ROWS, MONITOR = np.arange(150), np.arange(150, 200)
BASE = {"max_epochs": 3, "batch_size": 32, "random_state": 4}
ESTIMATORS = {
    "mlp": MLPClassifier(**BASE, width=8, dropout=0.2, normalization="batch"),
    "mlp, early stopping": MLPClassifier(**BASE, width=8, early_stopping=True),
    "mlp regressor": MLPRegressor(**BASE, width=8, lr_schedule="one_cycle"),
    "cnn": CNNClassifier(**BASE, n_channels=2, width=8, input_shape=(8, 8)),
    "rnn regressor": RNNRegressor(**BASE, hidden_size=4, input_shape=(8, 8)),
    "net regressor": NetRegressor(
        nn.Linear, **BASE, module__in_features=64, module__out_features=1
    ),
}


def _fit(data, estimator, **changes):
    own = {"X": data.X, "y": data.y, "rows": ROWS, "monitor": MONITOR, "seed": 4}
    return Fit(estimator=estimator, **{**own, "n_epochs": estimator.max_epochs, **changes})


@pytest.mark.parametrize("name", ESTIMATORS)
def test_it_gives_what_fit_gives(name, digits):
    """Weights and predictions are those of the estimator's fit, to the last bit."""
    estimator = clone(ESTIMATORS[name]).fit(digits.X[ROWS], digits.y[ROWS])
    predict = "predict_proba" if is_classifier(estimator) else "predict"

    trained = train_by_reference(_fit(digits, ESTIMATORS[name]), FitPreparer())

    assert (trained.status, trained.engine, trained.message) == ("trained", "reference", "")
    weights = estimator.net_.module_.state_dict()
    assert list(trained.state.weights) == list(weights)
    for key, weight in weights.items():
        np.testing.assert_array_equal(trained.state.weights[key], weight.numpy())
    np.testing.assert_allclose(
        trained.predictions, getattr(estimator, predict)(digits.X[MONITOR]), rtol=1e-5
    )
    np.testing.assert_array_equal(trained.train_loss, estimator.history_[:, "train_loss"])
    assert trained.state.stopping == estimator.net_.stopping_


def test_the_monitor_is_scored_after_each_epoch(digits):
    """Its last score is that of the fitted estimator, its loss the mean over its rows."""
    estimator = clone(ESTIMATORS["mlp"]).fit(digits.X[ROWS], digits.y[ROWS])

    trained = train_by_reference(_fit(digits, ESTIMATORS["mlp"]), FitPreparer())

    assert trained.monitor_score.shape == trained.monitor_loss.shape == (3,)
    score = estimator.score(digits.X[MONITOR], digits.y[MONITOR])
    assert trained.monitor_score[-1] == pytest.approx(score)
    proba = estimator.predict_proba(digits.X[MONITOR])
    loss = -np.log(proba[np.arange(50), digits.y[MONITOR]]).mean()
    assert trained.monitor_loss[-1] == pytest.approx(loss, rel=1e-5)


def test_time_is_taken(digits):
    """Seconds are positive, also of a fit that failed."""
    broken = MLPClassifier(dropout=7.0)

    for estimator in (ESTIMATORS["mlp"], broken):
        assert train_by_reference(_fit(digits, estimator), FitPreparer()).seconds > 0


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("lost", "lost"),
        (ValueError("bad X"), "bad X"),
        (SkTuneError("no network"), "no network"),
        (TrainingDivergedError("became nan"), "became nan"),
        (RuntimeError("shapes"), "RuntimeError: shapes"),
        (MemoryError("full"), "MemoryError: full"),
        (KeyError("w"), "KeyError: 'w'"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
@pytest.mark.parametrize(("name", "prefix"), [("fold 2", "fold 2: "), ("", "")])
def test_a_failure_names_the_fit_and_errors_that_are_not_ours(
    name, prefix, reason, expected
):
    """Errors that say all in their text stand alone, others after their type."""
    fit = Fit(estimator=None, X=None, y=None, name=name)

    trained = failed(fit, reason, 1.5, "fleet")

    assert trained.message == prefix + expected
    assert (trained.status, trained.state, trained.predictions) == ("failed", None, None)
    assert (trained.seconds, trained.engine) == (1.5, "fleet")


def test_a_diverging_training_is_a_failed_result(digits):
    """The message says epoch and learning rate."""
    estimator = MLPClassifier(**BASE, optimizer="sgd", learning_rate=1e25)

    trained = train_by_reference(_fit(digits, estimator, name="fold 2"), FitPreparer())

    assert trained.status == "failed"
    assert trained.message.startswith("fold 2: The train loss became")
    assert "learning_rate=1e+25" in trained.message


def test_a_prepared_fit_has_not_been_trained(digits):
    """Its weights are those under the seed; preparing twice gives the same."""
    first, second = (
        prepare(_fit(digits, ESTIMATORS["mlp"]), FitPreparer())
        .network()
        .module.state_dict()
        for _ in range(2)
    )

    for name, weight in first.items():
        np.testing.assert_array_equal(weight.numpy(), second[name].numpy())
    assert first["hidden.0.norm.num_batches_tracked"] == 0
