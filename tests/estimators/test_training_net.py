"""The training loop: exact continuation, state after failures, callbacks."""

import copy
import importlib
import os
import pickle
import random
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from marks import one_in
from modules import OneLayer
from sklearn.metrics import get_scorer
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
    TrainEndCheckpoint,
)

from sk_tune import (
    HalvingGridSearchCV,
    MLPClassifier,
    NetClassifier,
    NetRegressor,
    _processes,
)
from sk_tune._estimators._training_net import _MANY
from sk_tune.exceptions import SkTuneWarning, TrainingDivergedError

NAMES = [
    network + task
    for network in ("MLP", "CNN", "RNN", "Net")
    for task in ("Classifier", "Regressor")
]

# Objects with a state that must survive an interruption;
# tests/contract/test_engine_warm_start has more of them, through the engine.
COURSES = [
    *((name, {}) for name in NAMES),
    ("MLPClassifier", {"optimizer": "sgd", "lr_schedule": "one_cycle"}),
    ("MLPClassifier", {"optimizer": "rmsprop", "learning_rate": 1e-3, "dtype": "float64"}),
    ("MLPClassifier", {"batch_size": -1, "lr_schedule": "cosine", "l1": 1e-3}),
    ("MLPClassifier", {"early_stopping": True, "n_iter_no_change": 9, "dropout": 0.3}),
    (
        "MLPClassifier",
        {"early_stopping": True, "n_iter_no_change": 1, "learning_rate": 0.3},
    ),
    ("CNNClassifier", {"dropout": 0.3, "normalization": "batch", "lr_schedule": "step"}),
    ("RNNRegressor", {"dropout": 0.3, "normalization": "batch", "early_stopping": True}),
    ("NetClassifier", {"early_stopping": True, "n_iter_no_change": 9}),
]


def _through_file(estimator, tmp_path):
    estimator.save(tmp_path / "estimator.safetensors")
    module = {"module": estimator.module} if hasattr(estimator, "module") else {}
    return type(estimator).load(tmp_path / "estimator.safetensors", **module)


ROUTES = {
    "directly": lambda estimator, tmp_path: estimator,
    "pickle": lambda estimator, tmp_path: pickle.loads(pickle.dumps(estimator)),
    "deepcopy": lambda estimator, tmp_path: copy.deepcopy(estimator),
    "file": _through_file,
}


def state_of(estimator):
    """Return the complete training state in a form that compares with ==."""
    net = estimator.net_
    kept = ("train_loss", "train_score", "lr")
    more = ("valid_loss", "valid_score") if "valid_loss" in net.history_[0] else ()
    return {
        "weights": {k: v.tolist() for k, v in net.module_.state_dict().items()},
        "history": net.history_[:, kept + more],
        "best_epoch": estimator.best_epoch_,
    }


@pytest.mark.filterwarnings("ignore:The rows for early stopping:UserWarning")
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(("name", "params"), one_in(4, COURSES))
def test_three_and_six_equal_nine(name, params, route, make_estimator, task_data, tmp_path):
    """partial_fit continues exactly, also after pickling or saving."""
    X, y = task_data(name)
    at_once = make_estimator(name, **params, max_epochs=9).fit(X, y)

    in_parts = make_estimator(name, **params, max_epochs=9).partial_fit(X, y, n_epochs=3)
    in_parts = ROUTES[route](in_parts, tmp_path).partial_fit(X, y, n_epochs=6)

    assert state_of(in_parts) == state_of(at_once)
    np.testing.assert_array_equal(in_parts.predict(X), at_once.predict(X))


def test_a_training_that_stopped_early_remains_stopped(make_estimator, task_data):
    """More epochs have no effect after early stopping."""
    X, y = task_data("MLPRegressor")
    params = {"early_stopping": True, "n_iter_no_change": 2, "tol": 1e9, "max_epochs": 9}
    stopped = make_estimator("MLPRegressor", **params).fit(X, y)
    initial = state_of(stopped)

    with pytest.warns(SkTuneWarning, match="partial_fit has no effect"):
        stopped.partial_fit(X, y, n_epochs=3)

    assert len(initial["history"]) < 9
    assert state_of(stopped) == initial


