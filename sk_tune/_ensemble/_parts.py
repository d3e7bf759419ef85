# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The parts of an ensemble's prediction: members, weights, and the link of their sum.

References
----------
.. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger. On calibration of modern neural
   networks. ICML 2017. Section 4.2: temperatures.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, logit, softmax
from sklearn import ensemble as sklearn_ensemble
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from sk_tune._conformal import Calibration
from sk_tune._declaration import Documented
from sk_tune._ensemble._combination import Combination, Member, stackable_network
from sk_tune._types import Array

_BAGGING = (sklearn_ensemble.BaggingClassifier, sklearn_ensemble.BaggingRegressor)
_VOTING = (sklearn_ensemble.VotingClassifier, sklearn_ensemble.VotingRegressor)

# A probability of 0 has no logarithm.
SMALLEST_PROBABILITY = 1e-7
# Search range of temperatures.
_LOWEST, _HIGHEST = 0.05, 20.0


def with_temperature(
    probabilities: Array, temperature: float, *, is_multilabel: bool = False
) -> Array:
    """Return probabilities, (..., K), of classes or labels, with scaled log-odds."""
    if temperature == 1:
        return np.asarray(probabilities)
    if is_multilabel:
        inside = np.clip(probabilities, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
        return np.asarray(expit(logit(inside) / temperature))
    logs = np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))
    return np.asarray(softmax(logs / temperature, axis=-1))


