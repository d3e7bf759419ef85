"""What a plain skorch net goes on from: to the bit as if nothing had come in between.

The reference is the same training in one go.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from marks import one_in
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from skorch import NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import EarlyStopping, EpochScoring, GradientNormClipping, LRScheduler
from skorch.dataset import ValidSplit
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR, MultiStepLR, SequentialLR
from torch.optim.lr_scheduler import LRScheduler as TorchScheduler

from sk_tune._engine import Fit, FitStore, _store, train
from sk_tune._engine._shard import Shard, train_shard
from sk_tune._engine._store import remaining_fit
from sk_tune._json_values import decode, encode

X, Y = load_digits(return_X_y=True)
X, Y = X[:160].astype(np.float32) / 16, Y[:160].astype(np.int64)
X_REG, Y_REG = load_diabetes(return_X_y=True)
X_REG = X_REG[:200].astype(np.float32)
Y_REG = ((Y_REG - Y_REG.mean()) / Y_REG.std())[:200, np.newaxis].astype(np.float32)
ROWS = (np.arange(120), np.arange(10, 120), np.arange(120))
MONITOR = np.arange(120, 160)
N_EPOCHS = 6


class Module(nn.Module):
    """Dropout draws from torch's generator; batch normalisation has buffers."""

    def __init__(self, n_in=64, n_out=10, p=0.2):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_in, 12),
            nn.BatchNorm1d(12),
            nn.ReLU(),
            nn.Dropout(p),
            nn.Linear(12, n_out),
        )

    def forward(self, x):
        return self.layers(x)


def sequential(optimizer, last_epoch):
    """Steps the second of two schedulers at a given epoch."""
    first, second = ExponentialLR(optimizer, 0.9), MultiStepLR(optimizer, [1, 1, 3], 0.5)
    return SequentialLR(optimizer, [first, second], milestones=[2])


class Halving:
    """A callable with attributes that change."""

    def __init__(self):
        self.n_calls = 0

    def __call__(self, epoch):
        self.n_calls += 1
        return 0.5**self.n_calls


def _clf(*callbacks, **params):
    own = {
        "criterion": nn.CrossEntropyLoss,
        "max_epochs": N_EPOCHS,
        "batch_size": 32,
        "lr": 0.05,
        "verbose": 0,
        "iterator_train__shuffle": True,
        "callbacks": list(callbacks),
    }
    return NeuralNetClassifier(Module, **{**own, **params})


def _scheduled(policy, **options):
    return _clf(LRScheduler(policy, **options))