def test_the_schedule_of_partial_fit_spans_max_epochs(make_estimator, task_data):
    """Single epochs use one training's rates, and then the last rate; fit restarts."""
    X, y = task_data("MLPRegressor")
    params = {"lr_schedule": "step", "max_epochs": 4, "batch_size": -1}
    params["learning_rate"] = 0.1
    net = make_estimator("MLPRegressor", **params)

    for _ in range(4):
        net.partial_fit(X, y)
    for _ in range(2):
        with pytest.warns(SkTuneWarning, match="max_epochs=4"):
            net.partial_fit(X, y)

    assert net.history_[:, "lr"] == pytest.approx([0.1, 0.1, 0.01, 0.001, 0.001, 0.001])
    warm = make_estimator("MLPRegressor", **params, warm_start=True).fit(X, y).fit(X, y)
    assert warm.history_[:, "lr"] == pytest.approx([0.1, 0.1, 0.01, 0.001] * 2)
    # Dropout masks differ between steps, too.
    assert warm.net_.n_steps_ == 8


def test_a_warm_start_uses_new_training_parameters(make_estimator, task_data):
    """Training parameters changed between two warm fits apply in the second."""
    X, y = task_data("MLPRegressor")
    net = make_estimator("MLPRegressor", warm_start=True).fit(X, y)

    recorder = Recorder()
    net.set_params(learning_rate=1e-4, batch_size=10, max_epochs=3, callbacks=[recorder])
    net.fit(X, y)

    assert net.history_[2:, "lr"] == pytest.approx([1e-4] * 3)
    assert net.n_epochs_ == 5
    assert recorder.calls.count("batch begins") == 3 * 6


def test_another_architecture_cannot_start_warm(make_estimator, task_data):
    """The error names the parameters that changed since the previous fit."""
    X, y = task_data("MLPRegressor")
    net = make_estimator("MLPRegressor", warm_start=True).fit(X, y)

    with pytest.raises(ValueError, match=r"architecture\. Got members=2 instead of 1\.$"):
        net.set_params(members=2).fit(X, y)


@pytest.mark.parametrize(
    "params",
    [
        *({"weight_decay": 0.9}, {"momentum": 0.1}, {"optimizer": "sgd"}, {"l1": 0.1}),
        {"dtype": "float64"},
    ],
    ids=str,
)
def test_a_warm_start_uses_new_optimizer_parameters(params, make_estimator, task_data):
    """Options of the optimizer may change between two warm fits."""
    X, y = task_data("MLPRegressor")
    net, twin = (make_estimator("MLPRegressor", warm_start=True) for _ in range(2))
    net.fit(X, y)
    twin.fit(X, y)

    net.set_params(**params).fit(X, y)
    twin.fit(X, y)

    assert net.predict(X).dtype == params.get("dtype", "float32")
    assert (net.predict(X) != twin.predict(X)).any()


