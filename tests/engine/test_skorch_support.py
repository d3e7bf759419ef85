"""Which plain skorch nets a fleet can carry, and the reasons against the others."""

import numpy as np
import pytest
import torch
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier
from skorch.callbacks import (
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
)
from torch import nn
from torch.utils.data import DataLoader

from sk_tune.engine._skorch_support import reason_against_net

X, Y = np.zeros((4, 2), dtype=np.float32), np.array([0, 1, 0, 1])


class _OwnStep(NeuralNetClassifier):
    def train_step(self, batch, **fit_params):
        return super().train_step(batch, **fit_params)


class _OwnLoader(DataLoader):
    pass


def _norm(net, X=None, y=None):
    """Return what only the net's own weights tell."""
    return float(next(net.module_.parameters()).norm())


def _accuracy(net, X, y):
    """Return what remembered predictions tell."""
    return float((net.predict(X) == y).mean())


def _net(cls=NeuralNetClassifier, **params):
    return cls(nn.Linear, module__in_features=2, module__out_features=2, **params)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"callbacks": "disable"},
        {"train_split": None, "iterator_train__shuffle": True},
        {"callbacks": [EarlyStopping(), ("clip", GradientNormClipping(1.0))]},
        {"callbacks": [LRScheduler("StepLR", step_size=2), EpochScoring("f1_macro")]},
        {"callbacks": [LRScheduler("OneCycleLR", max_lr=1.0, cycle_momentum=False)]},
        {"callbacks": [EpochScoring(_accuracy, name="own")]},
        {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9},
        {"optimizer": torch.optim.Adam, "optimizer__betas": (0.8, 0.99)},
        {"optimizer": torch.optim.AdamW, "optimizer__fused": True},
        {"optimizer": torch.optim.RMSprop, "optimizer__alpha": 0.9},
    ],
    ids=lambda params: "-".join(params) or "default",
)
def test_nets_of_the_usual_kind_are_carried(params):
    """There is nothing against them."""
    assert reason_against_net(_net(**params), X, Y) is None


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (_net(_OwnStep), "overrides train_step"),
        (_net(NeuralNetBinaryClassifier), "overrides"),
        (_net(iterator_train=_OwnLoader), "iterator of its own"),
        (_net(iterator_train__drop_last=True), "drop_last"),
        (_net(optimizer=torch.optim.Adagrad), "optimizer is Adagrad"),
        (_net(optimizer=torch.optim.Adam, optimizer__amsgrad=True), "amsgrad=True"),
        (_net(optimizer=torch.optim.SGD, optimizer__dampening=0.1), "dampening=0.1"),
        (_net(callbacks=[Checkpoint()]), "callbacks (Checkpoint)"),
        (_net(callbacks=[("a", EarlyStopping()), ("b", EarlyStopping())]), "several Early"),
        (
            _net(callbacks=[GradientNormClipping(None), GradientNormClipping(0.1)]),
            "several GradientNormClipping",
        ),
        (_net(callbacks=[EpochScoring("f1", on_train=True)]), "training rows"),
        (_net(callbacks=[EpochScoring("f1", use_caching=False)]), "predicts anew"),
        (_net(callbacks=[LRScheduler("OneCycleLR", max_lr=1.0)]), "momentum too"),
        (
            _net(callbacks=[LRScheduler("ReduceLROnPlateau", step_every="batch")]),
            "after every batch",
        ),
        (
            _net(callbacks=[GradientNormClipping(1.0, gradient_clip_norm_type=1)]),
            "another norm",
        ),
        (_net(compile=True), "compile"),
        (_net(use_caching=False), "use_caching=False"),
        (_net(callbacks=[EpochScoring(_norm, name="norm")]), "looks into the net"),
        (_net(callbacks=[LRScheduler("ReduceLROnPlateau", monitor=_norm)]), "asks the net"),
        (object(), "neither sk_tune's nor a skorch net"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_what_replaces_a_part_of_the_loop_is_named(net, reason):
    """The reason says what it is."""
    assert reason in reason_against_net(net, X, Y)


def test_data_that_are_no_arrays_are_left_to_skorch():
    """A dict of inputs, or a data set, needs skorch's own loader."""
    assert "must be arrays" in reason_against_net(_net(), {"x": X}, Y)
    assert "must be arrays" in reason_against_net(
        _net(NeuralNet, criterion=nn.MSELoss), X, None
    )