ADAM = {"optimizer": torch.optim.Adam, "lr": 0.01}
NETS = {
    "sgd": _clf(optimizer=torch.optim.SGD),
    "momentum": _clf(optimizer__momentum=0.9, optimizer__nesterov=True),
    "adam": _clf(**ADAM, optimizer__weight_decay=0.01),
    "adamw": _clf(optimizer=torch.optim.AdamW, lr=0.01),
    "rmsprop": _clf(optimizer=torch.optim.RMSprop, optimizer__momentum=0.5, lr=0.001),
    "not shuffled": _clf(iterator_train__shuffle=False),
    "no split": _clf(train_split=None),
    "no callbacks": _clf(callbacks="disable"),
    "stopping": _clf(EarlyStopping(patience=2, threshold=0.2), **ADAM),
    "stopping by accuracy": _clf(
        EarlyStopping("valid_acc", patience=3, lower_is_better=False), lr=1.0
    ),
    "best weights": _clf(EarlyStopping(patience=9, threshold=0.3, load_best=True), **ADAM),
    "first weights": _clf(EarlyStopping(patience=9, threshold=0.9, load_best=True)),
    "clipping": _clf(GradientNormClipping(0.2), **ADAM),
    "scoring": _clf(EpochScoring("f1_macro", lower_is_better=False)),
    "restarts": _scheduled("WarmRestartLR", base_period=2, max_lr=0.1),
    "steps": _scheduled("StepLR", step_size=2, gamma=0.5),
    "milestones": _scheduled("MultiStepLR", milestones=[2, 2, 4], gamma=0.5),
    "exponential": _scheduled("ExponentialLR", gamma=0.8),
    "cosine": _scheduled("CosineAnnealingLR", T_max=5),
    "cosine by batch": _scheduled("CosineAnnealingLR", T_max=40, step_every="batch"),
    "lambda": _scheduled("LambdaLR", lr_lambda=lambda epoch: 1 / (1 + epoch)),
    "object": _scheduled("LambdaLR", lr_lambda=Halving()),
    "cyclic": _scheduled(
        "CyclicLR",
        base_lr=0.01,
        max_lr=0.1,
        step_size_up=9,
        cycle_momentum=False,
        step_every="batch",
    ),
    "one cycle": _clf(
        LRScheduler(
            torch.optim.lr_scheduler.OneCycleLR,
            max_lr=0.1,
            total_steps=60,
            cycle_momentum=False,
            step_every="batch",
        )
    ),
    "plateau": _scheduled(
        "ReduceLROnPlateau", monitor="valid_loss", patience=0, threshold=0.3
    ),
    "sequential": _scheduled(sequential),
    "all": _clf(
        EarlyStopping(patience=4, load_best=True),
        LRScheduler("StepLR", step_size=3),
        ("second", LRScheduler("ExponentialLR", gamma=0.9, event_name="second")),
        GradientNormClipping(1.0),
        EpochScoring("neg_log_loss", lower_is_better=False, name="log"),
        **ADAM,
    ),
    "regression": NeuralNetRegressor(
        Module,
        module__n_in=10,
        module__n_out=1,
        max_epochs=N_EPOCHS,
        optimizer=torch.optim.Adam,
        verbose=0,
        callbacks=[EarlyStopping(patience=3, load_best=True)],
    ),
}


def _fits(net, n_fits=3):
    X_own, Y_own = (X_REG, Y_REG) if isinstance(net, NeuralNetRegressor) else (X, Y)
    rows = [own[own < len(X_own)] for own in ROWS]
    return [
        Fit(
            estimator=clone(net).set_params(lr=net.lr * (1 - 0.3 * i), module__p=0.2 * i),
            X=X_own,
            y=Y_own,
            rows=rows[i],
            monitor=MONITOR[len(X_own) > MONITOR] if len(X_own) > 250 else ROWS[0][:50],
            seed=i,
            n_epochs=net.max_epochs,
        )
        for i in range(n_fits)
    ]


class _Kept:
    """Takes every snapshot, through JSON, in the place of a store."""

    seconds = 0.0

    def __init__(self):
        self.trained = []

    def keep(self, trained):
        self.trained.append({
            i: replace(t, state=_through_json(t.state)) for i, t in trained.items()
        })


def _through_json(state):
    plain = json.loads(json.dumps(encode([list(state.history), state.course])))
    history, course = decode(plain)
    return replace(state, history=tuple(history), course=course)


def _train(fits, unfinished=None):
    shard = Shard(
        fits=dict(enumerate(fits)), as_fleet=True, memory_limit=2**30, unfinished=unfinished
    )
    trained = train_shard(shard)
    assert {t.message + t.alone_reason for t in trained.values()} == {""}
    return trained


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("name", one_in(3, NETS))
def test_a_resumed_net_equals_an_uninterrupted_net(name, assert_same_training):
    """From any epoch: history, weights, moments and predictions are equal."""
    fits = _fits(NETS[name])
    kept = _Kept()
    whole = _train(fits, kept)

    assert kept.trained
    for snapshot in kept.trained:
        rest = {i: remaining_fit(fits[i], trained.state) for i, trained in snapshot.items()}
        resumed = _train(list(rest.values()))

        for position, i in enumerate(rest):
            assert_same_training(resumed[position], whole[i])