def _global_state():
    return (
        random.getstate(),
        [part.tolist() for part in np.random.get_state()[1:2]],  # noqa: NPY002
        np.random.get_state()[2:],  # noqa: NPY002
        torch.get_rng_state().tolist(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_grad_enabled(),
    )


@pytest.mark.parametrize("seed", [0, None])
def test_global_state_is_unchanged(name, seed, make_estimator, task_data):
    """Fitting and predicting change no global generator and no global setting."""
    X, y = task_data(name)
    params = {} if name.startswith("Net") else {"dropout": 0.5}
    net = make_estimator(name, **params, random_state=seed, early_stopping=True)
    initial = _global_state()

    net.fit(X, y).partial_fit(X, y).predict(X)

    assert _global_state() == initial


def test_only_the_seed_determines_the_result(name, make_estimator, task_data, outputs):
    """Equal seeds give equal bits for any state of global generators; others differ."""
    X, y = task_data(name)
    torch.manual_seed(1)
    first = make_estimator(name).fit(X, y)
    torch.manual_seed(2)
    again = make_estimator(name).fit(X, y)
    other = make_estimator(name, random_state=1).fit(X, y)

    np.testing.assert_array_equal(outputs(first, X), outputs(again, X))
    assert (outputs(first, X) != outputs(other, X)).any()


def test_without_a_seed_every_fit_differs(make_estimator, task_data):
    """random_state=None draws fresh entropy, even if the global generators repeat."""
    X, y = task_data("MLPRegressor")
    predictions = []
    for _ in range(2):
        np.random.seed(0)  # noqa: NPY002
        torch.manual_seed(0)
        net = make_estimator("MLPRegressor", random_state=None).fit(X, y)
        predictions.append(net.predict(X))

    assert (predictions[0] != predictions[1]).all()


@pytest.mark.parametrize("name", ["MLPClassifier", "NetRegressor"])
def test_a_random_state_advances_once_in_every_fit(name, make_estimator, task_data):
    """A fit draws one seed from a RandomState, as in scikit-learn; then none."""
    X, y = task_data(name)
    random_state, reference = (np.random.RandomState(0) for _ in range(2))
    net = make_estimator(name, random_state=random_state, early_stopping=True)
    seeds = reference.randint(np.iinfo(np.int32).max, size=2)

    first = net.fit(X, y).partial_fit(X, y).predict(X)
    second = net.fit(X, y).predict(X)

    assert random_state.randint(1000) == reference.randint(1000)
    assert (first != second).any()
    by_number = make_estimator(name, random_state=int(seeds[1]), early_stopping=True)
    np.testing.assert_array_equal(by_number.fit(X, y).predict(X), second)


class Fuse(OneLayer):
    """A linear module that raises an error at a given training step."""

    error = KeyboardInterrupt
    steps_left = None

    def forward(self, x):
        if self.training and Fuse.steps_left is not None:
            Fuse.steps_left -= 1
            if Fuse.steps_left < 0:
                raise Fuse.error("in the middle of a step")
        return super().forward(x)


@pytest.fixture
def fuse(monkeypatch):
    """Return a function that makes the module fail after a number of training steps."""

    def set_fuse(steps, error=KeyboardInterrupt):
        monkeypatch.setattr(Fuse, "steps_left", steps)
        monkeypatch.setattr(Fuse, "error", error)

    return set_fuse


def _fused(make_estimator, **params):
    return make_estimator("NetRegressor", module=Fuse, **params)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_an_interrupted_fit_leaves_no_network(error, fuse, make_estimator, task_data):
    """Its error is raised; neither a partial nor an earlier network remains."""
    X, y = task_data("NetRegressor")
    expected = _fused(make_estimator).fit(X, y).predict(X)
    net = _fused(make_estimator)
    for columns in (8, 5):
        fuse(2, error)
        with pytest.raises(error, match="in the middle of a step"):
            net.fit(X[:, :columns], y)

        assert not net.__sklearn_is_fitted__()
        fuse(None)
        np.testing.assert_array_equal(net.fit(X, y).predict(X), expected)


INTERRUPTED = {
    "plain": {},
    "momentum": {"optimizer": "sgd"},
    "schedule": {"lr_schedule": "cosine", "max_epochs": 8},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.3},
    "warm start": {
        "warm_start": True,
        "early_stopping": True,
        "lr_schedule": "step",
        "learning_rate": 0.3,
        "max_epochs": 8,
    },
}


