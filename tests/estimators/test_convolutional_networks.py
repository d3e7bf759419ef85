"""Convolutional networks, and the parameter input_shape."""

import numpy as np
import pytest

from sk_tune import CNNClassifier, CNNRegressor
from sk_tune.exceptions import SkTuneWarning

_RNG = np.random.default_rng(0)
FLAT = _RNG.normal(size=(60, 24)).astype(np.float32)
LABELS = (FLAT[:, 0] > FLAT[:, 3]).astype(int)


def _small(cls=CNNClassifier, **params):
    small = {"n_layers": 1, "n_channels": 3, "width": 5, "max_epochs": 2, "batch_size": 16}
    return cls(**{**small, "normalization": "batch", "random_state": 0, **params})


@pytest.mark.parametrize(
    ("input_shape", "shape"),
    [
        (None, (1, 24)),
        ((24,), (1, 24)),
        (np.int64(24), (1, 24)),
        ((4, 6), (1, 4, 6)),
        ((2, 4, 3), (2, 4, 3)),
        ((1, 4, 6), (1, 4, 6)),
        ((2, 3, 2, 2), (2, 3, 2, 2)),
        (np.array([1, 2, 3, 4]), (1, 2, 3, 4)),
        ((24, 1), (1, 24, 1)),
    ],
    ids=str,
)
def test_flat_rows_with_an_input_shape_equal_reshaped_rows(input_shape, shape):
    """Reshaping X and `input_shape` give the same network."""
    by_shape = _small(input_shape=input_shape).fit(FLAT, LABELS)
    folded = FLAT.reshape(60, *shape)
    by_hand = _small().fit(folded, LABELS)

    assert by_shape.input_shape_ == by_hand.input_shape_ == shape
    assert all(type(size) is int for size in by_shape.input_shape_)
    expected = by_hand.predict_proba(folded)
    np.testing.assert_array_equal(by_shape.predict_proba(FLAT), expected)


@pytest.mark.parametrize(
    "shape", [(2, 12), (1, 24, 1), (3, 2, 4), (24, 1), (3, 2, 2, 2), (1, 1, 24, 1)], ids=str
)
@pytest.mark.parametrize("cls", [CNNClassifier, CNNRegressor])
def test_signals_images_and_volumes_are_trained_on(cls, shape):
    """One to three spatial sizes, including sizes of 1, and any number of channels."""
    X = FLAT.reshape(60, *shape)

    net = _small(cls, n_layers=3, residual=True).fit(X, LABELS)

    assert net.input_shape_ == shape
    assert net.predict(X).shape == (60,)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((8, 8, 3), r"8 channels .*X\.transpose\(0, 3, 1, 2\).*input_shape=\(8, 8, 3\)"),
        ((8, 8), r"of one channel, use X\[:, numpy\.newaxis\]"),
    ],
    ids=str,
)
def test_images_with_channels_last_or_none_warn(shape, words):
    """One warning in fit; `input_shape` confirms the shape."""
    images = np.random.default_rng(0).normal(size=(60, *shape)).astype(np.float32)

    with pytest.warns(SkTuneWarning, match=words):
        net = _small().fit(images, LABELS)

    assert net.predict(images).shape == (60,)
    if len(shape) == 3:
        assert _small(input_shape=shape).fit(images, LABELS).input_shape_ == shape


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(32, 4, 4), (8, 3, 3), (16, 1, 1)], ids=str)
def test_maps_of_many_features_do_not_warn(shape):
    """Few positions and many channels do not look like an image with channels last."""
    maps = np.random.default_rng(0).normal(size=(60, *shape)).astype(np.float32)

    assert _small(n_layers=1).fit(maps, LABELS).input_shape_ == shape


@pytest.mark.parametrize("order", ["F", "channels last"])
def test_images_in_any_memory_order_are_the_same(order):
    """Strides of an image have no effect."""
    images = FLAT.reshape(60, 2, 3, 4)
    if order == "F":
        other = np.asfortranarray(images)
    else:
        other = images.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)

    predictions = [_small().fit(x, LABELS).predict_proba(x) for x in (images, other)]

    np.testing.assert_array_equal(*predictions)


@pytest.mark.parametrize(
    ("X", "input_shape", "words"),
    [
        (FLAT, (5, 5), ["25 values", "input_shape=(5, 5)", "24"]),
        (FLAT.reshape(60, 4, 6), (3, 3), ["9 values", "(4, 6)", "24"]),
        (FLAT.reshape(60, 2, 2, 2, 1, 3), None, ["2 to 5 dimensions", "6"]),
        *(
            (FLAT, bad, ["1 to 4 integers of at least 1", repr(bad)])
            for bad in ((), (0,), (-1, 4), (1.5, 2), (True, 2), (1, 1, 2, 3, 4), ("2", "3"))
        ),
    ],
    ids=lambda value: None if isinstance(value, np.ndarray | list) else repr(value),
)
def test_rows_that_cannot_be_reshaped_are_refused(X, input_shape, words):
    """The message has the required and the actual shape."""
    words = [*words, "CNNClassifier"]

    with pytest.raises(ValueError, match="must") as raised:
        _small(input_shape=input_shape).fit(X, LABELS)

    assert [word for word in words if word not in str(raised.value)] == []


def test_other_channels_or_sizes_than_in_fit_are_refused():
    """Rows to predict must have the shape of fit."""
    net = _small().fit(FLAT.reshape(60, 2, 12), LABELS)

    with pytest.raises(ValueError, match="2") as raised:
        net.predict(FLAT.reshape(60, 3, 8))
    assert "3" in str(raised.value)
    with pytest.raises(ValueError, match=r"\(2, 12\).*\(60, 2, 6\)"):
        net.predict(FLAT[:, :12].reshape(60, 2, 6))


@pytest.mark.parametrize(
    ("shape", "wanted", "is_taken"),
    [
        ((2, 3, 4), (2, 3, 4), True),
        ((4, 6), (1, 4, 6), True),
        ((4, 6, 1), (1, 4, 6), True),
        ((24,), (2, 3, 4), True),
        ((2, 12), (2, 3, 4), True),
        ((3, 4, 2), (2, 3, 4), False),
        ((4, 6), (6, 4), False),
    ],
)
def test_axes_in_another_order_are_refused(shape, wanted, is_taken):
    """Channels last would be mixed up with lines; axes of length 1 do not matter."""
    net, X = _small(input_shape=wanted), FLAT.reshape(60, *shape)
    if is_taken:
        assert net.fit(X, LABELS).input_shape_ == wanted
        return
    with pytest.raises(ValueError, match="in the order of input_shape.*numpy.moveaxis"):
        net.fit(X, LABELS)
