"""Modules that return probabilities instead of unnormalised scores."""

import copy

import numpy as np
import pytest
import torch
from modules import OneLayer
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from skorch import NeuralNetClassifier
from torch import nn

from sk_tune import GridSearchCV as FleetSearchCV
from sk_tune import NetClassifier, fleet

X, Y = load_digits(return_X_y=True)
X, Y = (X[:300] / 16).astype(np.float32), Y[:300]


class _Net(nn.Module):
    def __init__(self, n_features, n_outputs, end="none"):
        super().__init__()
        self.first = nn.Linear(n_features, 32)
        self.last = nn.Linear(32, n_outputs)
        self.end = end

    def forward(self, x):
        scores = self.last(torch.relu(self.first(x)))
        if self.end == "sigmoid":
            return torch.sigmoid(scores)
        if self.end == "softmax" or (self.end == "predicted" and not self.training):
            return torch.softmax(scores, dim=-1)
        return scores.log_softmax(dim=-1) if self.end == "log" else scores


def _net(end, **params):
    params = {"max_epochs": 5, "dtype": "float64", "random_state": 0, **params}
    return NetClassifier(_Net, module__end=end, **params)


@pytest.mark.parametrize("end", ["softmax", "predicted", "log"])
def test_modules_of_probabilities_train_like_modules_of_scores(end):
    """A final softmax, always or only in evaluation mode, changes no result."""
    expected = _net("none").fit(X, Y)
    result = _net(end).fit(X, Y)

    assert_allclose(result.predict_proba(X), expected.predict_proba(X), atol=1e-10)
    assert_allclose(
        result.history_[:, "train_loss"], expected.history_[:, "train_loss"], rtol=1e-10
    )


@pytest.mark.parametrize("end", ["softmax", "predicted"])
def test_their_predictions_are_the_modules_outputs(end):
    """As in skorch, probabilities are not normalised again."""
    net = _net(end).fit(X, Y)
    module = net.net_.module_.module.eval()
    with torch.no_grad():
        expected = module(torch.from_numpy(X).double()).numpy()

    assert_allclose(net.predict_proba(X), expected, atol=1e-12)


def test_loss_equals_skorchs():
    """skorch's loss NLLLoss takes the logarithm of the module's outputs."""
    net = _net("softmax", optimizer="sgd", lr_schedule="constant", weight_decay=0.0)
    net.set_params(learning_rate=0.1, batch_size=-1, momentum=0.0, dtype="float32")
    start = _Net(64, 10, "softmax")
    net.set_params(module=start)
    del net.module__end
    other = NeuralNetClassifier(
        copy.deepcopy(start), max_epochs=5, lr=0.1, batch_size=-1, train_split=None
    ).set_params(verbose=0)

    net.fit(X, Y)
    other.fit(X, Y)

    assert_allclose(
        net.history_[:, "train_loss"], other.history_[:, "train_loss"], rtol=1e-5
    )


def test_independent_labels_are_recognised_by_their_sigmoid():
    """In multilabel problems rows do not sum to 1, and scores may lie in [0, 1]."""
    labels = np.stack([Y % 2, Y > 4], axis=1).astype(int)
    expected = _net("none").fit(X, labels)
    result = _net("sigmoid").fit(X, labels)

    assert isinstance(expected.net_.module_, _Net)
    assert_allclose(result.predict_proba(X), expected.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("end", ["softmax", "predicted"])
def test_they_are_the_same_in_fleets(end):
    """An engine's search and a block give the scores of networks trained alone."""
    grid = {"learning_rate": [1e-3, 1e-2]}
    net = _net(end, max_epochs=3)
    expected = GridSearchCV(net, grid, cv=2, scoring="neg_log_loss").fit(X, Y)
    search = FleetSearchCV(net, grid, cv=2, scoring="neg_log_loss").fit(X, Y)
    with fleet(n_jobs=1):
        inside = cross_val_score(net, X, Y, cv=2, scoring="neg_log_loss")
    outside = cross_val_score(net, X, Y, cv=2, scoring="neg_log_loss")

    for name in ("split0_test_score", "split1_test_score"):
        assert_allclose(search.cv_results_[name], expected.cv_results_[name], rtol=1e-9)
    assert_allclose(inside, outside, rtol=1e-9)


class _Looking(_Net):
    """Records its inputs, and refuses batches of padding only."""

    def forward(self, x):
        if not x.any():
            raise ValueError("no rows")
        self.seen = torch.softmax(x, dim=-1)
        return super().forward(x)


class _Squashed(nn.Module):
    """Scores between 0 and 1; two of them sum to 1 for inputs of zero only."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.layer = nn.Linear(n_features, n_outputs, bias=False)

    def forward(self, x):
        return torch.sigmoid(self.layer(x))


def test_scores_that_sum_to_one_by_chance_are_scores():
    """Outputs for inputs other than zero are checked, too."""
    net = NetClassifier(_Squashed, max_epochs=1, random_state=0).fit(X, Y > 4)

    assert isinstance(net.net_.module_, _Squashed)


def _scripted(n_features, n_outputs):
    return torch.jit.script(_Scripted(n_features, n_outputs))


class _Scripted(OneLayer):
    def forward(self, x):
        return torch.softmax(self.output(x), dim=1)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("module", "same", "own"),
    [(_Looking, _Net, {"module__end": "softmax"}), (_scripted, _Scripted, {})],
    ids=["keeps results and refuses padding", "torchscript takes no hooks"],
)
def test_checking_the_outputs_of_a_module_has_no_side_effects(module, same, own):
    """The check works for every module that can be trained."""
    nets = [NetClassifier(m, max_epochs=2, random_state=0, **own) for m in (module, same)]

    result, expected = (net.fit(X, Y).predict_proba(X) for net in nets)

    assert_allclose(result, expected, atol=1e-6)


def test_they_are_saved_and_loaded(tmp_path):
    """The module's code is passed again, and its outputs are checked again."""
    net = _net("softmax").fit(X, Y)
    net.save(tmp_path / "net")
    loaded = NetClassifier.load(tmp_path / "net", module=_Net)

    assert_array_equal(loaded.predict_proba(X), net.predict_proba(X))
