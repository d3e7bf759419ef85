"""Fits prepared for training, and estimators that adopt trainings that ran elsewhere."""

from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

from sk_tune import CNNClassifier, MLPClassifier, MLPRegressor, NetClassifier, RNNRegressor
from sk_tune._estimators import (
    Fit,
    FitPreparer,
    NetworkEstimator,
    _encoded_data,
    _preparation,
    adopt_training,
    is_unchanged,
)
from sk_tune._estimators._preparation import DATA_PARAMETERS
from sk_tune.engine import train

ROWS, MONITOR = np.arange(150), np.arange(150, 200)
BASE = {"max_epochs": 2, "batch_size": 32, "random_state": 4}
ESTIMATORS = {
    "mlp": MLPClassifier(**BASE, width=8, normalization="batch", dropout=0.2),
    "mlp, early stopping": MLPClassifier(**BASE, width=8, early_stopping=True),
    "mlp, weighted classes": MLPClassifier(**BASE, width=8, class_weight="balanced"),
    "mlp regressor": MLPRegressor(**BASE, width=8),
    "cnn": CNNClassifier(**BASE, n_channels=2, width=8, input_shape=(8, 8)),
    "rnn regressor": RNNRegressor(**BASE, hidden_size=4, input_shape=(8, 8)),
    "net": NetClassifier(
        nn.Linear, **BASE, module__in_features=64, module__out_features=10
    ),
}


def _prepare(estimator, data, preparer=None, **changes):
    own = {"X": data.X, "y": data.y, "seed": 4, "rows": ROWS, "monitor": MONITOR}
    return (preparer or FitPreparer()).prepare(Fit(estimator=estimator, **own | changes))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_estimator_is_not_changed(name, digits):
    """Attributes are learnt by a copy."""
    estimator = clone(ESTIMATORS[name])
    initial = vars(estimator).copy()

    prepared = _prepare(estimator, digits)

    assert vars(estimator) == initial
    assert prepared.estimator is not estimator
    assert prepared.estimator.n_features_in_ == 64
    with pytest.raises(NotFittedError):
        prepared.estimator.predict(digits.X)


def test_earlier_learnt_attributes_are_dropped(digits):
    """A fitted estimator is prepared like an unfitted copy."""
    fitted = clone(ESTIMATORS["mlp"]).fit(digits.X[:, :9], digits.y % 2)

    prepared = _prepare(fitted, digits)

    assert prepared.estimator.n_features_in_ == 64
    assert len(prepared.estimator.classes_) == 10
    assert not hasattr(prepared.estimator, "net_")


class Shifted(MLPClassifier):
    """Has a data parameter that no list names."""

    def __init__(self, *, width=128, shift=0.0, numerical_embedding=None):
        super().__init__(width=width, numerical_embedding=numerical_embedding)
        self.shift = shift

    def _check_X(self, X, *, reset):
        return super()._check_X(X, reset=reset) + self.shift


def _parameters_read(estimator, data):
    """Return the parameters that an estimator reads while it encodes data."""
    reads = set()

    class Watched(type(estimator)):
        def __getattribute__(self, name):
            if name in vars(estimator):
                reads.add(name)
            return super().__getattribute__(name)

    twin = object.__new__(Watched)
    vars(twin).update(vars(estimator))
    twin._encode(
        twin._with_uniform_shape(data.X), data.y, None, "cpu", "float32", fresh=True
    )
    return reads


@pytest.mark.parametrize("name", ESTIMATORS)
def test_parameters_that_data_depend_on_are_listed(name, digits):
    """Otherwise a candidate would get the encoded data of another candidate."""
    estimator = ESTIMATORS[name]
    if name.startswith("mlp"):
        embedding = {"numerical_embedding": "piecewise_linear"}
        estimator = clone(estimator).set_params(**embedding)

    unlisted = _parameters_read(estimator, digits) - {*DATA_PARAMETERS}

    assert unlisted == set()


def test_an_unlisted_parameter_is_detected(digits):
    """The check of the list detects a parameter that a class adds."""
    result = _parameters_read(Shifted(shift=2.0), digits)

    assert result - {*DATA_PARAMETERS} == {"shift"}


