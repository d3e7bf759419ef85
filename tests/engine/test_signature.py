"""Which fits can share a fleet."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    GradientNormClipping,
    LRScheduler,
)
from torch import nn
from torch.utils.data import DataLoader

from sk_tune import (
    CNNClassifier,
    MLPClassifier,
    NetClassifier,
    Periodic,
    PiecewiseLinear,
    RNNClassifier,
)
from sk_tune._augment import Flip, Shift
from sk_tune._engine import Fit
from sk_tune._engine._signature import reason_alone, signature
from sk_tune._engine._skorch import reason_against_net

X, Y = np.zeros((4, 3)), np.zeros(4)


def _fit(estimator, **changes):
    return Fit(estimator=estimator, **{"X": X, "y": Y, **changes})


NUMBERS = {
    "learning_rate": st.floats(1e-6, 1.0),
    "momentum": st.floats(0.0, 0.99),
    "weight_decay": st.floats(0.0, 1.0),
    "l1": st.floats(0.0, 1.0),
    "dropout": st.floats(0.0, 0.9),
    "label_smoothing": st.floats(0.0, 0.9),
    "gradient_clip": st.none() | st.floats(0.1, 9.0),
    "max_epochs": st.integers(1, 99),
    "lr_schedule": st.sampled_from(["constant", "cosine", "one_cycle", "step"]),
    "early_stopping": st.booleans(),
    "validation_fraction": st.floats(0.1, 0.9),
    "n_iter_no_change": st.integers(1, 99),
    "tol": st.floats(0.0, 1.0),
    "class_weight": st.sampled_from([None, "balanced"]) | st.just({0: 2.0}),
    "random_state": st.none() | st.integers(0, 2**32 - 1),
    "warm_start": st.booleans(),
}


@given(
    params=st.fixed_dictionaries({}, optional=NUMBERS),
    seed=st.none() | st.integers(0, 9),
    n_epochs=st.none() | st.integers(1, 9),
)
def test_numbers_may_differ_from_row_to_row(params, seed, n_epochs):
    """Strengths, rates, seeds, epochs and stopping split no fleet."""
    plain = _fit(MLPClassifier())
    other = _fit(MLPClassifier(**params), seed=seed, n_epochs=n_epochs, rows=np.arange(2))

    assert signature(other) == signature(plain)
    assert hash(signature(other)) == hash(signature(plain))


@pytest.mark.parametrize(
    ("cls", "params"),
    [
        *(
            (MLPClassifier, params)
            for params in (
                {"n_layers": 3},
                {"width": 128},
                {"hidden_layer_sizes": (128, 64)},
                {"activation": "tanh"},
                {"normalization": "batch"},
                {"residual": True},
                {"optimizer": "sgd"},
                {"batch_size": 32},
                {"dtype": "float64"},
                {"device": "cpu"},
                {"categorical_features": [0]},
                {"embedding_size": 3},
                {"numerical_embedding": "periodic"},
                {"numerical_embedding": PiecewiseLinear(n_bins=4)},
                {"numerical_embedding": PiecewiseLinear(size=4)},
                {"numerical_embedding": Periodic(n_frequencies=4)},
                {"members": 1},
            )
        ),
        (CNNClassifier, {"n_channels": 8}),
        (CNNClassifier, {"kernel_size": 5}),
        (CNNClassifier, {"pooling": None}),
        (CNNClassifier, {"input_shape": (8, 8)}),
        (RNNClassifier, {"cell": "lstm"}),
        (RNNClassifier, {"hidden_size": 8}),
        (RNNClassifier, {"bidirectional": True}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value),
)
def test_shapes_and_operations_split_fleets(cls, params):
    """Architecture, optimizer, batch size and dtype do."""
    assert signature(_fit(cls(**params))) != signature(_fit(cls()))
    assert signature(_fit(cls(**params))) == signature(_fit(cls(**params)))


def test_scales_of_frequencies_may_differ_and_kinds_of_embeddings_may_not():
    """A search over scales is one fleet, whether the default is named or not."""
    named, wide, other = (
        signature(_fit(MLPClassifier(numerical_embedding=value)))
        for value in ("periodic", Periodic(frequency_scale=9.0), "piecewise_linear")
    )

    assert named == wide
    assert other not in {named, signature(_fit(MLPClassifier()))}


def test_strengths_of_augmentations_may_differ_and_kinds_may_not():
    """A search over strengths is one fleet, whether they are named or not."""
    strong, weak, other, none = (
        signature(_fit(CNNClassifier(augmentation=value)))
        for value in (["flip", Shift(4)], (Flip(0.1), "shift"), [Shift(4), "flip"], None)
    )

    assert strong == weak
    assert len({strong, other, none}) == 3
    assert none == signature(_fit(CNNClassifier(augmentation=[])))


def test_arguments_of_a_users_module_do_not_split_yet():
    """Dropout may be among them; the modules are compared once they are built."""
    fits = [_fit(NetClassifier(nn.Linear, module__bias=bias)) for bias in (True, False)]

    assert signature(fits[0]) == signature(fits[1])
    assert signature(fits[0]) != signature(_fit(NetClassifier(nn.Bilinear)))


# --- Fits that no fleet can carry


class OwnFit(MLPClassifier):
    """Overrides the training."""

    def fit(self, X, y, sample_weight=None):
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (OwnFit(), "OwnFit overrides a training method"),
        (MLPClassifier(device="mps"), "fleets do not run on device='mps'"),
        (
            MLPClassifier(callbacks=[EpochTimer(), Callback(), EpochTimer()]),
            "it has callbacks (Callback)",
        ),
        (MLPClassifier(verbose=2), "verbose=2 prints a line for every epoch"),
        (LogisticRegression(), None),
    ],
    ids=["overriding", "device", "callbacks", "verbose", "no network"],
)
def test_fits_outside_of_fleets_have_a_reason(estimator, reason):
    """It continues "was trained alone because"."""
    found = reason_alone(_fit(estimator))

    assert found == reason if reason else "LogisticRegression" in found


X_SMALL, Y_SMALL = np.zeros((4, 2), dtype=np.float32), np.array([0, 1, 0, 1])


def _overriding(name):
    """Return a class of nets that redefines a method without a change."""
    return type("Own", (NeuralNetClassifier,), {name: getattr(NeuralNetClassifier, name)})


class _OwnLoader(DataLoader):
    pass


def _norm(net, X=None, y=None):
    """Return a score that only the weights of the net give."""
    return float(next(net.module_.parameters()).norm())


def _by_another(net, X=None, y=None, factor=1):
    return factor * _norm(net)


class _Scorer:
    """A scorer of nets, as an object and as one of its methods."""

    def __call__(self, net, X=None, y=None):
        return self.norm(net)

    def norm(self, net):
        return _norm(net)


def _accuracy(net, X, y):
    """Return the score of cached predictions."""
    return float((net.predict(X) == y).mean())


def _net(cls=NeuralNetClassifier, **params):
    return cls(nn.Linear, module__in_features=2, module__out_features=2, **params)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"cls": _overriding("predict_proba")},
        {"callbacks": "disable"},
        {"train_split": None, "iterator_train__shuffle": True},
        {"callbacks": [EarlyStopping(), ("clip", GradientNormClipping(1.0))]},
        {"callbacks": [LRScheduler("StepLR", step_size=2), EpochScoring("f1_macro")]},
        {"callbacks": [LRScheduler("OneCycleLR", max_lr=1.0, cycle_momentum=False)]},
        {"callbacks": [EpochScoring(_accuracy, name="own")]},
        {"callbacks": [EpochScoring(make_scorer(accuracy_score), name="made")]},
        {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9},
        {"optimizer": torch.optim.Adam, "optimizer__betas": (0.8, 0.99)},
        {"optimizer": torch.optim.AdamW, "optimizer__fused": True},
        {"optimizer": torch.optim.RMSprop, "optimizer__alpha": 0.9},
    ],
    ids=lambda params: "-".join(params) or "default",
)
def test_common_nets_are_supported(params):
    """There is no reason against them."""
    assert reason_against_net(_net(**params), X_SMALL, Y_SMALL) is None


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        *(
            (_net(_overriding(name)), f"Own overrides {name}")
            for name in ("train_step", "on_train_end", "get_params_for_optimizer")
        ),
        (_net(NeuralNetBinaryClassifier), "overrides"),
        (_net(iterator_train=_OwnLoader), "it has a custom iterator"),
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
        (_net(callbacks=[EpochScoring("f1", on_train=True)]), "training samples"),
        (_net(callbacks=[EpochScoring("f1", use_caching=False)]), "predicts again"),
        (
            _net(callbacks=[LRScheduler("OneCycleLR", max_lr=1.0)]),
            "also changes the momentum",
        ),
        (
            _net(callbacks=[LRScheduler("ReduceLROnPlateau", step_every="batch")]),
            "after every batch",
        ),
        (
            _net(callbacks=[GradientNormClipping(1.0, gradient_clip_norm_type=1)]),
            "a norm other than 2",
        ),
        (_net(compile=True), "compile"),
        (_net(use_caching=False), "use_caching=False"),
        *(
            (
                _net(callbacks=[EpochScoring(scoring, name="norm")]),
                "reads attributes of the net",
            )
            for scoring in (_norm, _by_another, partial(_by_another, factor=2), _Scorer())
        ),
        (
            _net(callbacks=[LRScheduler("ReduceLROnPlateau", monitor=_norm)]),
            "reads the net",
        ),
        (object(), "neither sk_tune's nor a skorch net"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_reasons_name_the_replaced_part_of_the_loop(net, reason):
    """Each replacement has its own reason."""
    assert reason in reason_against_net(net, X_SMALL, Y_SMALL)


def test_data_other_than_arrays_train_in_skorch():
    """Lists, dicts of lists and data sets need skorch's own loader."""
    of_a_data_set = _net(NeuralNet, criterion=nn.MSELoss)

    for X in ([1, 2], {"x": [1, 2]}):
        assert "must be arrays" in reason_against_net(_net(), X, Y_SMALL)
    assert reason_against_net(_net(), {"x": X_SMALL}, Y_SMALL) is None
    assert "must be arrays" in reason_against_net(of_a_data_set, X_SMALL, None)
