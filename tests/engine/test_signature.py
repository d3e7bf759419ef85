"""Which fits share a fleet: decided by their parameters alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from skorch.callbacks import Callback, EpochTimer
from torch import nn

from sk_tune import CNNClassifier, MLPClassifier, MLPRegressor, NetClassifier, RNNClassifier
from sk_tune.augment import Flip, Shift
from sk_tune.engine import Fit
from sk_tune.engine._skorch_support import reason_for_solo, signature

X, Y = np.zeros((4, 3)), np.zeros(4)


def _fit(estimator, **changes):
    return Fit(estimator=estimator, **{"X": X, "y": Y, **changes})


NUMBERS = {
    "learning_rate": st.floats(1e-6, 1.0),
    "momentum": st.floats(0.0, 0.99),
    "weight_decay": st.floats(0.0, 1.0),
    "l1": st.floats(0.0, 1.0),
    "dropout": st.floats(0.0, 0.9),
    "frequency_scale": st.floats(0.01, 9.0),
    "label_smoothing": st.floats(0.0, 0.9),
    "gradient_clip": st.none() | st.floats(0.1, 9.0),
    "max_epochs": st.integers(1, 99),
    "lr_schedule": st.sampled_from(["constant", "cosine", "one_cycle", "step"]),
    "early_stopping": st.booleans(),
    "validation_fraction": st.floats(0.1, 0.9),
    "patience": st.integers(1, 99),
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
                {"width": 64},
                {"hidden_layer_sizes": (128, 64)},
                {"activation": "tanh"},
                {"normalization": "batch"},
                {"residual": True},
                {"optimizer": "sgd"},
                {"nesterovs_momentum": False},
                {"batch_size": 32},
                {"dtype": "float64"},
                {"device": "cpu"},
                {"categorical_features": [0]},
                {"embedding_size": 3},
                {"numerical_embedding": "periodic"},
                {"numerical_embedding_size": 4},
                {"n_frequencies": 4},
                {"n_bins": 4},
                {"members": 4},
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
def test_what_fixes_shapes_or_operations_splits(cls, params):
    """Fits of another architecture, optimizer, batch size or type are another fleet."""
    assert signature(_fit(cls(**params))) != signature(_fit(cls()))
    assert signature(_fit(cls(**params))) == signature(_fit(cls(**params)))


def test_strengths_of_augmentations_may_differ_and_kinds_may_not():
    """A search over strengths is one fleet, whether they are named or not."""
    strong, weak, other, none = (
        signature(_fit(CNNClassifier(augmentation=value)))
        for value in (["flip", Shift(4)], (Flip(0.1), "shift"), [Shift(4), "flip"], None)
    )

    assert strong == weak
    assert len({strong, other, none}) == 3
    assert none == signature(_fit(CNNClassifier(augmentation=[])))


def test_estimators_of_other_classes_split():
    """A regressor has another loss than a classifier."""
    assert signature(_fit(MLPClassifier())) != signature(_fit(MLPRegressor()))


def test_arguments_of_a_users_module_do_not_split_yet():
    """Dropout may be among them; the modules are compared once they are built."""
    fits = [_fit(NetClassifier(nn.Linear, module__bias=bias)) for bias in (True, False)]

    assert signature(fits[0]) == signature(fits[1])
    assert signature(fits[0]) != signature(_fit(NetClassifier(nn.Bilinear)))


def test_data_are_not_looked_at():
    """Signatures of fits are equal whatever X and y are."""
    first = _fit(MLPClassifier())
    second = _fit(MLPClassifier(), X="a file", y=None)

    assert signature(first) == signature(second)


# --- Fits that no fleet can carry


class OwnFit(MLPClassifier):
    """Overrides the training."""

    def fit(self, X, y, sample_weight=None):
        return super().fit(X, y, sample_weight)


class OwnPrediction(MLPClassifier):
    """Overrides what does not take part in the training."""

    def predict(self, X):
        return super().predict(X)


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (OwnFit(), "OwnFit overrides a method of training"),
        (MLPClassifier(device="mps"), "fleets do not run on device='mps'"),
        (
            MLPClassifier(callbacks=[EpochTimer(), Callback(), EpochTimer()]),
            "it has callbacks (Callback, EpochTimer)",
        ),
        (MLPClassifier(verbose=2), "verbose=2 prints a line for every epoch"),
    ],
    ids=["overriding", "device", "callbacks", "verbose"],
)
def test_what_a_fleet_cannot_carry_has_a_reason(estimator, reason):
    """It continues "was trained alone because"."""
    assert reason_for_solo(_fit(estimator)) == reason


def test_a_foreign_estimator_is_named():
    """A scikit-learn estimator is no network."""
    assert "LogisticRegression" in reason_for_solo(_fit(LogisticRegression()))


@pytest.mark.parametrize(
    "estimator",
    [
        MLPClassifier(),
        MLPRegressor(early_stopping=True, device="cpu"),
        MLPClassifier(callbacks=[]),
        RNNClassifier(),
        NetClassifier(nn.Linear),
        OwnPrediction(),
    ],
    ids=lambda e: type(e).__name__,
)
def test_all_others_have_none(estimator):
    """Empty lists of callbacks and overridden predictions are no hindrance."""
    assert reason_for_solo(_fit(estimator)) is None
