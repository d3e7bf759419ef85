"""skorch's callbacks of sk_tune's estimators ride a fleet, as those of plain skorch nets.

The reference is the estimator's plain ``fit``, which calls the callbacks in its own loop.
"""

import re

import numpy as np
import pytest
from modules import Decay
from sklearn.base import clone
from skorch import NeuralNetClassifier
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    GradientNormClipping,
    LRScheduler,
    PrintLog,
)
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR

from sk_tune import HalvingGridSearchCV, MLPClassifier, MLPRegressor
from sk_tune._engine import fitted_estimator
from sk_tune.engine import Fit, train
from sk_tune.exceptions import ParameterWarning, SkTuneWarning


def _net(*callbacks, kind=MLPClassifier, **params):
    """Return a network with callbacks and a constant learning rate, in float64."""
    own = {"max_epochs": 8, "lr_schedule": "constant", "dtype": "float64"}
    own |= {"batch_size": 16, "learning_rate": 0.01, "random_state": 0}
    own |= {"width": 128, "members": 1}
    return kind(callbacks=list(callbacks), **own | params)


def _accuracy(net, X, y):
    return float((net.predict(X) == y).mean())


_STOP = {"monitor": "train_loss", "threshold": 0.3}
_VALID = {"early_stopping": True, "n_iter_no_change": 50}
NETS = {
    "stops": _net(EarlyStopping(patience=2, **_STOP), learning_rate=0.03),
    "stops, with a schedule": _net(
        EarlyStopping("train_loss", patience=1, threshold=0.3), lr_schedule="cosine"
    ),
    "loads the best": _net(
        EarlyStopping("train_loss", patience=1, load_best=True), learning_rate=3.0
    ),
    "stops on validation data": _net(
        ("stop", EarlyStopping(patience=1, threshold=0.1)), **_VALID, learning_rate=0.03
    ),
    "scores": _net(EpochScoring("neg_log_loss", name="nll"), **_VALID),
    "scores by a function": _net(EpochScoring(_accuracy, name="accuracy"), **_VALID),
    "steps each epoch": _net(LRScheduler("ExponentialLR", gamma=0.7)),
    "steps each batch": _net(
        LRScheduler("CosineAnnealingLR", T_max=40, step_every="batch")
    ),
    "steps on a plateau": _net(
        LRScheduler("ReduceLROnPlateau", monitor="train_loss", patience=0),
        learning_rate=1.0,
    ),
    "clips": _net(GradientNormClipping(0.05)),
    "times": _net(EpochTimer()),
    "regression": _net(
        EarlyStopping(patience=1, **_STOP),
        EpochScoring("r2", lower_is_better=False, name="r2"),
        kind=MLPRegressor,
        **_VALID,
    ),
    "members": _net(EpochScoring("accuracy", name="own"), **_VALID, members=3),
}


def _columns(history):
    names = sorted({name for record in history for name in record} - {"dur", "batches"})
    return {name: [record.get(name, np.nan) for record in history] for name in names}


def _assert_equal(one, other):
    """Compare predictions, curves and the state of the callbacks."""
    columns, expected = _columns(one.history_), _columns(other.history_)
    assert list(columns) == list(expected)
    for name, values in columns.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-9, err_msg=name)
    for name, callback in other.net_.callbacks_:
        twin = dict(one.net_.callbacks_)[name]
        for attribute in ("best_epoch_", "misses_", "batch_idx_"):
            assert getattr(twin, attribute, None) == getattr(callback, attribute, None)


@pytest.mark.parametrize("name", NETS)
def test_callbacks_run_in_a_fleet(name, iris):
    """Two networks of a fleet equal their plain fits, and continue as these do."""
    X, y = iris
    nets = [clone(NETS[name]).set_params(random_state=seed) for seed in range(2)]
    fits = [Fit(estimator=net, X=X, y=y) for net in nets]

    results = train(fits)

    for net, fit, trained in zip(nets, fits, results, strict=True):
        assert (trained.engine, trained.alone_reason) == ("fleet", "")
        assert len(trained.state.history) < 8 or "stop" not in name
        own, expected = fitted_estimator(fit, trained), clone(net).fit(X, y)
        _assert_equal(own, expected)
        np.testing.assert_allclose(own.predict(X), expected.predict(X), rtol=1e-9)
        if net.lr_schedule == "constant":
            own.partial_fit(X, y), expected.partial_fit(X, y)
        np.testing.assert_allclose(own.predict(X), expected.predict(X), rtol=1e-9)