@pytest.mark.filterwarnings("ignore:lr_schedule:sk_tune.exceptions.SkTuneWarning")
@pytest.mark.parametrize("params", INTERRUPTED.values(), ids=INTERRUPTED)
def test_an_interrupted_continuation_is_undone(params, fuse, make_estimator, task_data):
    """All epochs and the new schedule of a failed call are undone."""
    X, y = task_data("NetRegressor")

    def train(net, n_epochs):
        if "warm_start" in params:
            return net.fit(X, y)
        return net.partial_fit(X, y, n_epochs=n_epochs)

    net, twin = (train(_fused(make_estimator, **params), 2) for _ in range(2))
    initial = state_of(net)
    fuse(10)

    with pytest.raises(KeyboardInterrupt):
        train(net, 5)

    assert state_of(net) == initial
    fuse(None)
    # Other rows, with a validation loss that cannot fall below the failed call's.
    net.partial_fit(X, -50 * y, n_epochs=2)
    twin.partial_fit(X, -50 * y, n_epochs=2)
    assert state_of(net) == state_of(twin)


def test_a_partial_fit_that_fails_changes_nothing(make_estimator, task_data):
    """Mismatched data, or divergence, leave the network unchanged."""
    X, y = task_data("MLPRegressor")
    net = make_estimator("MLPRegressor", early_stopping=True).partial_fit(X, y)
    initial = state_of(net)

    with pytest.raises(ValueError, match="X has 5 features"):
        net.partial_fit(X[:, :5], y)
    with pytest.raises(TrainingDivergedError):
        net.partial_fit(X, y * 1e30)

    assert state_of(net) == initial


DIVERGING = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 1e25}


def test_a_loss_that_is_not_finite_ends_the_fit(name, make_estimator, task_data):
    """TrainingDivergedError names the epoch, the learning rate and the remedy."""
    X, y = task_data(name)
    net = make_estimator(name, **DIVERGING, gradient_clip=None, max_epochs=5)
    initial = _global_state()

    words = r"epoch(.|\n)*1e\+25|1e\+25(.|\n)*epoch"
    with pytest.raises(TrainingDivergedError, match=words) as raised:
        net.fit(X, y)

    assert "Lower learning_rate" in str(raised.value)
    assert isinstance(raised.value, ArithmeticError)
    assert _global_state() == initial
    assert not net.__sklearn_is_fitted__()


def test_weights_not_finite_after_the_last_step_end_the_fit(make_estimator, task_data):
    """Weights that become invalid in the last step, after a finite loss, are detected."""
    X, y = task_data("MLPRegressor")
    params = {**DIVERGING, "learning_rate": 1e39, "batch_size": -1, "max_epochs": 1}
    net = make_estimator("MLPRegressor", **params)

    with pytest.raises(TrainingDivergedError, match="learning_rate"):
        net.fit(X, y)


class Recorder(Callback):
    """Record every hook call with its arguments."""

    def __init__(self):
        self.calls = []
        self.given = SimpleNamespace()

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.calls.append("train begins")

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.calls.append("epoch begins")
        self.given = SimpleNamespace(train=dataset_train, valid=dataset_valid)

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        self.calls.append("batch begins" if training else "validation")

    def on_grad_computed(self, net, named_parameters=None, **kwargs):
        assert all(p.grad is not None for _, p in named_parameters)
        self.calls.append("gradient")

    def on_batch_end(self, net, training=None, loss=None, y_pred=None, **kwargs):
        assert loss.ndim == 0
        self.calls.append("batch ends" if training else "validation")

    def on_epoch_end(self, net, **kwargs):
        self.calls.append("epoch ends")

    def on_train_end(self, net, **kwargs):
        self.calls.append("train ends")


def test_callbacks_are_called_in_order(make_estimator, task_data):
    """The hooks of a callback are called as in skorch."""
    X, y = task_data("MLPRegressor")
    recorder = Recorder()

    make_estimator("MLPRegressor", batch_size=30, callbacks=[recorder]).fit(X, y)

    batch = ["batch begins", "gradient", "batch ends"]
    epoch = ["epoch begins", *batch, *batch, "epoch ends"]
    assert recorder.calls == ["train begins", *epoch, *epoch, "train ends"]


def test_a_hook_on_batches_changes_no_result(make_estimator, task_data):
    """A callback that only observes leaves the network bitwise unchanged."""
    X, y = task_data("RNNClassifier")
    params = {"dropout": 0.3, "bidirectional": True}
    silent = make_estimator("RNNClassifier", **params).fit(X, y)
    heard = make_estimator("RNNClassifier", callbacks=[Recorder()], **params).fit(X, y)

    assert state_of(heard) == state_of(silent)