def test_fits_of_the_same_objects_share_their_tensors(digits):
    """Folds of equal rows hold X once, for any values of other parameters."""
    preparer = FitPreparer()
    first = _prepare(ESTIMATORS["mlp"], digits, preparer)
    other = clone(ESTIMATORS["mlp"]).set_params(width=4, learning_rate=0.5)
    second = _prepare(other, digits, preparer, seed=9)

    assert second.train.X is first.train.X
    assert second.train.y is first.train.y
    assert second.monitor is first.monitor
    assert second.module is not first.module


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": ROWS[::2]},
        {"rows": ROWS.copy()},
        {"sample_weight": np.arange(200) % 3},
        {"dtype": "float64"},
        {"cls": NetClassifier},
    ],
    ids=["rows", "a copy of the rows", "weights", "dtype", "class"],
)
def test_fits_of_other_data_share_no_tensors(changes, digits):
    """Other rows, weights, types and kinds of estimators are prepared separately."""
    preparer, changes = FitPreparer(), dict(changes)
    first = _prepare(ESTIMATORS["mlp"], digits, preparer)
    estimator = clone(ESTIMATORS["net" if "cls" in changes else "mlp"])
    changes.pop("cls", None)
    estimator.set_params(dtype=changes.pop("dtype", "float32"))

    assert _prepare(estimator, digits, preparer, **changes).train.X is not first.train.X


def test_a_shared_preparer_does_not_change_fits(digits):
    """Caching does not change results."""
    preparer = FitPreparer()
    folds = [np.arange(i * 10, i * 10 + 140) for i in range(3)]

    for name in ("mlp", "mlp, early stopping", "mlp, weighted classes"):
        for rows in folds:
            shared, alone = (
                _prepare(ESTIMATORS[name], digits, p, rows=rows, n_epochs=1).train_alone()
                for p in (preparer, FitPreparer())
            )
            np.testing.assert_array_equal(shared[1], alone[1])


def test_parameters_set_between_two_fits_count(digits):
    """Even though the preparer has seen the estimator; they are checked, too."""
    preparer, estimator = FitPreparer(), clone(ESTIMATORS["mlp"])
    _prepare(estimator, digits, preparer)

    wider = _prepare(estimator.set_params(width=16), digits, preparer)

    assert len(wider.module.hidden[0].linear.weight) == 16
    with pytest.raises(ValueError, match="'width' parameter"):
        _prepare(estimator.set_params(width=-1), digits, preparer)


def test_predictions_are_in_the_units_of_y(diabetes):
    """An output of zero is the mean of the training rows."""
    prepared = _prepare(ESTIMATORS["mlp regressor"], diabetes)

    predictions = prepared.predictions(np.zeros((2, 1), dtype=np.float32))

    np.testing.assert_allclose(predictions, [diabetes.y[ROWS].mean()] * 2, rtol=1e-6)


def test_an_adopted_training_of_a_frame_knows_its_columns(digits):
    """Names come from the data, because the state has none."""
    X = pd.DataFrame(digits.X).add_prefix("pixel ")
    state, _ = _prepare(ESTIMATORS["mlp"], digits, n_epochs=2).train_alone()

    fit = Fit(estimator=clone(ESTIMATORS["mlp"]), X=X, y=digits.y)

    assert adopt_training(fit, state).feature_names_in_.tolist() == X.columns.tolist()


def test_a_training_of_another_architecture_is_not_adopted(digits):
    """The estimator then has no network."""
    state, _ = _prepare(ESTIMATORS["mlp"], digits, n_epochs=1).train_alone()
    other = clone(ESTIMATORS["mlp"]).set_params(width=5)

    with pytest.raises(RuntimeError, match="size mismatch"):
        adopt_training(Fit(estimator=other, X=digits.X, y=digits.y), state)

    assert not other.__sklearn_is_fitted__()


def _derived(method=None, base=MLPClassifier):
    """Return a class that overrides a method, if any, with the same behaviour."""

    def own(self, *args, **options):
        return getattr(base, method)(self, *args, **options)

    return type("Derived", (base,), {method: own} if method else {})


