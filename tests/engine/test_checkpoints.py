"""Where fits stood on their way, and what is saved by going on from there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping, LRScheduler
from torch import nn

from sk_tune import CNNClassifier, MLPClassifier, RNNClassifier
from sk_tune.engine import Fit, checkpoint_before, train
from sk_tune.engine._memory_limits import bytes_per_fit, checkpoint_epochs
from sk_tune.engine._results import FitKeys
from sk_tune.training import TrainingState

N_EPOCHS = 6


class Net(nn.Module):
    """A small network with dropout."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 10)
        )

    def forward(self, x):
        return self.layers(x)


def _skorch(*callbacks):
    return NeuralNetClassifier(
        Net,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        max_epochs=N_EPOCHS,
        callbacks=list(callbacks),
        train_split=None,
        verbose=0,
    )


def _mlp(**params):
    own = {"width": 8, "batch_size": 32, "max_epochs": N_EPOCHS, "random_state": 0}
    return MLPClassifier(**(own | params))


NETS = {
    "dropout": _mlp(dropout=0.3, l1=1e-4),
    "batch norm": _mlp(normalization="batch", lr_schedule="cosine"),
    "momentum": _mlp(optimizer="sgd", momentum=0.9, learning_rate=0.1),
    "early stopping": _mlp(width=32, early_stopping=True, patience=2, learning_rate=0.3),
    "members": _mlp(members=2),
    "convolution": CNNClassifier(
        n_channels=4, input_shape=(1, 8, 8), max_epochs=N_EPOCHS, random_state=0
    ),
    "recurrence": RNNClassifier(
        hidden_size=4, input_shape=(8, 8), max_epochs=N_EPOCHS, random_state=0
    ),
    "skorch": _skorch(),
    "skorch, callbacks": _skorch(
        LRScheduler("StepLR", step_size=2, gamma=0.5),
        EarlyStopping(monitor="train_loss", patience=4),
    ),
}


def _fit(data, net, **params):
    X = data.X.astype(np.float32)
    rows = np.arange(150)
    monitor = np.arange(150, 200)
    return Fit(estimator=net, X=X, y=data.y, rows=rows, monitor=monitor, seed=1, **params)


@pytest.mark.parametrize("name", NETS)
def test_a_fit_that_goes_on_from_a_checkpoint_is_the_fit(
    name, digits, monkeypatch, assert_same_training
):
    """To the bit: history, weights, moments and predictions, for every epoch."""
    fit = _fit(digits, NETS[name])
    monkeypatch.setattr("sk_tune.engine._memory_limits._COST", 0.0)
    (whole,) = train([replace(fit, keeps_checkpoints=True)])

    n_trained = len(whole.state.history)
    lengths = [len(state.history) for state in whole.checkpoints]
    assert lengths == list(range(1, n_trained))
    for n_epochs in range(2, n_trained + 1):
        own = replace(fit, n_epochs=n_epochs)
        checkpoint = checkpoint_before(whole.checkpoints, n_epochs)
        (anew,), (short,) = train([own]), train([replace(own, checkpoint=checkpoint)])
        assert len(checkpoint.history) == n_epochs - 1
        assert_same_training(short, anew)


def test_the_case_of_early_stopping_has_its_best_epoch_in_the_middle(digits):
    """Else last and best weights would be the same."""
    (trained,) = train([_fit(digits, NETS["early stopping"])])

    assert 1 < trained.state.stopping.best_epoch < len(trained.train_loss) < N_EPOCHS


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_checkpoints_change_nothing_and_come_from_workers_too(
    n_jobs, digits, assert_same_training
):
    """Only those fits have some that are to keep them."""
    fits = [_fit(digits, NETS["dropout"]), _fit(digits, NETS["batch norm"])]
    plain = train(fits, n_jobs=n_jobs)

    kept = train([fits[0], replace(fits[1], keeps_checkpoints=True)], n_jobs=n_jobs)

    for own, other in zip(kept, plain, strict=True):
        assert_same_training(own, other)
    assert [[len(s.history) for s in own.checkpoints] for own in kept] == [[], [2, 4]]


