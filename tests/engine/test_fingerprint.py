"""Equal fits have equal keys, and fits that may differ have not."""

import threading

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping, LRScheduler
from torch import nn

from sk_tune import MLPClassifier, MLPRegressor
from sk_tune._engine import data_fingerprint, params_fingerprint


def test_the_index_of_a_frame_counts():
    """A function that selects samples may depend on it."""
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    others = [frame.set_index(pd.Index([5, 6])), frame["a"], frame[["b", "a"]]]

    keys = {data_fingerprint(other) for other in [frame, *others, frame.copy()]}

    assert len(keys) == 4


def test_unreadable_values_equal_nothing():
    """They do not even equal themselves, so their fits are trained."""
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
    "class method": NeuralNetClassifier(nn.Embedding.from_pretrained),
}


@pytest.mark.parametrize("name", NETS)
def test_clones_have_one_key(name):
    """A clone trains as its original does."""
    net = NETS[name]

    key = params_fingerprint(net)

    assert params_fingerprint(clone(net)) == key
    hash(key)


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
    """Different functions differ, and a function equals itself."""
    first, second = (lambda: 0), (lambda: 0)

    keys = [params_fingerprint(Holder(f)) for f in (first, first, second, len, max)]

    assert keys[0] == keys[1]
    assert len(set(keys)) == 4


def test_functions_within_values_count_by_identity():
    """So do local classes: clones of a callback share them, other callbacks do not."""

    class Local:
        pass

    first, second = (lambda epoch: 0.9**epoch), (lambda epoch: 0.9**epoch)
    values = [LRScheduler("LambdaLR", lr_lambda=f) for f in (first, second)]
    values += [[Local()], [first]]

    keys = [params_fingerprint(Holder(value)) for value in values]

    assert keys == [params_fingerprint(clone(Holder(value))) for value in values]
    assert len(set(keys)) == 4


def test_the_state_of_a_callback_does_not_count():
    """Each training resets it."""
    stopping = _callback()
    key = params_fingerprint(MLPClassifier(callbacks=[_callback()]))

    stopping.on_train_begin(NETS["skorch"])

    assert vars(stopping) != vars(_callback())
    assert params_fingerprint(MLPClassifier(callbacks=[stopping])) == key


def test_callback_contexts_of_scikit_learn_do_not_count():
    """A meta-estimator sets a context on a net, but it is not a parameter."""
    net = clone(NETS["skorch"])
    key = params_fingerprint(net)

    net._parent_callback_ctx = object()

    assert params_fingerprint(net) == key