def fitted_temperature(probabilities: Array, y: Array, signs: Array | None = None) -> float:
    """Return the temperature with the least log loss.

    The prior of its logarithm is standard normal: otherwise a few samples with the right
    prediction would have the lowest temperature.  Losses of samples with a sign of -1 in
    `signs` are subtracted.
    """
    is_multilabel = y.ndim == 2
    p = np.clip(probabilities, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    log_odds = logit(p) if is_multilabel else np.log(p)

    # Without clipping of scaled probabilities the loss is convex in the inverse.
    def loss(inverse: float) -> float:
        if is_multilabel:
            true = log_expit(np.where(y > 0.5, inverse, -inverse) * log_odds)
        else:
            true = log_softmax(inverse * log_odds, axis=1)[np.arange(len(y)), y]
        prior = np.log(inverse) ** 2 / (2 * true.size)
        return float(prior - (true if signs is None else true * signs).mean())

    optimum = minimize_scalar(loss, bounds=(1 / _HIGHEST, 1 / _LOWEST), method="bounded")
    return float(1 / optimum.x)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """A fitted ensemble reduced to its prediction: the weighted sum of its `members`.

    `n_features` and `names` describe the columns of X, if the ensemble has them;
    `takes_arrays` says that it converts X to an array for its members.  `classes` are a
    classifier's labels, `member_classes` the members' names for them: empty for multilabel
    targets, None for members that are regressors.

    `link` converts the sum.  For "mean" weights sum to 1, and log-odds of mean
    probabilities are divided by the `temperature`; "sum", "exp", "logistic" and "softmax"
    add the sum to `offset`, and the last three treat the result as log means, log-odds or
    logits.

    `calibration` is for intervals or sets, None without predictions of held-out samples.
    """

    members: tuple[Member, ...]
    n_features: int | None
    classes: Array | None = None
    member_classes: Array | None = None
    link: str = "mean"
    offset: Array | None = None
    temperature: float = 1.0
    takes_arrays: bool = False
    names: Array | None = None
    calibration: Calibration | None = None

    @property
    def is_multilabel(self) -> bool:
        """Whether the targets are multilabel."""
        return self.member_classes is not None and len(self.member_classes) == 0

    def combination(self, ensemble: Any = None) -> Combination:
        """Return the weighted sum of the members; that of `ensemble` if it is equal."""
        cached: Combination | None = getattr(ensemble, "_combination", None)
        if cached is not None and cached.is_of(self.members):
            return cached
        # The weights of a sum would amplify float32 rounding errors.
        dtype = None if self.link == "mean" else "float64"
        return Combination(self.members, self.member_classes, dtype=dtype)

    def finish(self, total: Array) -> Array:
        """Convert the result of the combination to probabilities or targets."""
        if self.link != "mean":
            total = total + self.offset
        if self.link == "exp":
            return np.exp(total)
        if self.link == "logistic":
            return np.column_stack([expit(-total), expit(total)])
        if self.link == "softmax":
            return np.asarray(softmax(total, axis=1))
        if self.classes is None:
            return total
        if self.temperature == 1 and not self.is_multilabel:
            # Probabilities of float32 networks sum to 1 only in float32.
            return np.asarray(total / total.sum(axis=1, keepdims=True))
        return with_temperature(total, self.temperature, is_multilabel=self.is_multilabel)

    def first(self, n_members: int) -> Self:
        """Return the heaviest members in their order, or the first members of a sum.

        The errors of a smaller ensemble are unknown, so it has no calibration.
        """
        if n_members == len(self.members):
            return self
        smaller = replace(self, calibration=None)
        if self.link != "mean":
            return replace(smaller, members=self.members[:n_members])
        weights = np.array([member.weight for member in self.members])
        leading = np.sort(np.argsort(-weights, kind="stable")[:n_members])
        weights /= weights[leading].sum()
        members = (self.members[i]._replace(weight=float(weights[i])) for i in leading)
        return replace(smaller, members=tuple(members))


class Combined(Documented):
    """An ensemble of sk_tune, which predicts by the weighted sum of its members."""

    def _parts(self) -> Parts:
        """Return the parts of the prediction; the mean of the members by default."""
        return _parts_of_mean(self)

    def _keep(self, estimators: list[Any], weights: Array) -> None:
        """Store fitted members, their weights, and the features that they expect."""
        vars(self).update(estimators_=estimators, weights_=weights)
        for name in ("n_features_in_", "feature_names_in_"):
            vars(self).pop(name, None)
            if hasattr(estimators[0], name):
                setattr(self, name, getattr(estimators[0], name))
        self._combination = self._parts().combination()

    def _checked(self, X: Any) -> Any:
        """Return X in the form that the members expect."""
        return X

    def _combined(self, X: Any) -> Array:
        """Return the probabilities or targets, (n, C)."""
        parts = self._parts()
        return parts.finish(parts.combination(self)(self._checked(X)))


class CombinedClassifier(Combined):
    """Predictions of a classifier from the combined probabilities of its members."""

    classes_: Array
    _is_multilabel = False

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, or of each label of a multilabel target."""
        return self._combined(X)

    def predict(self, X: Any) -> Array:
        """Return the most probable label, or all labels with more than one half."""
        return self._decided(self._combined(X))

    def _decided(self, probabilities: Array) -> Array:
        if self._is_multilabel:
            return (probabilities > 0.5).astype(np.int64)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])


class CombinedRegressor(Combined):
    """Predictions of a regressor from the combined predictions of its members."""

    def predict(self, X: Any) -> Array:
        """Return the predicted targets."""
        return self._decided(self._combined(X))

    def _decided(self, targets: Array) -> Array:
        return targets[:, 0] if targets.shape[1] == 1 else targets


class AveragingRegressor(CombinedRegressor):
    """Predictions of a regressor whose members' quantiles can be averaged."""

    def predict(self, X: Any, *, return_quantiles: bool = False) -> Array:
        """Return the predicted targets.

        Parameters
        ----------
        return_quantiles : bool, default=False
            Whether to return all quantiles of networks with ``loss="quantile"``, an array
            of shape (n_samples, n_quantiles): the weighted means of the members' quantiles.
        """
        if not return_quantiles:
            return super().predict(X)
        return self._parts().combination(self)(self._checked(X), quantiles=True)


def parts_of(ensemble: Any) -> Parts:
    """Return the parts of the prediction of an ensemble that ``collapse`` takes."""
    if isinstance(ensemble, Combined):
        return ensemble._parts()
    parts = _parts_of_mean(getattr(ensemble, "best_estimator_", ensemble))
    calibration: Calibration | None = getattr(ensemble, "_calibration", None)
    # A calibration by the models of several folds does not apply to the parts.
    has_one = calibration is not None and calibration.n_models == 1
    return replace(parts, calibration=calibration) if has_one else parts


def _parts_of_mean(ensemble: Any) -> Parts:
    check_is_fitted(ensemble)
    columns: dict[str, Any] = {"n_features": getattr(ensemble, "n_features_in_", None)}
    if isinstance(ensemble, Combined):
        columns["calibration"] = getattr(ensemble, "_calibration", None)
    network, features = stackable_network(ensemble), None
    # A network, alone or at the end of a pipeline, is the mean of a single member.
    estimators, weights = [ensemble], np.ones(1)
    if network is None:
        estimators, weights = getattr(ensemble, "estimators_", []), _weights_of(ensemble)
    if isinstance(ensemble, _BAGGING):
        names = getattr(ensemble, "feature_names_in_", None)
        columns |= {"takes_arrays": True, "names": names}
        every = np.arange(ensemble.n_features_in_)
        drawn = ensemble.estimators_features_
        features = [None if np.array_equal(part, every) else part for part in drawn]
    shares = (weights / weights.sum()).tolist()
    members = map(Member, estimators, shares, features or [None] * len(shares))
    # Members without a weight are skipped.
    columns["members"] = tuple(member for member in members if member.weight)
    if not is_classifier(ensemble):
        return Parts(**columns)
    classes = np.asarray(getattr(ensemble, "classes_", []))
    if classes.ndim != 1 or not len(classes):
        raise TypeError(
            f"A {type(ensemble).__name__} must have a single label per sample to be "
            "collapsed. Got a multilabel target."
        )
    is_encoded = isinstance(ensemble, (*_BAGGING, *_VOTING))
    member_classes = np.arange(len(classes)) if is_encoded else classes
    if getattr(network or ensemble, "_is_multilabel", False):
        member_classes = np.empty(0)
    temperature = float(getattr(ensemble, "temperature_", 1.0))
    columns |= {"classes": classes, "member_classes": member_classes}
    return Parts(temperature=temperature, **columns)


def _weights_of(ensemble: Any) -> Array:
    """Return the weight of each of ``estimators_`` in the mean, not normalised."""
    n_members = len(getattr(ensemble, "estimators_", []))
    if isinstance(ensemble, _BAGGING):
        return np.ones(n_members)
    if isinstance(ensemble, _VOTING):
        if getattr(ensemble, "voting", "soft") != "soft":
            raise TypeError(
                "A VotingClassifier must have voting='soft' to be collapsed. Got "
                f"{ensemble.voting!r}."
            )
        # Dropped estimators are not in estimators_.
        is_used = [not isinstance(one, str) for _, one in ensemble.estimators]
        weights = np.ones(len(is_used)) if ensemble.weights is None else ensemble.weights
        return np.asarray(weights, dtype=np.float64)[is_used]
    weights = np.asarray(getattr(ensemble, "weights_", []), dtype=np.float64)
    if weights.ndim != 1 or not 0 < len(weights) == n_members:
        raise TypeError(
            "An ensemble must be a weighted mean of its members to be collapsed: an "
            "ensemble of sk_tune, scikit-learn's bagging or soft voting, or an object "
            f"with estimators_ and weights_. Got a {type(ensemble).__name__}."
        )
    return weights
