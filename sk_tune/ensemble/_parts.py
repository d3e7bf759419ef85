# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What an ensemble's prediction is made of: members, weights, what becomes of the sum."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit, softmax
from sklearn import ensemble as sklearn_ensemble
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from sk_tune.ensemble._boosting import BoostingClassifier, BoostingRegressor
from sk_tune.ensemble._combination import Combination, Member

__all__ = [
    "Parts",
    "Predictor",
    "fitted_temperature",
    "parts_of",
    "predictor_of",
    "with_label_temperature",
    "with_temperature",
]

Array = npt.NDArray[Any]

# Probabilities of 0 have no logarithm.
_SMALLEST = 1e-7
_LOWEST, _HIGHEST = 0.05, 20.0


def with_temperature(probabilities: Array, temperature: float) -> Array:
    """Return probabilities whose log-odds are divided by a temperature.

    Parameters
    ----------
    probabilities : ndarray of shape (..., K)
        Of classes, which sum to 1.
    temperature : float
        Above 1 probabilities become more equal, below 1 less.

    Returns
    -------
    ndarray of shape (..., K)
        In the same order from likely to unlikely.
    """
    scaled = np.log(np.maximum(probabilities, _SMALLEST)) / temperature
    scaled = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(scaled / scaled.sum(axis=-1, keepdims=True))


def with_label_temperature(probabilities: Array, temperature: float) -> Array:
    """Return probabilities of labels, (..., K), with log-odds divided by a temperature.

    Above 1 they come nearer to one half, below 1 they go away from it, on the same side.
    """
    inside = np.clip(probabilities, _SMALLEST, 1 - _SMALLEST)
    return np.asarray(expit(logit(inside) / temperature))


def fitted_temperature(probabilities: Array, y: Array, signs: Array | None = None) -> float:
    """Return the temperature between 0.05 and 20 with the least log loss.

    The probabilities, (N, K), are of samples that were not trained on; log loss has one
    minimum in the temperature's reciprocal.  `signs` of -1 take a sample's loss from the
    others'.
    """
    rows = np.arange(len(y))

    def loss(inverse: float) -> float:
        if y.ndim == 2:
            scaled = with_label_temperature(probabilities, 1 / inverse)
            true = np.where(y > 0.5, scaled, 1 - scaled)
        else:
            true = with_temperature(probabilities, 1 / inverse)[rows, y]
        losses = -np.log(np.maximum(true, _SMALLEST))
        return float((losses if signs is None else losses * signs).mean())

    found = minimize_scalar(loss, bounds=(1 / _HIGHEST, 1 / _LOWEST), method="bounded")
    return float(1 / found.x)


_BAGGING = (sklearn_ensemble.BaggingClassifier, sklearn_ensemble.BaggingRegressor)
_VOTING = (sklearn_ensemble.VotingClassifier, sklearn_ensemble.VotingRegressor)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """A fitted ensemble, reduced to what predicts.

    Parameters
    ----------
    members : tuple of Member
        Whose weighted sum is the prediction.
    n_features : int or None
        Columns of X, if the ensemble knew.
    classes : ndarray or None, default=None
        A classifier's labels.
    member_classes : ndarray or None, default=None
        What members call these: empty if a sample may have several labels, None for members
        that are regressors.
    link : {"mean", "sum", "logistic", "softmax"}, default="mean"
        What becomes of the sum: of a mean weights sum to 1; the others add it to `offset`,
        and the last two take the result for log-odds or logits.
    offset : ndarray or None, default=None
        What is added to the sum.
    temperature : float, default=1.0
        Log-odds of mean probabilities are divided by it.
    takes_arrays : bool, default=False
        Whether the ensemble makes an array of X before members see it.
    names : ndarray or None, default=None
        Those of the columns of X.
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

    @property
    def is_multilabel(self) -> bool:
        """Whether a row may have several labels."""
        return self.member_classes is not None and len(self.member_classes) == 0

    def combination(self) -> Combination:
        """Return the weighted sum of the members, to be called with X."""
        # The weights of a sum would enlarge what float32 rounds off.
        dtype = None if self.link == "mean" else "float64"
        return Combination(self.members, self.member_classes, dtype=dtype)

    def finish(self, total: Array) -> Array:
        """Return probabilities or targets for what the combination returned."""
        if self.link != "mean":
            total = total + self.offset
        if self.link == "logistic":
            return np.column_stack([expit(-total), expit(total)])
        if self.link == "softmax":
            return np.asarray(softmax(total, axis=1))
        if self.classes is None:
            return total
        if self.temperature != 1:
            scaled = with_label_temperature if self.is_multilabel else with_temperature
            return scaled(total, self.temperature)
        if self.is_multilabel:
            return total
        # Those of float32 networks sum to 1 in float32 only.
        return np.asarray(total / total.sum(axis=1, keepdims=True))

    def first(self, n_members: int) -> Self:
        """Return the most important members: the heaviest of a mean, the first of a sum.

        They keep their order; the weights of a mean sum to 1 again.
        """
        if self.link != "mean":
            return replace(self, members=self.members[:n_members])
        weights = np.array([member.weight for member in self.members])
        kept = np.sort(np.argsort(-weights, kind="stable")[:n_members])
        total = weights[kept].sum()
        members = tuple(
            self.members[i]._replace(weight=float(weights[i] / total)) for i in kept
        )
        return replace(self, members=members)


class Predictor:
    """What an ensemble predicts with, in one call for members of one architecture."""

    def __init__(self, ensemble: Any) -> None:
        self.parts = parts_of(ensemble)
        self.combination = self.parts.combination()
        self._made_of = _made_of(ensemble)

    def __call__(self, X: Any) -> Array:
        """Return probabilities or targets, as the ensemble predicts them."""
        return self.parts.finish(self.combination(X))

    def is_of(self, ensemble: Any) -> bool:
        """Return whether an ensemble's members, weights and temperature are unchanged."""
        members, weights, temperature = _made_of(ensemble)
        own_members, own_weights, own_temperature = self._made_of
        return (
            len(members) == len(own_members)
            and all(map(operator.is_, members, own_members))
            and np.array_equal(weights, own_weights)
            and temperature == own_temperature
        )