class Predictor(Callback):
    """Predicts in the middle of an epoch, like a scoring callback."""

    def __init__(self, rows):
        self.rows = rows

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            net.predict(self.rows)


def test_a_callback_that_predicts_changes_no_result(make_estimator, task_data, monkeypatch):
    """Dropout, batch norm and label smoothing continue in training mode."""
    # Torch trains both, because the kernel would round differently.
    monkeypatch.setenv("SK_TUNE_KERNEL", "0")
    X, y = task_data("MLPClassifier")
    params = {"dropout": 0.5, "normalization": "batch", "label_smoothing": 0.1}
    watch = Predictor(np.array(X, dtype=np.float32))

    silent = make_estimator("MLPClassifier", **params).fit(X, y)
    watched = make_estimator("MLPClassifier", **params, callbacks=[watch]).fit(X, y)

    assert state_of(watched) == state_of(silent)


def test_early_stopping_of_skorch_ends_training_without_an_error(make_estimator, task_data):
    """skorch stops by KeyboardInterrupt; the network is kept."""
    X, y = task_data("MLPRegressor")
    threshold = {"threshold": 1e9, "threshold_mode": "abs"}
    stop = EarlyStopping(monitor="train_loss", patience=2, **threshold, sink=list)
    recorder = Recorder()
    params = {"max_epochs": 50, "callbacks": [stop, recorder]}

    net = make_estimator("MLPRegressor", **params).fit(X, y)

    assert net.n_epochs_ <= 3
    assert recorder.calls[-1] == "train ends"
    assert np.isfinite(net.predict(X)).all()
    # Batch records serve callbacks only, and would bloat pickles.
    assert all(len(row["batches"]) <= 1 for row in net.history_)


def test_a_callback_may_stop_the_training_within_an_epoch(make_estimator, task_data):
    """A training that a callback stopped after a batch can be continued."""

    class StopSixth(Callback):
        n_calls = 0

        def on_batch_end(self, net, **kwargs):
            self.n_calls += 1
            if self.n_calls == 6:
                raise KeyboardInterrupt

    X, y = task_data("MLPRegressor")
    net = make_estimator("MLPRegressor", callbacks=[StopSixth()], max_epochs=3).fit(X, y)
    stopped = net.predict(X)

    net.partial_fit(X, y, n_epochs=2)

    assert np.isfinite(stopped).all()
    assert net.history_[-1]["train_loss"] > 0
    assert (net.predict(X) != stopped).any()


def test_an_epoch_stopped_in_its_validation_does_not_count(make_estimator, task_data):
    """All epochs of the history are complete, also when the training continues."""

    class StopValidation(Callback):
        def on_batch_end(self, net, training, **kwargs):
            if not training and len(net.history) == 3:
                raise KeyboardInterrupt

    X, y = task_data("MLPRegressor")
    params = {"early_stopping": True, "max_epochs": 5, "callbacks": [StopValidation()]}
    net = make_estimator("MLPRegressor", **params).fit(X, y)

    assert net.n_epochs_ == 2
    net.partial_fit(X, y)
    assert np.isfinite(net.history_[:, ("valid_loss", "lr", "dur")]).all()


def _fail(*_, **__):
    raise LookupError("no such scale")


def _interrupt(*_, **__):
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(10**6):
        pass


def _stop(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("hook", "act", "error"),
    [
        ("on_epoch_end", _fail, LookupError),
        # Ctrl+C, which is not a callback's request to stop.
        ("on_epoch_end", _interrupt, KeyboardInterrupt),
        # Before the first epoch, as in skorch.
        ("on_train_begin", _stop, KeyboardInterrupt),
    ],
)
def test_an_error_in_a_callback_is_raised(hook, act, error, make_estimator, task_data):
    """The estimator is not fitted afterwards."""
    callback = type("Own", (Callback,), {hook: act})()
    net = make_estimator("MLPRegressor", callbacks=[callback])

    with pytest.raises(error):
        net.fit(*task_data("MLPRegressor"))

    assert not net.__sklearn_is_fitted__()


