"""Behaviour with releases of libraries that changed their interfaces."""

import importlib

import joblib
import numpy as np
import pytest
import torch
from sklearn import model_selection
from sklearn.datasets import load_iris
from sklearn.model_selection import _search
from torch import nn

from sk_tune import CNNClassifier, GridSearchCV, HyperbandSearchCV, MLPClassifier
from sk_tune._compat import joblib_names, torch_names
from sk_tune._engine import Fit, FitStream
from sk_tune.exceptions import SkTuneWarning

X, y = load_iris(return_X_y=True)
# A constant rate, so that one epoch of two equals a training of one epoch.
NET = MLPClassifier(
    width=4, max_epochs=2, lr_schedule="constant", dtype="float64", random_state=0
)
GRID = {"learning_rate": [0.001, 0.01, 0.1]}


@pytest.mark.parametrize("kind", [GridSearchCV, HyperbandSearchCV])
def test_a_search_with_unknown_tasks_trains_networks_one_by_one(kind, monkeypatch):
    """It warns once, and its scores equal scikit-learn's loop."""
    options = {"max_resources": 2, "select_epoch": "last", "random_state": 0}
    options = {} if kind is GridSearchCV else options
    expected = kind(NET, GRID, cv=3, **options).fit(X, y)
    known = _search._fit_and_score

    def of_another_release(*arguments, **options):
        return known(*arguments, **options)

    monkeypatch.setattr(_search, "_fit_and_score", of_another_release)
    with pytest.warns(SkTuneWarning, match="does not support the searches"):
        found = kind(NET, GRID, cv=3, **options).fit(X, y)

    name = "mean_test_score"
    np.testing.assert_allclose(found.cv_results_[name], expected.cv_results_[name])
    assert found.best_params_ == expected.best_params_
    plain = model_selection.GridSearchCV(NET, GRID, cv=3).fit(X, y)
    if kind is GridSearchCV:
        np.testing.assert_allclose(found.cv_results_[name], plain.cv_results_[name])


@pytest.fixture
def another_joblib(monkeypatch):
    """Give joblib another form of its batches of tasks."""
    joblib_names._pool_works.cache_clear()
    before = joblib.parallel.BatchedCalls.__init__

    def changed(self, tasks, nested, *, reducer=None, cache=None):
        before(self, tasks, nested, reducer, cache)

    monkeypatch.setattr(joblib.parallel.BatchedCalls, "__init__", changed)
    yield monkeypatch
    joblib_names._pool_works.cache_clear()


def test_a_joblib_of_another_form_gets_lists(another_joblib):
    """Results of workers then arrive all at once, with a warning."""
    fits = [Fit(estimator=NET, X=X, y=y, seed=seed) for seed in range(3)]
    with joblib.parallel_config("threading"), FitStream(n_jobs=2) as stream:
        with pytest.warns(SkTuneWarning, match="all at once"):
            stream.ask([fits[:1]])
        another_joblib.undo()
        for fit in fits[1:]:
            stream.ask([[fit]])
        found = dict(stream.next() for _ in fits)

    assert [found[k][0].status for k in range(3)] == ["trained"] * 3


OPERATORS = [
    "tanh_backward",
    "sigmoid_backward",
    "threshold_backward",
    "convolution_backward",
]


@pytest.fixture
def another_torch(monkeypatch):
    """Return a replacement for torch's operators with a changed signature."""

    class Empty:
        pass

    with monkeypatch.context() as patch:
        patch.setattr(torch.ops, "aten", Empty())
        spec = importlib.util.find_spec(torch_names.__name__)
        module = importlib.util.module_from_spec(spec)
        with pytest.warns(SkTuneWarning, match="train more slowly") as caught:
            spec.loader.exec_module(module)
    assert len(caught) == len(OPERATORS)
    return module


def test_other_operators_of_torch_are_computed_by_documented_functions(another_torch):
    """Results equal the operators."""
    generator = torch.Generator().manual_seed(0)

    def some(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    dy, out = some(5, 4), torch.sigmoid(some(5, 4))
    geometry = ([2, 1], [1, 0], [1, 1], False, [0, 0], 2, [True, True, True])
    images, kernels = some(3, 4, 6, 5), some(6, 2, 3, 3)
    outputs = torch.convolution(images, kernels, None, *geometry[:-1])
    calls = {
        "tanh_backward": ((dy, out), {"grad_input": torch.empty_like(dy)}),
        "sigmoid_backward": ((dy, out), {"grad_input": torch.empty_like(dy)}),
        "threshold_backward": ((dy, out - 0.5, 0), {"grad_input": torch.empty_like(dy)}),
        "convolution_backward": (
            (torch.ones_like(outputs), images, kernels, [6], *geometry),
            {},
        ),
    }
    assert list(calls) == OPERATORS
    for name, (arguments, options) in calls.items():
        expected = getattr(torch_names, name)(*arguments, **options)
        found = getattr(another_torch, name)(*arguments, **options)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, msg=name)


def test_networks_on_images_are_the_same_with_another_torch(another_torch, monkeypatch):
    """Up to rounding."""
    from sk_tune._fleets import _convolution, _layers

    images = np.random.default_rng(0).normal(size=(60, 36))
    net = CNNClassifier(
        input_shape=(6, 6),
        n_channels=3,
        width=5,
        normalization="batch",
        max_epochs=2,
        dtype="float64",
        random_state=0,
    )
    search = GridSearchCV(net, {"learning_rate": [0.01, 0.1]}, cv=2, refit=False)
    expected = search.fit(images, y[:60] > 0).cv_results_["mean_test_score"]

    for module in (_convolution, _layers):
        for name in OPERATORS:
            if hasattr(module, name):
                monkeypatch.setattr(module, name, getattr(another_torch, name))
    found = search.fit(images, y[:60] > 0).cv_results_["mean_test_score"]

    np.testing.assert_allclose(found, expected)


def test_hooks_are_found_by_torchs_names():
    """A layer with any kind of hook is not trained in a fleet."""
    layer = nn.Linear(1, 1)
    assert not torch_names.has_hooks(layer)
    for register in (
        layer.register_forward_hook,
        layer.register_forward_pre_hook,
        layer.register_full_backward_hook,
        layer.register_full_backward_pre_hook,
        layer.weight.register_post_accumulate_grad_hook,
    ):
        handle = register(lambda *_: None)
        assert torch_names.has_hooks(nn.Sequential(layer))
        handle.remove()