def test_epochs_of_a_rung_are_counted_from_the_first(digits):
    """What went on from a state has checkpoints of its new epochs."""
    fit = _fit(digits, NETS["dropout"], keeps_checkpoints=True)
    (rung,) = train([replace(fit, n_epochs=2)])
    (rest,) = train([replace(fit, state=rung.state, n_epochs=4)])

    assert [len(state.history) for state in rest.checkpoints] == [4]


def test_without_room_there_are_none(digits):
    """Memory is for networks in training first."""
    fit = _fit(digits, NETS["dropout"], keeps_checkpoints=True)

    (trained,) = train([fit], memory_limit=16 * 100)

    assert trained.state is not None
    assert trained.checkpoints == ()


def test_fits_that_train_alone_have_none(digits):
    """The reference engine trains in one go."""
    fit = _fit(digits, NETS["dropout"], keeps_checkpoints=True)

    assert train([fit], engine="reference")[0].checkpoints == ()


def test_a_store_finds_a_fit_whatever_was_kept(digits):
    """The way to a result is no part of it."""
    fit = _fit(digits, NETS["dropout"], n_epochs=2)
    (trained,) = train([fit])
    key = FitKeys().key(fit)

    assert FitKeys().key(replace(fit, keeps_checkpoints=True)) == key
    assert FitKeys().key(replace(fit, checkpoint=trained.state)) == key


def test_a_store_does_not_keep_checkpoints(digits, tmp_path, assert_same_training):
    """A result that comes from there has none, and is the same."""
    fit = _fit(digits, NETS["dropout"], keeps_checkpoints=True)
    first, second = (train([fit], store=tmp_path / "fits.db")[0] for _ in range(2))

    assert (len(first.checkpoints), len(second.checkpoints)) == (2, 0)
    assert second.is_loaded
    assert_same_training(second, first)


@given(
    n_before=st.integers(0, 50),
    n_epochs=st.integers(1, 100),
    n_bytes=st.integers(0, 1000),
    limit=st.integers(0, 20_000),
)
def test_checkpoints_are_even_and_within_their_limit(n_before, n_epochs, n_bytes, limit):
    """No stretch without one is longer than what is kept, or pays, asks for."""
    epochs = checkpoint_epochs(n_before, n_epochs, n_bytes, limit)

    assert len(epochs) * n_bytes <= limit
    assert all(n_before < epoch < n_before + n_epochs for epoch in epochs)
    if n_bytes <= limit:
        most = limit // max(1, n_bytes)
        longest = max(1, -(-n_epochs // (most + 1)), round(np.sqrt(0.6 * n_epochs)))
        stretches = np.diff([n_before, *epochs, n_before + n_epochs])
        assert max(stretches) == min(longest, n_epochs)


@pytest.mark.parametrize("n_epochs", [6, 18, 27, 100, 500])
def test_no_other_spacing_costs_less(n_epochs):
    """Against all others, with each epoch as likely the best."""
    cost = 0.3

    def expected(spacing):
        kept = [0, *range(spacing, n_epochs, spacing)]
        back = [epoch - max(k for k in kept if k < epoch) for epoch in range(1, n_epochs)]
        return cost * (len(kept) - 1) + np.mean([*back, 0])

    epochs = checkpoint_epochs(0, n_epochs, 1, 1000)
    spacing = epochs[0] if len(epochs) else n_epochs

    assert expected(spacing) <= 1.1 * min(map(expected, range(1, n_epochs + 1)))


def test_the_checkpoint_is_the_last_one_before_an_epoch():
    """That of the epoch itself would leave nothing to train."""
    states = [
        TrainingState(seed=0, weights={}, moments={}, history=({},) * n) for n in (4, 2)
    ]

    assert checkpoint_before(states, 5) is states[0]
    assert checkpoint_before(states, 4) is states[1]
    assert checkpoint_before(states, 2) is None


def test_room_is_shared_by_those_that_keep(digits):
    """A sixteenth of what fits in training may take."""
    fit = _fit(digits, NETS["dropout"])
    keeping = replace(fit, keeps_checkpoints=True)

    assert bytes_per_fit([fit, keeping, keeping], 3200) == 100
    assert bytes_per_fit([fit], 3200) == 200