def test_scores_of_skorch_on_the_training_rows(make_estimator, task_data):
    """EpochScoring(on_train=True) scores the predictions made during training."""
    X, y = task_data("MLPRegressor")
    scoring = EpochScoring("r2", on_train=True, lower_is_better=False, name="own_r2")

    net = make_estimator("MLPRegressor", max_epochs=3, callbacks=[scoring]).fit(X, y)

    expected = net.history_[:, "train_score"]
    assert net.history_[:, "own_r2"] == pytest.approx(expected, abs=1e-5)


def test_schedulers_of_skorch_continue(make_estimator, task_data):
    """A warm start and partial_fit continue with the scheduler's last rate."""
    X, y = task_data("MLPRegressor")
    scheduler = LRScheduler("StepLR", step_size=2, gamma=0.5)
    params = {"lr_schedule": "constant", "learning_rate": 0.1, "max_epochs": 3}
    params |= {"warm_start": True, "callbacks": [scheduler]}
    net = make_estimator("MLPRegressor", **params).fit(X, y).fit(X, y)

    assert net.history_[:, "lr"] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])


def test_a_warm_start_continues_from_zero_epochs(make_estimator, task_data):
    """Also if a callback stopped the first epoch."""
    X, y = task_data("MLPRegressor")
    net = make_estimator("MLPRegressor", lr_schedule="constant", warm_start=True)
    net.fit(X, y)
    net.net_.history_.clear()

    net.fit(X, y)

    assert net.n_epochs_ == net.max_epochs


def test_rungs_of_epochs_support_schedulers_of_skorch(make_estimator, task_data):
    """A promoted candidate continues with its rate, without an error."""
    X, y = task_data("MLPRegressor")
    scheduler = LRScheduler("StepLR", step_size=1, gamma=0.5)
    net = make_estimator("MLPRegressor", lr_schedule="constant", callbacks=[scheduler])
    rungs = {"resource": "max_epochs", "factor": 2, "min_resources": 1, "max_resources": 2}
    search = HalvingGridSearchCV(net, {"learning_rate": [0.1, 0.2]}, cv=2, **rungs)

    search.fit(X, y)

    assert search.ledger_.n_in_fleets == search.ledger_.n_fits
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    rates = search.best_estimator_.history_[:, "lr"]
    rate = search.best_params_["learning_rate"]
    assert rates == pytest.approx([rate, rate / 2])


def test_a_pickle_of_a_missing_gpu_is_loaded_on_the_cpu(
    make_estimator, task_data, monkeypatch
):
    """With one GPU there is no "cuda:1"."""
    net = make_estimator("MLPRegressor").fit(*task_data("MLPRegressor")).net_
    net.device = "cuda:1"
    state = net.__getstate__()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    copied = object.__new__(type(net))

    with pytest.warns(SkTuneWarning, match="'cuda:1', which is not available here"):
        copied.__setstate__(state)

    assert copied.device == "cpu"
    (group,) = copied.optimizer_.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in copied.module_.parameters()]
    assert copied.module is copied.module_ is not net.module_


def test_clipping_by_skorch_equals_gradient_clip(make_estimator, task_data, monkeypatch):
    """GradientNormClipping and gradient_clip of the same norm are equivalent."""
    X, y = task_data("MLPRegressor")
    # Torch trains both, because the kernel would round differently.
    monkeypatch.setenv("SK_TUNE_KERNEL", "0")
    params = {"optimizer": "sgd", "learning_rate": 0.5}
    by_parameter = make_estimator("MLPRegressor", **params, gradient_clip=0.05)
    by_callback = make_estimator(
        "MLPRegressor", **params, gradient_clip=None, callbacks=[GradientNormClipping(0.05)]
    )

    assert state_of(by_callback.fit(X, y)) == state_of(by_parameter.fit(X, y))


