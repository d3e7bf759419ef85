"""Labels of all kinds, probabilities, class weights and the validation split."""

from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_sample_weight

from sk_tune.exceptions import SkTuneWarning

NAMES = ["MLPClassifier", "CNNClassifier", "RNNClassifier", "NetClassifier"]

_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(60, 8)).astype(np.float32)
# Codes of three classes, in an unsorted order of first occurrence.
CODES = np.digitize(X[:, 0] - X[:, 3], [-0.5, 0.5])
BINARY = (X[:, 0] > X[:, 3]).astype(int)
INDICATOR = np.column_stack([X[:, 0] > 0, X[:, 1] > 0, X[:, 2] > X[:, 3]]).astype(int)


def _labelled(labels):
    """Return labels for the sorted codes."""
    return np.array(labels)[CODES]


LABELS = {
    "text": _labelled(["blue", "green", "red"]),
    "objects": _labelled(["blue", "green", "red"]).astype(object),
    "gaps": _labelled([-7, 3, 100]),
    "int8": _labelled([-128, 0, 127]).astype(np.int8),
    "uint16": _labelled([0, 1, 65535]).astype(np.uint16),
    "uint8": _labelled([1, 2, 255]).astype(np.uint8),
    "int32": _labelled([2, 4, 8]).astype(np.int32),
    "whole floats": _labelled([0.0, 1.0, 2.0]),
    "float32": _labelled([-1.0, 0.0, 5.0]).astype(np.float32),
}
BINARY_LABELS = {
    "bool": BINARY.astype(bool),
    "0 and 2": BINARY * 2,
    "-1 and 1": BINARY * 2 - 1,
    "0.0 and 1.0": BINARY.astype(float),
    "text": np.array(["no", "yes"])[BINARY],
}


@pytest.mark.parametrize(
    ("labels", "codes", "name"),
    [
        *((labels, CODES, "MLPClassifier") for labels in LABELS.values()),
        *(
            (labels, BINARY, name)
            for labels in BINARY_LABELS.values()
            for name in ("MLPClassifier", "NetClassifier")
        ),
    ],
)
def test_labels_of_any_type_are_predicted_unchanged(labels, codes, name, make_estimator):
    """classes_ and predictions have the type of y, and the network is the same."""
    by_code = make_estimator(name).fit(X, codes)
    net = make_estimator(name).fit(X, labels)

    assert_array_equal(net.classes_, np.unique(labels))
    assert net.classes_.dtype == labels.dtype
    assert net.predict(X).dtype == labels.dtype
    assert_array_equal(net.predict_proba(X), by_code.predict_proba(X))
    assert_array_equal(net.predict(X), net.classes_[net.predict_proba(X).argmax(axis=1)])


CONTAINERS = {
    "list": lambda y: y.tolist(),
    "tuple": lambda y: tuple(y.tolist()),
    "pandas series": lambda y: pd.Series(y, index=np.arange(60)[::-1]),
    "pandas categories": lambda y: pd.Series(y).astype("category"),
    "pandas column": lambda y: pd.Series(y, name="y").to_frame()["y"],
    "tensor": torch.tensor,
    "polars": pl.Series,
    "read-only": lambda y: np.broadcast_to(y, (1, 60))[0],
    "reversed view": lambda y: y[::-1].copy()[::-1],
}


INDICATORS = {
    "list": lambda y: y.tolist(),
    "frame": lambda y: pd.DataFrame(y, columns=list("abc")),
    "tensor": torch.tensor,
    "bool": lambda y: y.astype(bool),
    "float": lambda y: y.astype(float),
    "Fortran order": np.asfortranarray,
    "sparse": sparse.csr_array,
}


@pytest.mark.parametrize(
    ("y", "form"),
    [
        pytest.param(y, form, id=f"{kind}, {name}")
        for kind, y, forms in (
            ("labels", CODES, CONTAINERS),
            ("indicator", INDICATOR, INDICATORS),
        )
        for name, form in forms.items()
    ],
)
def test_labels_and_indicators_may_come_in_any_form(y, form, make_estimator):
    """Lists, series, frames and tensors give the network of the plain array."""
    plain = make_estimator("MLPClassifier").fit(X, y)
    net = make_estimator("MLPClassifier").fit(X, form(y))

    assert_array_equal(net.predict_proba(X), plain.predict_proba(X))
    assert_array_equal(net.predict(X), plain.predict(X))


def test_logarithms_of_tiny_probabilities_are_finite(make_estimator):
    """The logarithm is finite even if a probability underflows to 0."""
    net = make_estimator("MLPClassifier", hidden_layer_sizes=()).fit(X, BINARY)

    far = X * 1e5

    assert (net.predict_proba(far) == 0).any()
    assert np.isfinite(net.predict_log_proba(far)).all()


