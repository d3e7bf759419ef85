"""Targets in their own units: scaling, several outputs, invalid targets."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

NAMES = ["MLPRegressor", "CNNRegressor", "RNNRegressor", "NetRegressor"]

_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(60, 8)).astype(np.float32)
Y = (X[:, 0] - X[:, 3] + 0.5 * X[:, 5]).astype(np.float64)
MANY = np.column_stack([Y, 100 * X[:, 1] + 7])

CONTAINERS = {
    "list": lambda y: y.tolist(),
    "float32": lambda y: y.astype(np.float32),
    "objects": lambda y: y.astype(object),
    "pandas series": lambda y: pd.Series(y, index=np.arange(60)[::-1]),
    "pandas nullable": lambda y: pd.Series(y, dtype="Float64"),
    "tensor": torch.tensor,
    "polars": pl.Series,
    "tensor with gradient": lambda y: torch.tensor(y).requires_grad_(),
    "read-only": lambda y: np.broadcast_to(y, (1, 60))[0],
    "reversed view": lambda y: y[::-1].copy()[::-1],
    "big-endian": lambda y: y.astype(">f8"),
}


# Numbers that float32 represents exactly.
ROUND = np.round(Y * 8) / 8


@pytest.mark.parametrize(
    ("y", "form"),
    [
        *(pytest.param(ROUND, form, id=name) for name, form in CONTAINERS.items()),
        *((MANY, form) for form in (pd.DataFrame, torch.tensor, np.asfortranarray, list)),
    ],
)
def test_targets_may_come_in_any_form(y, form, make_estimator):
    """Lists, series, frames and tensors give the network of the plain array."""
    plain = make_estimator("MLPRegressor").fit(X, y)
    net = make_estimator("MLPRegressor").fit(X, form(y))

    np.testing.assert_array_equal(net.predict(X), plain.predict(X))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predictions_have_the_dtype_of_the_network(dtype, make_estimator):
    """One output has the parameter's type; several are float64, as documented."""
    one = make_estimator("MLPRegressor", dtype=dtype).fit(X, Y)
    many = make_estimator("MLPRegressor", dtype=dtype).fit(X, MANY)

    assert one.predict(X).dtype == one.predict(X.astype(np.float64)).dtype == dtype
    assert many.predict(X).dtype == np.float64


@pytest.mark.parametrize("name", NAMES)
def test_predictions_follow_the_units_of_the_target(name, make_estimator):
    """Predictions scale and shift with y, at any magnitude."""
    plain = make_estimator(name, dtype="float64").fit(X, Y).predict(X)

    for scale, shift in ((1e-200, 0.0), (1e300, 0.0), (1.0, 1e4), (1e6, -1e7)):
        net = make_estimator(name, dtype="float64").fit(X, scale * Y + shift)
        # Standardising a shifted target loses digits; float64 has enough.
        expected = scale * plain + shift
        np.testing.assert_allclose(net.predict(X), expected, rtol=1e-6, atol=1e-6 * scale)


def test_a_large_mean_of_the_target_keeps_its_differences(make_estimator, tmp_path):
    """R^2 does not depend on an offset of y, in Python and in an ONNX model."""
    runtime = pytest.importorskip("onnxruntime")
    net = make_estimator("MLPRegressor", max_epochs=20, learning_rate=0.01)
    plain = net.fit(X, Y).predict(X)

    shifted = net.fit(X, Y + 1e9)

    np.testing.assert_allclose(shifted.predict(X) - 1e9, plain, atol=1e-3)
    shifted.to_onnx(tmp_path / "net.onnx")
    session = runtime.InferenceSession(tmp_path / "net.onnx")
    (answer,) = session.run(None, {"X": np.asarray(X, dtype=np.float32)})
    np.testing.assert_allclose(answer[:, 0] - 1e9, plain, atol=1e-3)


@pytest.mark.parametrize("constant", [0.0, -3e6, 0.1, 1e-20, 1e30])
def test_a_constant_target_is_approached(constant, make_estimator):
    """A constant target is not scaled, and rounding errors are not magnified."""
    net = make_estimator("MLPRegressor", max_epochs=20).fit(X, np.full(60, constant))

    predicted = net.predict(X)

    assert net.target_scale_.tolist() == [1.0]
    # Within one unit, the scale, or the spacing of float32 at large numbers.
    assert np.isfinite(predicted).all()
    np.testing.assert_allclose(predicted, constant, atol=1, rtol=1e-6)


def test_later_calls_keep_the_scale_of_the_first(make_estimator):
    """partial_fit standardises by the first targets, fit by its own."""
    net = make_estimator("MLPRegressor").partial_fit(X, Y)
    scale = net.target_scale_.copy()

    net.partial_fit(X, 100 * Y)
    assert net.target_scale_ == scale

    net.fit(X, 100 * Y)
    np.testing.assert_allclose(net.target_scale_, 100 * scale)


BAD_Y = {
    "nan": (np.r_[np.nan, Y[1:]], "y contains NaN"),
    "infinite": (np.r_[np.inf, Y[1:]], "y contains infinity"),
    "text": (np.array(["a", "b"] * 30), "Got text, for example 'a'. MLPClassifier learns"),
    "None": (np.r_[[None], Y[1:].astype(object)], "y contains NaN"),
    "another length": (Y[:50], "inconsistent numbers of samples"),
    "three dimensions": (np.ones((60, 2, 2)), "y must have|dim"),
    "nothing": (None, "requires y to be passed"),
    "complex": (Y + 1j, "[Cc]omplex"),
    "no columns": (np.ones((60, 0)), "y|0 feature"),
}


@pytest.mark.parametrize(("y", "words"), BAD_Y.values(), ids=BAD_Y)
def test_non_numeric_targets_are_refused(y, words, make_estimator):
    """The message states the error in y."""
    net = make_estimator("MLPRegressor")

    with pytest.raises(ValueError, match=words):
        net.fit(X, y)

    assert not net.__sklearn_is_fitted__()


def test_a_different_number_of_outputs_is_refused(make_estimator):
    """Later targets must have the width of the first."""
    one = make_estimator("MLPRegressor").partial_fit(X, Y)
    many = make_estimator("MLPRegressor").partial_fit(X, MANY)

    with pytest.raises(ValueError, match="1 outputs.*(60, 2)"):
        one.partial_fit(X, MANY)
    with pytest.raises(ValueError, match="2 outputs.*(60,)"):
        many.partial_fit(X, Y)
