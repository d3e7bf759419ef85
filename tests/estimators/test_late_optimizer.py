"""An optimizer that is built at its first use is the one that would have been built."""

import copy
import pickle

import pytest
import torch

from sk_tune import MLPClassifier
from sk_tune.estimators._net_state import load_training_state, training_state


def _net(**params):
    own = {"hidden_layer_sizes": (4,), "max_epochs": 2, "random_state": 0}
    return MLPClassifier(**{**own, **params})


@pytest.fixture
def trained(iris):
    """A trained net, and one of the same kind that took its state over."""
    estimator = _net().fit(*iris)
    twin = estimator._make_net(0)
    load_training_state(twin, training_state(estimator.net_))
    return estimator.net_, twin


def _same_optimizers(own, expected):
    torch.testing.assert_close(own.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_it_is_built_once_and_stands_where_the_training_stands(trained):
    """Moments, rate and options are those of the training."""
    net, twin = trained

    optimizer = twin.optimizer_

    assert twin.optimizer_ is optimizer
    _same_optimizers(optimizer, net.optimizer_)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))]
)
def test_a_copy_has_it_whether_it_was_built_or_not(copied, trained):
    """It is over the copy's own parameters."""
    net, twin = trained

    other = copied(twin)

    _same_optimizers(other.optimizer_, net.optimizer_)
    held = other.optimizer_.param_groups[0]["params"]
    assert [id(p) for p in held] == [id(p) for p in other.module_.parameters()]


def test_a_net_that_is_initialised_again_starts_anew(trained):
    """Nothing of the training is left."""
    _, twin = trained

    twin.initialize()

    assert twin.optimizer_.state_dict()["state"] == {}


def test_a_net_that_was_never_initialised_has_none(trained):
    """As of any skorch net."""
    net, _ = trained
    parts = {"options": net.options, "sample_work": net.sample_work}
    bare = type(net)(net.module, net.criterion, **parts)

    assert not hasattr(bare, "optimizer_")


def test_skorch_knows_of_it_before_it_is_built(trained):
    """Parameters of the net that are meant for it reach it."""
    _, twin = trained

    twin.set_params(lr=0.5, optimizer__weight_decay=0.25)

    (group,) = twin.optimizer_.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)