@pytest.mark.parametrize("name", NAMES)
def test_multilabel_indicators_are_learnt_label_by_label(name, make_estimator):
    """Probabilities are independent, and a label is predicted if above one half."""
    net = make_estimator(name, max_epochs=4).fit(X, INDICATOR)

    proba = net.predict_proba(X)

    assert net.classes_.tolist() == [0, 1, 2]
    assert proba.shape == (60, 3)
    assert not np.allclose(proba.sum(axis=1), 1)
    assert_array_equal(net.predict(X), proba > 0.5)
    assert net.predict(X).dtype.kind == "i"
    assert_allclose(np.exp(net.predict_log_proba(X)), proba, rtol=1e-5)
    assert net.score(X, INDICATOR) == accuracy_score(INDICATOR, net.predict(X))


BAD_Y = {
    "continuous": (X[:, 0], "Unknown label type: continuous"),
    "mixed": (np.array([1, "a"] * 30, dtype=object), "Unknown label type|mix"),
    "None among labels": (
        np.array([None, "a"] * 30, dtype=object),
        "30 missing of 60, at position 0, 2, 4, 6, 8 and 25 more. Remove",
    ),
    "numbers of type object": (CODES.astype(object), r"for example by y\.astype\(int\)"),
    "nan": (np.where(BINARY, np.nan, 1.0), "y contains NaN"),
    "nan in a list": ([float("nan"), "a"] * 30, "y contains NaN.* 30 missing"),
    "infinite": (np.where(BINARY, np.inf, 1.0), "y contains infinity"),
    "another length": (CODES[:50], "inconsistent numbers of samples"),
    "several classes each": (np.column_stack([CODES, CODES]), "Unknown label type|1d"),
    "signs": (2 * INDICATOR - 1, "must hold 1 where a label applies and 0 elsewhere"),
    "three dimensions": (INDICATOR.reshape(60, 3, 1), "Unknown label type|dim"),
    "nothing": (None, "requires y to be passed"),
    "ragged": ([[1], [2, 3]] * 30, "label|sequence|inhomogeneous"),
}


@pytest.mark.parametrize(("y", "words"), BAD_Y.values(), ids=BAD_Y)
def test_targets_other_than_labels_are_refused(y, words, make_estimator):
    """The message states the error in y."""
    net = make_estimator("MLPClassifier")

    with pytest.raises(ValueError, match=words):
        net.fit(X, y)

    assert not net.__sklearn_is_fitted__()


def test_all_classes_may_be_named_in_the_first_call(make_estimator):
    """Classes that occur later have their columns from the start."""
    text = LABELS["text"]
    first = text != "red"
    net = make_estimator("MLPClassifier")

    net.partial_fit(X[first], text[first], classes=["red", "green", "blue"])
    net.partial_fit(X, text, n_epochs=30)

    assert net.classes_.tolist() == ["blue", "green", "red"]
    assert net.predict_proba(X).shape == (60, 3)
    assert "red" in net.predict(X)


def test_an_undeclared_class_is_refused(make_estimator):
    """The message has the label, the valid labels and the remedy."""
    net = make_estimator("MLPClassifier").partial_fit(X, BINARY)

    with pytest.raises(ValueError, match=r"\[2\]") as raised:
        net.partial_fit(X, CODES)

    assert "[0 1]" in str(raised.value)
    assert "classes" in str(raised.value)
    with pytest.raises(ValueError, match=r"\[2\]"):
        make_estimator("MLPClassifier").partial_fit(X, CODES, classes=[0, 1])
    with pytest.raises(ValueError, match="first call"):
        net.partial_fit(X, BINARY, classes=[0, 1, 2])


def test_labels_and_indicators_do_not_mix(make_estimator):
    """Later calls must have the kind and width of the first."""
    labels = make_estimator("MLPClassifier").partial_fit(X, CODES)
    indicator = make_estimator("MLPClassifier").partial_fit(X, INDICATOR)

    with pytest.raises(ValueError, match="y"):
        labels.partial_fit(X, INDICATOR)
    with pytest.raises(ValueError, match="y"):
        indicator.partial_fit(X, CODES)
    with pytest.raises(ValueError, match="y"):
        indicator.partial_fit(X, INDICATOR[:, :2])


def test_class_weights_of_labels_that_are_digit_strings(make_estimator):
    """Labels "1" and "2", as in OpenML, differ from numbers. Weights may be fractions."""
    weights = {0: 1.0, 1: 5.0, 2: Fraction(1, 2)}
    numbers = make_estimator("MLPClassifier", class_weight=weights).fit(X, CODES)
    named = {str(k): w for k, w in weights.items()}

    texts = make_estimator("MLPClassifier", class_weight=named).fit(X, CODES.astype(str))

    assert_array_equal(texts.predict_proba(X), numbers.predict_proba(X))