def test_the_cases_cover_their_purpose():
    """Early stopping ends some nets and not others; rates and best weights change."""
    stopped = _train(_fits(NETS["stopping"]))
    best = _train(_fits(NETS["best weights"]))
    reduced = _train(_fits(NETS["plateau"]))

    assert 2 < min(len(t.state.history) for t in stopped.values()) < N_EPOCHS
    weights = [(t.state.weights, t.state.last_weights) for t in best.values()]
    name = "layers.0.weight"
    assert not all(np.array_equal(used[name], last[name]) for used, last in weights)
    assert any(t.state.history[-1]["event_lr"] < 0.05 * 0.4 for t in reduced.values())


class _Odd(TorchScheduler):
    """Holds a value that cannot be stored."""

    def __init__(self, optimizer, last_epoch=-1):
        self.held = object()
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return self.base_lrs


def test_a_net_with_unstorable_parts_starts_again(assert_same_training):
    """Its state is stored without the scheduler, and it trains all epochs again."""
    fits = [_fits(_clf())[0], _fits(_scheduled(_Odd))[1]]
    kept = _Kept()
    whole = _train(fits, kept)

    rest = [remaining_fit(fits[i], trained.state) for i, trained in kept.trained[2].items()]
    resumed = _train(rest)

    assert "schedulers" not in kept.trained[2][1].state.course
    for i in (0, 1):
        assert_same_training(resumed[i], whole[i])


def test_a_net_with_another_split_starts_again(assert_same_training):
    """Training samples must not become validation samples."""
    first, again = (
        _fits(_clf(train_split=ValidSplit(0.2, random_state=seed)))[0] for seed in (0, 1)
    )
    kept = _Kept()
    _train([first], kept)

    resumed = _train([remaining_fit(again, kept.trained[2][0].state)])[0]

    assert_same_training(resumed, _train([again])[0])


def test_a_net_trained_alone_starts_again(assert_same_training):
    """skorch's own loop trains all epochs."""
    fit = _fits(_clf(EarlyStopping(patience=2)))[0]
    kept = _Kept()
    _train([fit], kept)

    alone = [
        train([own], engine="alone")[0]
        for own in (fit, remaining_fit(fit, kept.trained[1][0].state))
    ]

    assert_same_training(alone[1], alone[0])
    assert len(alone[0].state.history) == N_EPOCHS


@pytest.mark.parametrize("name", ["sgd", "best weights", "first weights"])
def test_a_finished_training_can_be_continued(name, assert_same_training):
    """More epochs equal a longer training; the best epochs stay."""
    whole = _fits(NETS[name])
    parts = [replace(fit, n_epochs=N_EPOCHS - 2) for fit in whole]

    shorts = train(parts)
    again = train([
        replace(fit, state=short.state, n_epochs=2)
        for fit, short in zip(parts, shorts, strict=True)
    ])

    for ours, theirs in zip(again, train(whole), strict=True):
        assert_same_training(ours, theirs)


@pytest.mark.parametrize("name", ["best weights", "all", "plateau"])
def test_a_killed_run_continues_from_its_store(
    name, tmp_path, monkeypatch, assert_same_training
):
    """Results are bitwise equal to an uninterrupted run; no checkpoints remain."""
    monkeypatch.setattr(_store, "SECONDS_BETWEEN", 0.0)
    path = tmp_path / "fits.db"
    fits, seen, of_rest = _fits(NETS[name]), [], []
    whole = train(fits)

    def stop(progress):
        seen.append(progress)
        if len(seen) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(fits, store=path, progress=stop)
    resumed = train(fits, store=path, progress=of_rest.append)

    for ours, theirs in zip(resumed, whole, strict=True):
        assert_same_training(ours, theirs)
    assert of_rest[0].n_epochs_done < 3 * 3
    assert len(of_rest) <= N_EPOCHS - 2
    with FitStore(path) as store:
        ((n_rows,),) = store._database.query("SELECT count(*) FROM fits")
        assert n_rows == store.info().n_fits == 3