def test_checkpoints_of_skorch_restore_an_epoch(make_estimator, task_data, tmp_path):
    """load_best restores the weights and the history that were written last."""
    X, y = task_data("MLPRegressor")
    checkpoint = Checkpoint(
        dirname=str(tmp_path), monitor=lambda net: len(net.history) == 2, load_best=True
    )

    net = make_estimator("MLPRegressor", max_epochs=4, callbacks=[checkpoint]).fit(X, y)

    two_epochs = make_estimator("MLPRegressor", max_epochs=2).fit(X, y)
    assert net.n_epochs_ == 2
    np.testing.assert_allclose(net.predict(X), two_epochs.predict(X), rtol=1e-4)


def test_a_checkpoint_of_skorch_may_be_written_at_the_end(
    make_estimator, task_data, tmp_path
):
    """TrainEndCheckpoint writes the trained weights."""
    X, y = task_data("MLPRegressor")
    checkpoint = TrainEndCheckpoint(dirname=str(tmp_path))

    net = make_estimator("MLPRegressor", callbacks=[checkpoint]).fit(X, y)

    weights = torch.load(tmp_path / "train_end_params.pt", weights_only=True)
    for name, values in net.net_.module_.state_dict().items():
        assert torch.equal(weights[name], values)
    assert net.history_[-1]["batches"] == []


def test_a_callback_needs_a_monitor_in_the_history(make_estimator, task_data):
    """The error names the columns, and the parameter that adds validation scores."""
    X, y = task_data("MLPRegressor")
    net = make_estimator("MLPRegressor", callbacks=[EarlyStopping()])

    with pytest.raises(
        ValueError, match=r"'train_loss'.*Got 'valid_loss'\. early_stopping"
    ):
        net.fit(X, y)


def _frozen(net):
    net.net_.module_.hidden[0].linear.weight.requires_grad_(requires_grad=False)
    return lambda: net.net_.module_.hidden[0].linear.weight


def _slowed(net):
    for group in net.net_.optimizer_.param_groups:
        group["lr"] = 0.0
    return lambda: net.net_.module_.output.weight


@pytest.mark.parametrize("change", [_frozen, _slowed])
def test_a_users_changes_to_a_trained_net_take_effect(change, make_estimator, task_data):
    """A frozen weight, an optimizer without steps, and a hook."""
    X, y = task_data("MLPClassifier")
    net = make_estimator("MLPClassifier").fit(X, y)
    weight, calls = change(net), []
    initial = weight().clone()
    net.net_.module_.register_forward_hook(lambda *_: calls.append(1))

    net.partial_fit(X, y)

    assert torch.equal(weight(), initial)
    assert len(calls) >= len(X) / 16