@pytest.mark.parametrize("batch_size", [2, 16, -1])
def test_rows_of_a_class_of_weight_zero_are_ignored(batch_size, make_estimator):
    """Weight 0 excludes a class from the loss; its column of probabilities remains."""
    absent = CODES == 1
    by_class = make_estimator(
        "MLPClassifier", batch_size=batch_size, class_weight={0: 1.0, 1: 0.0, 2: 2.0}
    ).fit(X, CODES)
    by_rows = make_estimator(
        "MLPClassifier", batch_size=batch_size, class_weight={0: 1.0, 2: 2.0}
    ).partial_fit(X[~absent], CODES[~absent], classes=[0, 1, 2], n_epochs=2)

    assert_array_equal(by_class.classes_, [0, 1, 2])
    if batch_size == -1:
        # In full batches the grouping of rows does not matter.
        assert_allclose(by_class.predict_proba(X), by_rows.predict_proba(X), rtol=1e-4)
    assert np.isfinite(by_class.history_[-1]["train_loss"])


def test_multilabel_class_weights(make_estimator):
    """A list of dicts has weights of each label's values, as in scikit-learn."""
    weights = [{0: 1.0, 1: 3.0}, {0: 1.0, 1: 1.0}, {0: 2.0, 1: 1.0}]
    by_class = make_estimator("MLPClassifier", class_weight=weights).fit(X, INDICATOR)
    expected = compute_sample_weight(weights, INDICATOR)
    by_row = make_estimator("MLPClassifier").fit(X, INDICATOR, sample_weight=expected)

    assert_array_equal(by_class.predict_proba(X), by_row.predict_proba(X))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    "y", [np.r_[9, CODES[1:]], np.arange(60) % 15], ids=["one lone row", "many classes"]
)
def test_too_few_rows_are_split_without_stratification(y, method, make_estimator):
    """One warning for a class of one row, or more classes than validation rows."""
    net = make_estimator("MLPClassifier", early_stopping=True)

    with pytest.warns(SkTuneWarning, match="not stratified") as caught:
        getattr(net, method)(X, y)

    assert len(caught) == 1
    # The warning points to the line that called the method.
    assert caught[0].filename == __file__
    assert "validation_fraction=0.1" in str(caught[0].message)
    assert len(net.history_[:, "valid_loss"]) == {"fit": 2, "partial_fit": 1}[method]


def test_tags_declare_the_abilities_of_a_classifier(make_estimator):
    """scikit-learn's tags include several classes and several labels."""
    tags = make_estimator("MLPClassifier").__sklearn_tags__()

    assert tags.estimator_type == "classifier"
    assert tags.classifier_tags.multi_class
    assert tags.classifier_tags.multi_label
    assert tags.input_tags.sparse
    assert not make_estimator("CNNClassifier").__sklearn_tags__().input_tags.sparse
    assert not tags.input_tags.allow_nan
    assert not tags.input_tags.three_d_array
    assert make_estimator("CNNClassifier").__sklearn_tags__().input_tags.three_d_array


def test_balanced_weights_of_labels_count_sample_weights(make_estimator):
    """For multilabel y, too, weight 2 equals the row twice."""
    weight = np.random.default_rng(0).integers(1, 3, size=60)
    params = {"class_weight": "balanced", "batch_size": -1}

    weighted = make_estimator("MLPClassifier", **params).fit(X, INDICATOR, weight)
    repeated = make_estimator("MLPClassifier", **params)
    repeated.fit(X.repeat(weight, axis=0), INDICATOR.repeat(weight, axis=0))

    assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-5)


@pytest.mark.parametrize(
    ("class_weight", "y", "words"),
    [
        ({0: 1, 1: 2, "2": 100}, CODES, "class_weight must name the classes.*'2'"),
        ([{0: 1, 1: 2}], INDICATOR, "a list with a dict for each column of y. Got 1 for 3"),
        ({0: 1, 1: 2}, INDICATOR, "a list with a dict for each column of y. Got 1 for 3"),
        ({0: np.nan}, CODES, "must be finite and not negative. Got {0: nan, "),
        ({1: -1}, CODES, "must be finite and not negative. Got {0: 1.0, 1: -1.0"),
    ],
    ids=["a misspelt class", "too few columns", "one dict for several", "NaN", "negative"],
)
def test_class_weights_that_do_not_fit_are_refused(class_weight, y, words, make_estimator):
    """They would leave a class without weight, or be multiplied over columns."""
    with pytest.raises(ValueError, match=words):
        make_estimator("MLPClassifier", class_weight=class_weight).fit(X, y)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("label", [0, 3.0, "low"])
def test_one_class_is_refused(name, label, make_estimator, task_data):
    """As in LogisticRegression."""
    X, _ = task_data(name)
    y = np.full(len(X), label)

    for model in (make_estimator(name), LogisticRegression()):
        with pytest.raises(
            ValueError, match="needs samples of at least 2 classes.*one class"
        ):
            model.fit(
                X.reshape(len(X), -1) if model.__class__ is LogisticRegression else X, y
            )
