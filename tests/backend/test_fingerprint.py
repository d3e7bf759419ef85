"""Equal fits have equal keys, and fits that may differ have not."""

import threading

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.base import BaseEstimator, clone
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping
from torch import nn

from sk_tune import MLPClassifier, MLPRegressor
from sk_tune.backend import data_fingerprint, params_fingerprint

ARRAYS = hnp.arrays(
    dtype=st.sampled_from(["f8", "f4", "i8", "i4", "?", "U3"]),
    shape=hnp.array_shapes(max_dims=3, max_side=5),
)
VALUES = [
    np.arange(6.0).reshape(2, 3),
    np.array(["a", "b"], dtype=object),
    np.array(["a", "b"]),
    [1, 2, 3],
    (1, 2, 3),
    pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}),
    pd.Series([1, 2]),
    scipy.sparse.csr_matrix(np.eye(3)),
    torch.arange(3.0),
    None,
]


@given(ARRAYS)
def test_copies_of_an_array_have_one_key(X):
    """Copies, views and other memory orders are the same data."""
    key = data_fingerprint(X)

    assert hash(key) == hash(data_fingerprint(X))
    assert data_fingerprint(X.copy()) == key
    assert data_fingerprint(np.asfortranarray(X)) == key
    assert data_fingerprint(np.repeat(X, 2, axis=0)[::2]) == key


@given(ARRAYS, st.data())
def test_one_other_number_is_another_key(X, data):
    """Any element that changes its bytes changes the key."""
    place = tuple(data.draw(st.integers(0, n - 1)) for n in X.shape)
    other = X.copy()
    other[place] = ~other[place] if X.dtype == bool else data.draw(hnp.from_dtype(X.dtype))

    same = other.tobytes() == X.tobytes()

    assert (data_fingerprint(other) == data_fingerprint(X)) == same


@given(ARRAYS)
def test_shape_and_type_count(X):
    """Equal bytes in another shape or type are other data."""
    key = data_fingerprint(X)

    assert data_fingerprint(X[np.newaxis]) != key
    if X.dtype.kind in "fi":
        other = X.view(f"{'i' if X.dtype.kind == 'f' else 'f'}{X.dtype.itemsize}")
        assert data_fingerprint(other) != key


def test_different_kinds_have_different_keys():
    """No two of these are the same data."""
    keys = [data_fingerprint(value) for value in VALUES]

    assert len(set(keys)) == len(keys)


def test_names_and_order_of_a_frame_count():
    """Other names or another order of columns are other data, for some estimators."""
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    others = [
        frame.rename(columns={"a": "c"}),
        frame[["b", "a"]],
        frame.set_index(pd.Index([5, 6])),
        frame.astype("float32"),
    ]

    keys = {data_fingerprint(other) for other in [frame, *others]}

    assert len(keys) == 5


def test_what_cannot_be_read_is_equal_to_nothing():
    """Not even to itself, so that it is trained."""
    value = threading.Lock()

    assert data_fingerprint(value) != data_fingerprint(value)
    net = MLPClassifier(callbacks=[value])
    assert params_fingerprint(net) != params_fingerprint(net)


def _callback():
    return EarlyStopping(patience=2)


NETS = {
    "sk_tune": MLPClassifier(learning_rate=0.01),
    "callbacks": MLPClassifier(callbacks=[_callback()]),
    "skorch": NeuralNetClassifier(nn.Linear, module__in_features=3, module__out_features=2),
    "skorch callbacks": NeuralNetClassifier(nn.Linear, callbacks=[("stop", _callback())]),
    "tensor": NeuralNetClassifier(nn.Linear, criterion__weight=torch.tensor([1.0, 2.0])),
    "tensor of 16 bits": NeuralNetClassifier(
        nn.Linear, w=torch.ones((), dtype=torch.bfloat16)
    ),
    "module": NeuralNetClassifier(nn.Linear(3, 2), callbacks=[_callback()]),
    "random state": MLPClassifier(random_state=np.random.RandomState(0)),
}


@pytest.mark.parametrize("name", NETS)
def test_clones_have_one_key(name):
    """A clone trains as its original does."""
    net = NETS[name]

    key = params_fingerprint(net)

    assert params_fingerprint(clone(net)) == key
    hash(key)


@pytest.mark.parametrize(
    "other",
    [
        torch.tensor([1.0, 3.0]),
        torch.tensor([[1.0, 2.0]]),
        torch.tensor([1.0, 2.0]).double(),
        torch.tensor([1.0, 2.0], requires_grad=True),
        nn.Parameter(torch.tensor([1.0, 2.0])),
    ],
)
def test_tensors_that_differ_are_other_parameters(other):
    """Values, shape, type and gradients count."""
    net = NETS["tensor"]

    changed = clone(net).set_params(criterion__weight=other)

    assert params_fingerprint(changed) != params_fingerprint(net)


@pytest.mark.parametrize(
    "params",
    [
        {"learning_rate": 0.02},
        {"hidden_layer_sizes": (5,)},
        {"hidden_layer_sizes": (5, 5)},
        {"batch_size": 16},
        {"activation": "tanh"},
        {"max_epochs": 7},
        {"random_state": 1},
        {"random_state": np.random.RandomState(1)},
        {"warm_start": True},
        {"class_weight": {0: 1.0, 1: 2.0}},
        {"callbacks": [EarlyStopping(patience=3)]},
    ],
    ids=lambda params: "-".join(params),
)
def test_each_parameter_counts(params):
    """Another value of any parameter is another fit."""
    assert params_fingerprint(MLPClassifier(**params)) != params_fingerprint(
        MLPClassifier()
    )


@pytest.mark.parametrize(("a", "b"), [(1, 1.0), (1, True), (0, False), (0, None), ("1", 1)])
def test_values_of_different_types_count(a, b):
    """Python calls some of them equal; a network may not."""
    nets = [MLPClassifier(random_state=value) for value in (a, b)]

    assert params_fingerprint(nets[0]) != params_fingerprint(nets[1])


def test_the_class_counts():
    """A classifier, a regressor and a subclass with equal parameters are different."""

    class Own(MLPClassifier):
        pass

    keys = {params_fingerprint(cls()) for cls in (MLPClassifier, MLPRegressor, Own)}

    assert len(keys) == 3


class Holder(BaseEstimator):
    """Has one parameter of any kind."""

    def __init__(self, value=None):
        self.value = value


def test_functions_count_by_identity():
    """Two functions are never taken for one, and a function is always itself."""
    first, second = (lambda: 0), (lambda: 0)

    keys = [params_fingerprint(Holder(f)) for f in (first, first, second, len, max)]

    assert keys[0] == keys[1]
    assert len(set(keys)) == 4


class Callable:
    """An object that can be called and has a state."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self):
        return self.rate


def test_callable_objects_count_by_content():
    """Equal state is the same parameter, another state is another."""
    keys = [params_fingerprint(Holder(Callable(rate))) for rate in (1, 1, 2)]

    assert keys[0] == keys[1] != keys[2]


def test_what_scikit_learn_notes_on_a_net_does_not_count():
    """A callback context that a meta-estimator hung on a net is none of its parameters."""
    net = clone(NETS["skorch"])
    key = params_fingerprint(net)

    net._parent_callback_ctx = object()

    assert params_fingerprint(net) == key