@pytest.mark.parametrize("change", [lambda net: None, lambda net: net.net_.optimizer_])
def test_early_stopping_continues_from_the_last_weights(change, make_estimator):
    """Not from the best weights, which predict: on noise these are much earlier."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 8)), rng.integers(0, 2, 200)
    params = {"early_stopping": True, "n_iter_no_change": 100, "learning_rate": 0.05}
    at_once = make_estimator("MLPClassifier", **params, max_epochs=12).fit(X, y)

    in_parts = make_estimator("MLPClassifier", **params, max_epochs=12)
    in_parts.partial_fit(X, y, n_epochs=6)
    change(in_parts)
    in_parts.partial_fit(X, y, n_epochs=6)

    assert in_parts.best_epoch_ < 6
    assert state_of(in_parts) == state_of(at_once)


def test_accessing_the_optimizer_does_not_change_the_training(make_estimator, task_data):
    """Nor do parameters set after `fit`: the net keeps its own."""
    X, y = task_data("MLPClassifier")
    nets = [make_estimator("MLPClassifier").fit(X, y) for _ in range(2)]

    optimizer = nets[1].net_.optimizer_
    assert nets[1].net_.optimizer_ is optimizer
    assert optimizer.state_dict()["state"]
    nets[1].set_params(weight_decay=0.5, optimizer="sgd")
    for net in nets:
        net.partial_fit(X, y)

    assert state_of(nets[0]) == state_of(nets[1])
    nets[1].net_.set_params(lr=0.5, optimizer__weight_decay=0.25)
    (group,) = nets[1].net_.optimizer_.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)
    assert nets[1].net_.initialize().optimizer_.state_dict()["state"] == {}


@pytest.mark.parametrize("cls", [NetClassifier, NetRegressor])
def test_the_history_equals_skorchs(cls, make_estimator, task_data):
    """Rows have the documented keys."""
    X, y = task_data(cls.__name__)

    net = make_estimator(cls.__name__, early_stopping=True).fit(X, y)

    keys = {"train_loss", "train_score", "valid_loss", "valid_score", "lr", "dur"}
    assert all(keys <= set(row) for row in net.history_)
    assert all(row["dur"] > 0 for row in net.history_)
    assert net.history_[:, "epoch"] == [1, 2]


@pytest.mark.parametrize("use_caching", [True, False])
@pytest.mark.parametrize("scoring", ["accuracy", "roc_auc"])
@pytest.mark.parametrize("class_weight", [None, {"no": 1, "yes": 3}])
def test_scoring_callbacks_agree_with_scikit_learn(scoring, use_caching, class_weight):
    """skorch's EpochScoring equals the scorer on the validation rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 5)).astype(np.float32)
    y = np.where(X[:, 0] + rng.normal(size=120) > 0, "yes", "no")
    rows = []

    class Keep(Callback):
        def on_epoch_begin(self, net, dataset_valid=None, **kwargs):
            rows[:] = [dataset_valid.X.numpy(), dataset_valid.y.numpy()]

    options = {"lower_is_better": False, "use_caching": use_caching}
    score = EpochScoring(scoring, name="score", **options)
    params = {"early_stopping": True, "validation_fraction": 0.3, "random_state": 0}
    params |= {"class_weight": class_weight, "callbacks": [Keep(), score]}
    net = MLPClassifier(max_epochs=1, **params).fit(X, y)

    X_valid, y_valid = rows
    expected = get_scorer(scoring)(net, X_valid, net.classes_[y_valid])
    assert net.history_[0]["score"] == pytest.approx(expected)


def test_the_first_epoch_does_not_include_imports(monkeypatch, task_data):
    """They take longer than an epoch, and searches estimate seconds by epochs."""
    import_module = importlib.import_module

    def import_slowly(name, package=None):
        time.sleep(2.0 * (name == "torch._dynamo"))
        return import_module(name, package)

    _processes.import_for_optimizers.cache_clear()
    monkeypatch.setattr(importlib, "import_module", import_slowly)
    net = NetRegressor(OneLayer, max_epochs=1, random_state=0)
    start = time.perf_counter()
    net.fit(*task_data("NetRegressor"))

    assert time.perf_counter() - start > 2
    assert net.history_[0, "dur"] < time.perf_counter() - start - 2


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("params", [{}, {"members": 3, "dropout": 0.2}])
def test_many_samples_have_the_outputs_of_the_module(
    name, params, make_estimator, task_data
):
    """They are computed by a program that only predicts."""
    X, y = task_data(name)
    net = make_estimator(name, **params).fit(X, y).net_
    many = torch.from_numpy(np.tile(X, (40, 1)))
    assert len(many) >= _MANY

    outputs = net.forward(many)

    with torch.no_grad():
        expected = net.module_.eval()(many)
    torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-6)


def test_hooks_of_the_module_see_many_samples(make_estimator, task_data):
    """A module with hooks computes the outputs itself."""
    X, y = task_data("MLPClassifier")
    net = make_estimator("MLPClassifier").fit(X, y).net_
    seen = []
    net.module_.register_forward_hook(lambda *_: seen.append(1))

    net.forward(torch.from_numpy(np.tile(X, (40, 1))))

    assert seen