@pytest.mark.parametrize("name", [n for n in NETS if n != "loads the best"])
def test_training_with_callbacks_continues_exactly(name, iris):
    """3 and 5 epochs equal 8, with the state of callbacks and schedulers."""
    X, y = iris
    fit = {"estimator": NETS[name], "X": X, "y": y, "monitor": np.arange(20)}
    (first,) = train([Fit(**fit, n_epochs=3)])

    (second,) = train([Fit(**fit, n_epochs=5, state=first.state)])

    (whole,) = train([Fit(**fit, n_epochs=8)])
    np.testing.assert_allclose(second.predictions, whole.predictions, rtol=1e-9)
    assert len(second.state.history) == len(whole.state.history)


@pytest.mark.parametrize(
    "net",
    [
        NETS["stops"],
        NeuralNetClassifier(
            nn.Linear,
            criterion=nn.CrossEntropyLoss,
            module__in_features=4,
            module__out_features=3,
            verbose=0,
            callbacks=[EarlyStopping(patience=2, **_STOP)],
        ),
    ],
    ids=["sk_tune", "skorch"],
)
def test_a_training_that_a_callback_ended_does_not_continue(net, iris):
    """A longer rung has the epochs of a training without rungs."""
    X, y = iris.X.astype(np.float32), iris.y.astype(np.int64)
    (first,) = train([Fit(estimator=net, X=X, y=y, n_epochs=8, seed=0)])
    assert len(first.state.history) < 8

    rest = Fit(estimator=net, X=X, y=y, n_epochs=8, seed=0, state=first.state)
    (second,) = train([rest])

    assert second.engine == "fleet"
    np.testing.assert_array_equal(second.train_loss, first.train_loss)


class Observed(ExponentialLR):
    """A scheduler with an object in its state that cannot be stored."""

    def __init__(self, optimizer, last_epoch=-1):
        self.observer = object()
        super().__init__(optimizer, 0.7, last_epoch)


OBSERVED = _net(LRScheduler(Observed))
UNSTORABLE = "the state of the callbacks cannot be stored (TypeError: It must consist of"


def test_a_scheduler_without_plain_state_starts_from_the_first_epoch(iris):
    """3 and 5 epochs equal 8, and one warning has the reason."""
    fit = {"estimator": OBSERVED, "X": iris[0], "y": iris[1], "monitor": np.arange(20)}
    first, other = train([Fit(**fit, n_epochs=3), Fit(**fit, n_epochs=3)])

    rest = [Fit(**fit, n_epochs=5, state=trained.state) for trained in (first, other)]
    pattern = f"2 fits trained from the first epoch, because {re.escape(UNSTORABLE)}"
    with pytest.warns(SkTuneWarning, match=pattern) as caught:
        second, _ = train(rest)

    (whole,) = train([Fit(**fit, n_epochs=8)])
    assert len(caught) == 1
    np.testing.assert_array_equal(second.predictions, whole.predictions)
    np.testing.assert_array_equal(second.train_loss, whole.train_loss)


def test_adopted_callbacks_without_plain_state_warn(iris):
    """Otherwise partial_fit would start their schedule again in silence."""
    fit = Fit(estimator=OBSERVED, X=iris[0], y=iris[1])
    (trained,) = train([fit])

    with pytest.warns(ParameterWarning, match="partial_fit restarts their schedules"):
        fitted_estimator(fit, trained)