@pytest.mark.parametrize(
    ("cls", "unchanged"),
    [
        (MLPClassifier, True),
        (_derived(), True),
        # Predicting is not part of the training.
        (_derived("predict_proba"), True),
        (_derived("fit"), False),
        (_derived(base=_derived("fit")), False),
        # Checking the training rows is part of the training.
        (_derived("_check_X"), False),
    ],
)
def test_an_overridden_training_is_detected(cls, unchanged):
    """In the class itself or a base; other methods may change."""
    estimator = cls()

    assert isinstance(estimator, NetworkEstimator)
    assert is_unchanged(estimator) is unchanged
    if cls is not MLPClassifier:  # Also later, as in a notebook.
        cls._fit = _derived("_fit")._fit
        assert not is_unchanged(estimator)


@pytest.mark.parametrize("weighting", [None, "some are 0", "only 0 and 1"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_folds_that_share_a_large_X_train_as_on_copies(
    name, weighting, digits, monkeypatch
):
    """Weights and predictions are equal to the last bit."""
    monkeypatch.setattr(_preparation, "LARGE", 0)
    weight = None if weighting is None else np.arange(len(digits.y)) % 3
    weight = np.minimum(weight, 1) if weighting == "only 0 and 1" else weight
    folds = [(ROWS, MONITOR), (ROWS + 40, ROWS[:40])]
    fits = [
        Fit(
            estimator=ESTIMATORS[name],
            X=digits.X,
            y=digits.y,
            sample_weight=weight,
            rows=rows,
            monitor=monitor,
            seed=4,
        )
        for rows, monitor in folds
    ]
    shared = train(fits)
    monkeypatch.setattr(_preparation, "LARGE", np.inf)

    copied = train(fits)

    for one, other in zip(shared, copied, strict=True):
        np.testing.assert_array_equal(one.predictions, other.predictions)
        assert one.state.weights.keys() == other.state.weights.keys()
        for weight_name, weights in one.state.weights.items():
            np.testing.assert_array_equal(weights, other.state.weights[weight_name])


def test_folds_share_a_large_X_without_copying_it(digits, monkeypatch):
    """Float32 samples of all folds and their held-out samples stay where they are."""
    monkeypatch.setattr(_preparation, "LARGE", 0)
    X, preparer = digits.X.astype(np.float32), FitPreparer()
    net = MLPClassifier(batch_size=32, early_stopping=False, random_state=0)
    folds = [(ROWS, MONITOR), (ROWS + 40, ROWS[:40])]

    prepared = [
        preparer.prepare(Fit(estimator=net, X=X, y=digits.y, rows=rows, monitor=monitor))
        for rows, monitor in folds
    ]

    sets = [part for one in prepared for part in (one.train, one.monitor)]
    assert {part.X.data_ptr() for part in sets} == {X.ctypes.data}
    for part, rows in zip(sets, [ROWS, MONITOR, ROWS + 40, ROWS[:40]], strict=True):
        np.testing.assert_array_equal(part[:][0], X[rows])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_large_memory_map_is_not_copied(monkeypatch, tmp_path, dtype):
    """A read-only file gives the network of an array in memory, without a warning."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 3)).astype(dtype), rng.integers(2, size=200)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    monkeypatch.setattr(_encoded_data, "LARGE", 0)
    net = MLPClassifier(max_epochs=2, batch_size=20, dtype=dtype, random_state=0)

    tensor = _encoded_data.to_tensor(mapped, dtype, "cpu")

    assert tensor.data_ptr() == mapped.ctypes.data
    assert_array_equal(
        clone(net).fit(mapped, y).predict_proba(mapped), net.fit(X, y).predict_proba(X)
    )


@pytest.mark.parametrize("bad", [None, 7, 190])
def test_folds_of_large_samples_are_checked_in_parts(monkeypatch, bad):
    """Only the samples of the fit must be finite; the last part is checked, too."""
    monkeypatch.setattr(_preparation, "LARGE", 100)
    X = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    X[100] = np.nan
    if bad is not None:
        X[bad] = np.nan
    rows = np.delete(np.arange(200), 100)
    fit = Fit(estimator=MLPClassifier(batch_size=20), X=X, y=np.arange(200) % 2, rows=rows)

    with pytest.raises(ValueError, match="NaN") if bad else nullcontext():
        assert FitPreparer().prepare(fit).train.X.data_ptr() == X.ctypes.data
