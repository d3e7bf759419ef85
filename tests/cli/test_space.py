"""What the command line searches."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import ParameterSampler

from sk_tune import MLPClassifier, MLPRegressor
from sk_tune.cli._space import (
    build_pipeline,
    default_candidate,
    relative_cost,
    search_space,
)

X = pd.DataFrame({"a": np.arange(30.0), "t": ["x", "y"] * 15})


@pytest.mark.parametrize(
    ("task", "network"), [("classification", MLPClassifier), ("regression", MLPRegressor)]
)
def test_the_task_decides_the_network(task, network):
    """Preparation first, then the network with the seed, on the CPU."""
    pipeline = build_pipeline(task, 7)

    assert list(pipeline.named_steps) == ["prepare", "net"]
    assert type(pipeline["net"]) is network
    assert (pipeline["net"].random_state, pipeline["net"].device) == (7, "cpu")


def test_every_candidate_can_be_fitted():
    """Whatever is drawn, the network takes it."""
    pipeline = build_pipeline("classification", 0)
    y = np.arange(30) % 2

    for params in ParameterSampler(search_space(30), 20, random_state=0):
        pipeline.set_params(**{**params, "net__max_epochs": 1}).fit(X, y)


def test_the_first_candidate_is_the_default():
    """All parameters of the space are there, with the values of a network without any."""
    pipeline = build_pipeline("classification", 0)
    space = search_space(30)

    candidate = default_candidate(pipeline, space)

    assert list(candidate) == list(space)
    defaults = MLPClassifier().get_params()
    assert {name.removeprefix("net__"): v for name, v in candidate.items()} == {
        name.removeprefix("net__"): defaults[name.removeprefix("net__")] for name in space
    }


def test_large_tables_get_larger_batches():
    """An epoch of a table of 100 times the rows does not take 100 times the steps."""
    small, large = (search_space(n)["net__batch_size"] for n in (1000, 100_000))

    assert small == [32, 64, 128]
    assert large == [16 * size for size in small]


def test_cost_grows_with_all_that_takes_time():
    """Epochs count in full; layers, width and small batches make steps or epochs longer."""
    base = {
        "net__n_layers": 2,
        "net__width": 64,
        "net__batch_size": 64,
        "net__max_epochs": 10,
    }

    def cost(**changes):
        changed = {f"net__{name}": value for name, value in changes.items()}
        return relative_cost({**base, **changed}, 1000)

    assert cost(max_epochs=20) == pytest.approx(2 * cost())
    assert cost() < cost(n_layers=3)
    assert cost() < cost(width=128)
    assert cost() < cost(batch_size=32)
    assert relative_cost(base, 10) < cost()