@pytest.mark.filterwarnings("ignore::sk_tune.exceptions.TrainedAloneWarning")
def test_a_users_callback_with_attributes_starts_from_the_first_epoch(iris):
    """3 and 5 epochs equal 8; warnings name the callback, also for an adopted network."""
    fit = {"estimator": _net(Decay()), "X": iris[0], "y": iris[1]}
    (first,) = train([Fit(**fit, n_epochs=3)])

    with pytest.warns(SkTuneWarning, match=r"first epoch, because its callbacks \(Decay\)"):
        (second,) = train([Fit(**fit, n_epochs=5, state=first.state)])
    with pytest.warns(ParameterWarning, match="Got Decay in a search"):
        own = fitted_estimator(Fit(**fit), second)

    expected = clone(fit["estimator"]).fit(*iris)
    np.testing.assert_array_equal(
        own.predict_proba(iris[0]), expected.predict_proba(iris[0])
    )


@pytest.mark.filterwarnings("ignore::sk_tune.exceptions.ParameterWarning")
def test_rungs_without_plain_state_start_from_the_first_epoch(iris):
    """Scores are as without state to continue from; ledger and a warning say why."""
    options = {"resource": "max_epochs", "min_resources": 3, "max_resources": 9, "cv": 3}
    grid = {"learning_rate": [0.01, 0.02, 0.03]}
    with pytest.warns(SkTuneWarning, match="3 fits trained from the first epoch") as caught:
        search = HalvingGridSearchCV(OBSERVED, grid, **options).fit(*iris)

    rates = LRScheduler("ExponentialLR", gamma=0.7)
    expected = HalvingGridSearchCV(_net(rates), grid, **options).fit(*iris)
    for name in ("mean_test_score", "n_resources"):
        np.testing.assert_array_equal(search.cv_results_[name], expected.cv_results_[name])
    ((remark, n),) = search.ledger_.remarks.items()
    assert remark.startswith(f"trained from the first epoch, because {UNSTORABLE}")
    assert (n, search.ledger_.epochs_saved_by_warm_start) == (3, 0)
    assert len([w for w in caught if "first epoch" in str(w.message)]) == 1
    assert str(search.ledger_).splitlines()[-1] == f"3 {remark}"


def test_estimators_callbacks_are_not_changed(iris):
    """The engine trains with copies of the callbacks."""
    stop = EarlyStopping("train_loss", patience=1, load_best=True)
    net = _net(stop)

    train([Fit(estimator=net, X=iris[0], y=iris[1])])

    assert vars(stop) == vars(clone(stop))


def test_output_comes_with_the_adoption(iris):
    """A log with a sink of its own gets its lines when an estimator adopts the training."""
    lines = []
    net = _net(PrintLog(sink=lines.append), max_epochs=3)
    fit = Fit(estimator=net, X=iris[0], y=iris[1])
    (trained,) = train([fit])
    assert not lines

    fitted_estimator(fit, trained)

    assert len([line for line in lines if line.strip()[:1].isdigit()]) == 3


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (_net(Callback()), "it has callbacks (Callback)"),
        (
            _net(LRScheduler(), lr_schedule="cosine"),
            "LRScheduler interacts with lr_schedule='cosine'",
        ),
        (
            _net(GradientNormClipping(1.0), gradient_clip=0.5),
            "GradientNormClipping interacts with gradient_clip=0.5",
        ),
        (
            _net(EarlyStopping(load_best=True), early_stopping=True),
            "EarlyStopping interacts with early_stopping=True",
        ),
        (_net(EpochScoring("f1_macro", on_train=True)), "EpochScoring scores the training"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*alone")
def test_reasons_of_callbacks(net, reason, iris):
    """Other callbacks, and callbacks that repeat a parameter, train alone with a reason."""
    (trained,) = train([Fit(estimator=net, X=iris[0], y=iris[1], n_epochs=1)])

    assert trained.engine == "alone"
    assert trained.alone_reason.startswith(reason)


@pytest.mark.filterwarnings("ignore:.*alone")
def test_the_reason_of_a_fleet_names_a_wrong_monitor(iris):
    """It has the parameter, its value and the columns of the history, as in ``fit``."""
    X, y = iris
    net = _net(EarlyStopping("vaild_loss"))

    alone, *_ = train([Fit(estimator=net, X=X, y=y, seed=seed) for seed in (0, 1)])

    assert re.search(
        r"its fleet failed \(ValueError: The 'monitor' .*'train_loss'.*Got 'vaild_loss'",
        alone.alone_reason,
    )
