"""Values as tensors and JSON: what comes back is what was given, and nothing else comes."""

import json

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.decomposition import PCA
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, StandardScaler

from sk_tune import MLPClassifier
from sk_tune.saving._save import Packer, Unpacker


def _there_and_back(value):
    packer = Packer(for_training=True)
    packed = json.loads(json.dumps(packer(value)))
    return Unpacker(packer.tensors, None)(packed)


ARRAYS = {
    "float64": np.array([1.5, np.nan, np.inf, -0.0]),
    "float32": np.array([[0.1, 0.2]], dtype=np.float32),
    "uint64": np.array([2**64 - 1], dtype=np.uint64),
    "bool": np.array([True, False]),
    "empty": np.empty((0, 3)),
    "single": np.array(1e-300),
    "big-endian": np.array([1, 2], dtype=">i4"),
    "text": np.array([["a", "é"], ["", "\0x"]]),
    "objects": np.array([["a", None], [0.5, 3]], dtype=object),
    "times": np.array(["2024-01-01", "NaT"], dtype="datetime64[D]"),
    "turned": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back_to_the_bit(name):
    """With their type, shape and order in memory."""
    array = ARRAYS[name]

    found = _there_and_back(array)

    assert found.dtype == array.dtype
    assert found.flags.c_contiguous == array.flags.c_contiguous
    np.testing.assert_array_equal(found, array)


def test_arrays_of_arrays_keep_their_form():
    """Even if all inside are of one length."""
    array = np.empty(2, dtype=object)
    array[:] = [np.arange(3), np.arange(3.0)]

    found = _there_and_back(array)

    assert found.shape == (2,)
    assert [part.dtype.kind for part in found] == ["i", "f"]


@pytest.mark.parametrize(
    "value",
    [
        np.float32(0.1), np.int8(3), np.dtype("float32"), np.dtype(object), np.float64,
        np.number, object, str, slice(1, None, 2), np.log1p, (1, [2, {"a": None, 3: "b"}]),
    ],
    ids=str,
)  # fmt: skip
def test_values_come_back_with_their_types(value):
    """Numpy's numbers are no Python numbers, which would round otherwise."""
    found = _there_and_back(value)

    assert found == value
    assert type(found) is type(value)


def test_names_of_columns_become_a_list():
    """An index of pandas, as ``df.columns[:2]`` is one."""
    assert _there_and_back(pd.Index(["a", "b"])) == ["a", "b"]


def test_a_network_that_is_not_fitted_has_its_parameters():
    """As scikit-learn's meta-estimators keep it beside the fitted one."""
    found = _there_and_back(MLPClassifier(width=3, augmentation=["noise"]))

    assert found.get_params()["width"] == 3
    assert not hasattr(found, "net_")


def _shadow(x):
    return x


_shadow.__name__ = "log1p"


def test_generators_and_routing_are_left_out():
    """Where draws go on is not in the files of networks either."""
    pca = PCA(2, random_state=np.random.RandomState(0)).set_output(transform="pandas")
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=True)

    assert _there_and_back(pca).random_state is None
    assert _there_and_back(scaler).get_params() == scaler.get_params()


class _MyScaler(MaxAbsScaler):
    """A user's own code."""


_MyScaler.__name__ = "MaxAbsScaler"


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (lambda x: x, "<lambda>"),
        (_shadow, "log1p"),
        (np.where, "where"),
        (_MyScaler(), "MaxAbsScaler"),
        (int.__class__, "type"),
        (np.timedelta64(1, "s"), "timedelta"),
        (pd.Timestamp("2024-01-01"), "Timestamp"),
        ([("log", FunctionTransformer(_shadow))], "in the step 'log'"),
    ],
    ids=[
        "lambda",
        "of a known name",
        "no ufunc",
        "subclass",
        "class",
        "span",
        "time",
        "step",
    ],
)
def test_code_and_unknown_objects_are_refused(value, named):
    """Also if they are called what known ones are called; the step is named."""
    with pytest.raises(TypeError, match=named):
        Packer(for_training=True)(value)


@pytest.mark.parametrize(
    "packed",
    [
        {"function": "system"}, {"function": "save"}, {"function": "where"},
        {"type": "memmap"}, {"type": "Path"}, {"class": "FitPreparer", "state": {}},
        {"class": "GridSearchCV", "state": {}}, {"kind": "V1000000000"},
        {"objects": [], "shape": [10**12]}, {"tensor": "array7", "turned": False}, {},
    ],
    ids=str,
)  # fmt: skip
def test_what_the_tables_do_not_have_is_not_read(packed):
    """Names from a file are never imported, and sizes are not believed."""
    with pytest.raises((ValueError, LookupError, AttributeError)):
        Unpacker({}, None)(packed)