def predictor_of(ensemble: Any) -> Predictor:
    """Return what an ensemble predicts with.

    ``_predictor``, made by ``fit``, if still valid.
    """
    kept: Predictor | None = vars(ensemble).get("_predictor")
    return kept if kept is not None and kept.is_of(ensemble) else Predictor(ensemble)


def _made_of(ensemble: Any) -> tuple[list[Any], Array, float]:
    weights = np.array(getattr(ensemble, "weights_", ()))
    return list(ensemble.estimators_), weights, getattr(ensemble, "temperature_", 1.0)


def parts_of(ensemble: Any) -> Parts:
    """Return what the prediction of a fitted ensemble is made of; members are shared.

    The ensemble is sk_tune's, scikit-learn's bagging or soft voting, or any other whose
    prediction is the mean of ``estimators_`` under ``weights_``. Raises TypeError if the
    prediction is no such mean or sum.
    """
    check_is_fitted(ensemble)
    of_input: dict[str, Any] = {"n_features": getattr(ensemble, "n_features_in_", None)}
    if isinstance(ensemble, (BoostingClassifier, BoostingRegressor, *_BAGGING)):
        names = getattr(ensemble, "feature_names_in_", None)
        of_input |= {"takes_arrays": True, "names": names}
    if isinstance(ensemble, BoostingClassifier | BoostingRegressor):
        return _of_boosting(ensemble, of_input)
    if isinstance(ensemble, _BAGGING):
        members, is_encoded = _of_bagging(ensemble), True
    elif isinstance(ensemble, _VOTING):
        members, is_encoded = _of_voting(ensemble), True
    else:
        members, is_encoded = _weighted(ensemble), False
    if not is_classifier(ensemble):
        return Parts(members=members, **of_input)
    classes = np.asarray(getattr(ensemble, "classes_", []))
    is_multilabel = getattr(ensemble, "_is_multilabel", False)
    if classes.ndim != 1 or not len(classes):
        raise TypeError(
            f"A {type(ensemble).__name__} must have one label a row to be collapsed. Got "
            "several."
        )
    member_classes = np.arange(len(classes)) if is_encoded else classes
    return Parts(
        **of_input,
        members=members,
        classes=classes,
        member_classes=np.empty(0) if is_multilabel else member_classes,
        temperature=float(getattr(ensemble, "temperature_", 1.0)),
    )


def _of_boosting(boosting: Any, of_input: Mapping[str, Any]) -> Parts:
    members = tuple(map(Member, boosting.estimators_, boosting.weights_.tolist()))
    link = "sum"
    if is_classifier(boosting):
        link = "logistic" if len(boosting.init_) == 1 else "softmax"
    return Parts(
        **of_input,
        members=members,
        classes=getattr(boosting, "classes_", None),
        link=link,
        offset=boosting.init_,
    )


def _of_bagging(bagging: Any) -> tuple[Member, ...]:
    every = np.arange(bagging.n_features_in_)
    weight = 1 / len(bagging.estimators_)
    features = bagging.estimators_features_
    return tuple(
        Member(member, weight, None if np.array_equal(own, every) else own)
        for member, own in zip(bagging.estimators_, features, strict=True)
    )


def _of_voting(voting: Any) -> tuple[Member, ...]:
    if getattr(voting, "voting", "soft") != "soft":
        raise TypeError(
            "A VotingClassifier must have voting='soft' to be collapsed. Got "
            f"{voting.voting!r}."
        )
    weights = [1.0] * len(voting.estimators) if voting.weights is None else voting.weights
    kept = [
        float(weight)
        for (_, member), weight in zip(voting.estimators, weights, strict=True)
        if not isinstance(member, str)
    ]
    return _members(voting.estimators_, kept)


def _weighted(ensemble: Any) -> tuple[Member, ...]:
    weights = np.asarray(getattr(ensemble, "weights_", []), dtype=np.float64)
    members = getattr(ensemble, "estimators_", [])
    if weights.ndim != 1 or not 0 < len(weights) == len(members):
        raise TypeError(
            "An ensemble must be a weighted mean of its members to be collapsed: of "
            "sk_tune's ensembles, scikit-learn's bagging or soft voting, or with weights_ "
            f"for its estimators_. Got a {type(ensemble).__name__}."
        )
    return _members(members, weights.tolist())


def _members(estimators: Any, weights: list[float]) -> tuple[Member, ...]:
    total = sum(weights)
    return tuple(
        Member(estimator, weight / total)
        for estimator, weight in zip(estimators, weights, strict=True)
        # What weighs nothing is not asked.
        if weight
    )
