"""Whether a class derived from an estimator trains as the estimator does."""

import pytest

from sk_tune import MLPClassifier
from sk_tune.estimators import is_unchanged


class _Renamed(MLPClassifier):
    def describe(self):
        return "own method"


class _OwnFit(MLPClassifier):
    def fit(self, X, y, sample_weight=None):
        return super().fit(X, y, sample_weight)


class _OwnNet(MLPClassifier):
    def _make_net(self, seed, device=None):
        return super()._make_net(seed, device)


class _OwnCheck(MLPClassifier):
    def _check_X(self, X, *, reset):
        return super()._check_X(X, reset=reset)


@pytest.mark.parametrize(
    ("cls", "unchanged"),
    [
        (MLPClassifier, True),
        (_Renamed, True),
        (_OwnFit, False),
        (_OwnNet, False),
        (_OwnCheck, False),
    ],
)
def test_only_methods_of_training_count(cls, unchanged):
    """A method of another name leaves training as it is."""
    assert is_unchanged(cls()) is unchanged
