# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Gradient boosting with networks as stages.

Each stage is one regressor with an output for each column of the gradient, so K classes
need one network, not K trees.  Its contribution is multiplied by the learning rate and by a
step from a line search over the stage's samples.  Trees take a Newton step in each leaf; a
network has no leaves.  Fitting it to the Newton direction (GrowNet [2]_) needs separate
sample weights, hence a separate network, for each class, and its targets explode where
predictions are confident.

Notation: n samples, C columns.  y are targets, F is the sum of the previous stages, f the
prediction of a new stage, all of shape (n, C); w are the sample weights.  Each stage is
fitted to the negative gradient r of the loss at F ([1]_, Algorithm 1, line 3) and added
with a step rho (line 5) that minimises the loss of F + rho f: one step of Newton's method
from 0 where the loss has second derivatives, bounded where classes are separable.

References
----------
.. [1] J. H. Friedman. Greedy function approximation: a gradient boosting machine. Annals of
   Statistics 29(5):1189-1232, 2001.
.. [2] S. Badirli, X. Liu, Z. Xing, A. Bhowmik, K. Doan, S. S. Keerthi. Gradient boosting
   neural networks: GrowNet. arXiv:2002.07971, 2020.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import joblib
import numpy as np
import torch
from scipy.special import expit, log_expit, logit, logsumexp, softmax
from sklearn.base import ClassifierMixin, RegressorMixin, is_classifier
from sklearn.ensemble import BaseEnsemble
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from sk_tune._compat import HasMethods, Interval, StrOptions, check_sample_weight
from sk_tune._declaration import COUNT, parameters
from sk_tune._ensemble._combination import Member
from sk_tune._ensemble._member_fits import fit_stage, with_categories
from sk_tune._ensemble._parts import Combined, CombinedClassifier, CombinedRegressor, Parts
from sk_tune._estimators import MLPRegressor, category_columns, check_range
from sk_tune._nesting import innermost
from sk_tune._training import ELEMENTWISE
from sk_tune._types import Array, Floats, Seed


class BoostingLoss:
    """Half the squared error, and the base of other losses.

    Second derivatives and the negative gradient may be multiplied by a common constant.
    """

    def start(self, y: Floats, w: Floats) -> Floats:
        """Return the best constant, (C,), for targets (n, C) and weights (n,)."""
        return np.asarray(np.average(y, axis=0, weights=w))

    def each(self, y: Floats, F: Floats) -> Floats:
        """Return the loss of each sample, (n,), a mean over targets, (n, C)."""
        return np.asarray(0.5 * ((y - F) ** 2).mean(axis=1))

    def residual(self, y: Floats, F: Floats) -> Floats:
        """Return the negative gradients, (n, C), the targets of the next stage."""
        return y - F

    def curvature(self, y: Floats, F: Floats, f: Floats) -> Floats:
        """Return the second derivative of each sample's loss along a stage `f`, (n,)."""
        return np.asarray((f**2).sum(axis=1))

    def update(self, y: Floats, F: Floats, w: Floats) -> None:
        """Update the parameters of the loss, if any, from the residuals before a stage."""

    def mean(self, y: Floats, F: Floats, w: Floats) -> float:
        """Return the weighted mean of the loss; less is better."""
        return float(np.average(self.each(y, F), weights=w))

    def step(self, y: Floats, F: Floats, f: Floats, w: Floats) -> float:
        """Return the step along a stage `f`, (n, C); 0 if the loss does not fall."""
        slope = float(w @ (self.residual(y, F) * f).sum(axis=1))
        curvature = float(w @ self.curvature(y, F, f))
        return slope / curvature if curvature > np.finfo(np.float64).tiny else 0.0


class _PinballLoss(BoostingLoss):
    """Pinball loss of a quantile; the step is the exact minimum (Friedman 2001, eq. 14)."""

    def __init__(self, level: float) -> None:
        self.level = level

    def start(self, y: Floats, w: Floats) -> Floats:
        return np.array([_weighted_quantile(column, w, self.level) for column in y.T])

    def each(self, y: Floats, F: Floats) -> Floats:
        return np.asarray(((y - F) * self.residual(y, F)).mean(axis=1))

    def residual(self, y: Floats, F: Floats) -> Floats:
        return np.sign(y - F) / 2 + (self.level - 0.5)

    def step(self, y: Floats, F: Floats, f: Floats, w: Floats) -> float:
        # The loss of (y - F) - rho f is |f| times that of the ratio (y - F) / f minus rho,
        # with the opposite level where f < 0. A weighted quantile of the ratios minimises
        # it.
        weights = w[:, np.newaxis] * np.abs(f)
        moves = weights > 0
        if not moves.any():
            return 0.0
        levels = np.where(f > 0, self.level, 1 - self.level)[moves]
        level = float(np.average(levels, weights=weights[moves]))
        return _weighted_quantile((y - F)[moves] / f[moves], weights[moves], level)


class _AbsoluteError(_PinballLoss):
    """Absolute error, twice the pinball loss of the median."""

    def __init__(self) -> None:
        super().__init__(0.5)

    def residual(self, y: Floats, F: Floats) -> Floats:
        return np.sign(y - F)


class _Deviance(BoostingLoss):
    """Half the deviance of Poisson, a power of 1, or gamma, 2; F are log means."""

    def __init__(self, power: float) -> None:
        self.power = power

    def start(self, y: Floats, w: Floats) -> Floats:
        return np.asarray(np.log(super().start(y, w)))

    def each(self, y: Floats, F: Floats) -> Floats:
        deviance = ELEMENTWISE["deviance"](*map(torch.from_numpy, (F, y)), self.power)
        return np.asarray(deviance.numpy().mean(axis=1) / 2)

    def residual(self, y: Floats, F: Floats) -> Floats:
        return np.asarray(y * np.exp((1 - self.power) * F) - np.exp((2 - self.power) * F))

    def curvature(self, y: Floats, F: Floats, f: Floats) -> Floats:
        p = self.power
        second = (p - 1) * y * np.exp((1 - p) * F) + (2 - p) * np.exp((2 - p) * F)
        return np.asarray((second * f**2).sum(axis=1))


class _HuberLoss(_AbsoluteError):
    """Squared error for the share `alpha` of small residuals, absolute error for larger.

    It starts from the median, as in Friedman (2001, Algorithm 4).
    """

    step = BoostingLoss.step

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.delta = np.inf
        # The threshold of the first stage: losses of several stages are comparable only if
        # they are values of one function.
        self._scored_delta = np.inf

    def update(self, y: Floats, F: Floats, w: Floats) -> None:
        weights = np.broadcast_to(w[:, np.newaxis], y.shape)
        sizes = np.abs(y - F).ravel()
        self.delta = _weighted_quantile(sizes, weights.ravel(), self.alpha)
        if self._scored_delta == np.inf:
            self._scored_delta = self.delta

    def each(self, y: Floats, F: Floats) -> Floats:
        size = np.abs(y - F)
        small = np.minimum(size, self._scored_delta)
        return np.asarray((small * (size - 0.5 * small)).mean(axis=1))

    def residual(self, y: Floats, F: Floats) -> Floats:
        return np.clip(y - F, -self.delta, self.delta)

    def curvature(self, y: Floats, F: Floats, f: Floats) -> Floats:
        return np.asarray((f**2 * (np.abs(y - F) <= self.delta)).sum(axis=1))


class _BinaryLogLoss(BoostingLoss):
    """Negative log-likelihood of labels 0 and 1 in nats; F are log-odds."""

    def start(self, y: Floats, w: Floats) -> Floats:
        return np.asarray(logit(super().start(y, w)))

    def each(self, y: Floats, F: Floats) -> Floats:
        return np.asarray(-log_expit(np.where(y > 0, F, -F))[:, 0])

    def residual(self, y: Floats, F: Floats) -> Floats:
        return np.asarray(y - expit(F))

    def curvature(self, y: Floats, F: Floats, f: Floats) -> Floats:
        return np.asarray((expit(F) * expit(-F) * f**2)[:, 0])


class _LogLoss(BoostingLoss):
    """Negative log-likelihood of one-hot labels in nats; F are logits."""

    def start(self, y: Floats, w: Floats) -> Floats:
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(super().start(y, w)))

    def each(self, y: Floats, F: Floats) -> Floats:
        return np.asarray(logsumexp(F, axis=1) - (y * F).sum(axis=1))

    def residual(self, y: Floats, F: Floats) -> Floats:
        return np.asarray(y - softmax(F, axis=1))

    def curvature(self, y: Floats, F: Floats, f: Floats) -> Floats:
        p = softmax(F, axis=1)
        # The variance of f under p.
        centred = f - (p * f).sum(axis=1, keepdims=True)
        return np.asarray((p * centred**2).sum(axis=1))


_REGRESSION_LOSSES: dict[str, Callable[[float], BoostingLoss]] = {
    "squared_error": lambda alpha: BoostingLoss(),
    "absolute_error": lambda alpha: _AbsoluteError(),
    "huber": _HuberLoss,
    "quantile": _PinballLoss,
    "poisson": lambda alpha: _Deviance(1),
    "gamma": lambda alpha: _Deviance(2),
}


def _weighted_quantile(values: Floats, weights: Floats, level: float) -> float:
    """Return the least value with a share `level` of the weights at or below it."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    position = np.searchsorted(total, level * total[-1])
    return float(values[order[min(int(position), len(values) - 1)]])


class _BoostedSamples(NamedTuple):
    """Samples with targets, weights, and the predictions of the stages so far."""

    X: Array
    y: Array
    w: Array
    F: Array


class _Stage(NamedTuple):
    """A trained stage, its factor in the sum, and the losses after it (NaN if none)."""

    estimator: Any
    weight: float
    train_score: float
    validation_score: float

    def output(self, X: Array) -> Floats:
        """Return the predictions, (n, C), times the factor."""
        return self.weight * _output(self.estimator, X)


@dataclass(kw_only=True)
class _Course:
    """All trained stages, for a warm start."""

    loss: BoostingLoss
    rng: np.random.RandomState
    split_seed: int
    init: Floats = field(default_factory=lambda: np.empty(0))
    stages: list[_Stage] = field(default_factory=list)


@parameters
class _Boosting(Combined, BaseEnsemble):  # type: ignore[misc]
    """Parameters, training and sum of the stages, for both tasks.

    Parameters
    ----------
    estimator : regressor, default=None
        Template of the stages: a regressor, which must support several targets if y has
        several columns or more than two classes.
        ``MLPRegressor(n_layers=1, members=1, max_epochs=10)`` if None.
    n_estimators : int, default=50
        Maximum number of stages.
    learning_rate : float, default=0.3
        Factor applied to every stage; smaller values need more stages.
    subsample : float, default=1.0
        Share of the samples that each stage is trained on, drawn without replacement.
    validation_fraction : float, default=0.1
        Share of the samples to set aside for early stopping; stratified in classification.
    n_iter_no_change : int or None, default=None
        Stop after this number of stages without progress on the samples set aside, and keep
        the stages up to the lowest loss.  None trains all stages on all samples.
    tol : float, default=1e-4
        Decrease of the loss that counts as progress.
    n_jobs : int or None, default=None
        Workers for stages that use joblib, such as a pipeline with a ColumnTransformer.
        Stages train one after another, so this does not make a single network faster.
    random_state : int, RandomState instance or None, default=None
        Seed of the stages' seeds, of subsamples and of the samples set aside.
    verbose : int, default=0
        1 prints the losses of the first ten stages, then of every tenth stage, and from
        stage 100 on of every hundredth; greater values print each stage.
    warm_start : bool, default=False
        Whether ``fit`` adds to the existing stages.  Fitting 10 stages and then 20 equals
        fitting 20 at once.

    Attributes
    ----------
    estimator_ : regressor
        Template of the stages.
    estimators_ : list of regressors
        The stages.
    weights_ : ndarray of shape (n_estimators_,)
        Factors of the stages in the sum: learning rate times the step of the line search.
    n_estimators_ : int
        Number of stages.
    validation_score_ : ndarray of shape (n_stages,)
        ``train_score_`` on the samples set aside, if any.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, if X had any.
    """

    estimator: Annotated[Any, HasMethods(["fit", "predict"]), None] = field(
        default=None, kw_only=False
    )
    n_estimators: Annotated[int, COUNT] = field(default=50, kw_only=False)
    learning_rate: Annotated[float, Interval(Real, 0, None, closed="neither")] = 0.3
    subsample: Annotated[float, Interval(Real, 0, 1, closed="right")] = 1.0
    validation_fraction: Annotated[float, Interval(Real, 0, 1, closed="neither")] = 0.1
    n_iter_no_change: Annotated[int | None, COUNT, None] = None
    tol: Annotated[float, Interval(Real, 0, None, closed="left")] = 1e-4
    n_jobs: Annotated[int | None, Integral, None] = None
    random_state: Annotated[Seed, "random_state"] = None
    verbose: Annotated[int, "verbose"] = 0
    warm_start: Annotated[bool, "boolean"] = False

    # Parameters that scikit-learn would pass to each stage.
    estimator_params: ClassVar[tuple[str, ...]] = ()

    def _encode(self, y: Array) -> tuple[BoostingLoss, Floats, Array | None]:
        """Return the loss, its targets, (n, C), and labels to stratify by."""
        raise NotImplementedError

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the stages, each on the residuals of the previous stages."""
        self.__dict__.pop("estimators_", None)
        self._validate_params()
        self._validate_estimator(MLPRegressor(n_layers=1, members=1, max_epochs=10))
        if is_classifier(self.estimator_):
            raise ValueError(
                f"The 'estimator' parameter of {type(self).__name__} must be a regressor, "
                f"because stages predict residuals. Got {self.estimator_!r} instead."
            )
        self.estimator_: Any = with_categories(self.estimator_, category_columns(X))
        X, y = self._checked(X, y=y, multi_output=True, reset=True)
        w = check_sample_weight(sample_weight, X, dtype=np.float64)
        is_weighted = sample_weight is not None
        if not w.all():
            X, y, w = (part[w != 0] for part in (X, y, w))
        loss, targets, labels = self._encode(y)
        course = vars(self).get("_course") if self.warm_start else None
        parts, stops_early = [np.arange(len(X))], self.n_iter_no_change is not None
        if course is None:
            rng = check_random_state(self.random_state)
            seed = rng.randint(np.iinfo(np.int32).max) if stops_early else 0
            course = _Course(loss=loss, rng=rng, split_seed=seed)
        if stops_early:
            fraction, seed = self.validation_fraction, course.split_seed
            options = {"test_size": fraction, "random_state": seed, "stratify": labels}
            parts = train_test_split(*parts, **options)
        if not course.stages:
            course.init = loss.start(targets[parts[0]], w[parts[0]])
        if not np.isfinite(course.init).all():
            raise ValueError(
                "validation_fraction must leave samples of every class to train on. Got "
                f"{self.validation_fraction} of {len(X)} samples."
            )
        start = np.tile(course.init, (len(X), 1))
        samples = [
            _BoostedSamples(*(data[part] for data in (X, targets, w, start)))
            for part in parts
        ]
        n_workers = {} if self.n_jobs is None else {"n_jobs": self.n_jobs}
        with joblib.parallel_config(**n_workers):
            self._boost(course, *samples, is_weighted=is_weighted)
        self._keep_stages(course)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether the last ``fit`` was completed, not interrupted."""
        return hasattr(self, "estimators_")

    def _boost(
        self,
        course: _Course,
        train: _BoostedSamples,
        *valid: _BoostedSamples,
        is_weighted: bool,
    ) -> None:
        """Train the missing stages, until the loss on `valid` no longer falls."""
        loss, start, n_before = course.loss, time.monotonic(), len(course.stages)
        if n_before > self.n_estimators:
            raise ValueError(
                "n_estimators must be at least the number of trained stages with "
                f"warm_start=True, {n_before}. Got {self.n_estimators}."
            )
        for previous in course.stages:
            for samples in (train, *valid):
                samples.F[:] += previous.output(samples.X)
        n = len(train.X)
        n_drawn = max(1, int(self.subsample * n))
        for number in range(n_before + 1, self.n_estimators + 1):
            if self._has_converged(course.stages):
                break
            drawn: Any = slice(None)
            if n_drawn < n:
                drawn = np.sort(course.rng.permutation(n)[:n_drawn])
            X, y, w, F = (part[drawn] for part in train)
            loss.update(y, F, w)
            stage = self._make_estimator(append=False, random_state=course.rng)
            fit_stage(stage, X, loss.residual(y, F), w if is_weighted else None)
            f = _output(stage, train.X)
            weight = self.learning_rate * loss.step(y, F, f[drawn], w)
            train.F[:] += weight * f
            score, held_out = loss.mean(y, train.F[drawn], w), math.nan
            for samples in valid:
                samples.F[:] += weight * _output(stage, samples.X)
                held_out = loss.mean(samples.y, samples.F, samples.w)
            course.stages.append(_Stage(stage, weight, score, held_out))
            # The first ten stages, then every tenth up to the hundredth, and so on.
            distance = 10 ** (len(str(number - 1)) - 1)
            if self.verbose > 1 or (self.verbose and number % distance == 0):
                seconds = (time.monotonic() - start) / (number - n_before)
                _print(number, score, held_out, seconds * (self.n_estimators - number))

    def _has_converged(self, stages: Sequence[_Stage]) -> bool:
        """Return whether the last `n_iter_no_change` stages brought no progress."""
        n = self.n_iter_no_change
        if n is None or len(stages) <= n:
            return False
        *earlier, last = (stage.validation_score for stage in stages[-n - 1 :])
        return last + self.tol >= max(earlier)

    def _keep_stages(self, course: _Course) -> None:
        """Set the attributes of the fit, with the stages up to the best stage."""
        stages, weights, train, valid = zip(*course.stages, strict=True)
        self.train_score_, n_kept = np.array(train), len(stages)
        self.__dict__.pop("validation_score_", None)
        if self.n_iter_no_change is not None:
            self.validation_score_ = np.array(valid)
            n_kept = int(self.validation_score_.argmin()) + 1
        self.init_, self.n_estimators_ = course.init, n_kept
        self.estimators_, self.weights_ = [*stages[:n_kept]], np.array(weights[:n_kept])
        self._combination = self._parts().combination()
        self._course = course if self.warm_start else None

    def _parts(self) -> Parts:
        check_is_fitted(self)
        link = "exp" if getattr(self, "loss", "") in {"poisson", "gamma"} else "sum"
        if is_classifier(self):
            link = "logistic" if len(self.init_) == 1 else "softmax"
        return Parts(
            members=tuple(map(Member, self.estimators_, self.weights_.tolist())),
            n_features=self.n_features_in_,
            names=getattr(self, "feature_names_in_", None),
            takes_arrays=True,
            classes=getattr(self, "classes_", None),
            link=link,
            offset=self.init_,
        )

    def _checked(self, X: Any, *, reset: bool = False, **options: Any) -> Any:
        tags = get_tags(self).input_tags
        return validate_data(
            self,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            order="C",
            allow_nd=tags.three_d_array,
            ensure_all_finite="allow-nan" if tags.allow_nan else True,
            **options,
        )

    def staged_predict(self, X: Any) -> Iterator[Array]:
        """Yield the predictions after each stage.

        Yields
        ------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            As ``predict`` returns them.
        """
        yield from map(self._decided, self._staged(X))

    def _staged(self, X: Any) -> Iterator[Array]:
        """Yield probabilities or targets, (n, C), after each stage."""
        parts, X, total = self._parts(), self._checked(X), np.float64(0)
        for stage, weight in zip(self.estimators_, self.weights_, strict=True):
            total = total + weight * _output(stage, X)
            yield parts.finish(total)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        estimator = MLPRegressor() if self.estimator is None else self.estimator
        tags_of_stage = get_tags(estimator).input_tags
        # NaN pads short sequences.
        takes_nan = getattr(innermost(estimator), "_allow_nan", False)
        tags.input_tags.allow_nan = tags_of_stage.allow_nan or takes_nan
        tags.input_tags.three_d_array = tags_of_stage.three_d_array
        return tags


def _print(number: int, score: float, held_out: float, seconds_left: float) -> None:
    """Print a stage as scikit-learn's gradient boosting does, with the held-out loss."""
    columns = {"Iter": f"{number}", "Train Loss": f"{score:.4f}"}
    if not math.isnan(held_out):
        columns["Valid Loss"] = f"{held_out:.4f}"
    columns["Remaining Time"] = f"{seconds_left:.2f}s"
    for texts in (columns, columns.values()) if number == 1 else (columns.values(),):
        sys.stdout.write(" ".join(f"{text:>14}" for text in texts) + "\n")


def _output(stage: Any, X: Array) -> Array:
    predicted = np.asarray(stage.predict(X), dtype=np.float64)
    return predicted.reshape(len(X), -1)


@parameters
class BoostingClassifier(  # type: ignore[misc]
    ClassifierMixin, CombinedClassifier, _Boosting
):
    """Gradient boosting of networks for classification, by log loss.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    init_ : ndarray of shape (1,) or (n_classes,)
        Initial value of the sum: log-odds of two classes, or logarithms of class shares.
    train_score_ : ndarray of shape (n_stages,)
        Log loss in nats after each trained stage, on the stage's samples.
    classes_ : ndarray of shape (n_classes,)
        Labels in the order of the columns of ``predict_proba``.
    n_classes_ : int
        Number of classes.
    {attributes}

    See Also
    --------
    BoostingRegressor : The same for real-valued targets.
    sklearn.ensemble.GradientBoostingClassifier : Trees as stages.

    Notes
    -----
    A stage is one network, fitted to the gradient of all classes at once; its factor is one
    Newton step along it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import BoostingClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> boosting = BoostingClassifier(n_estimators=10, random_state=0).fit(X, y)
    >>> bool(boosting.score(X, y) > 0.9)
    True
    """

    def decision_function(self, X: Any) -> Array:
        """Return the sum of the stages.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Log-odds of the second of two classes, or a logit for each class.
        """
        combination = self._parts().combination(self)
        raw = self.init_ + combination(self._checked(X))
        return raw[:, 0] if raw.shape[1] == 1 else raw

    def staged_predict_proba(self, X: Any) -> Iterator[Array]:
        """Yield the probabilities after each stage.

        Yields
        ------
        ndarray of shape (n_samples, n_classes)
            As ``predict_proba`` returns them.
        """
        yield from self._staged(X)

    def _encode(self, y: Array) -> tuple[BoostingLoss, Floats, Array | None]:
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        self.n_classes_ = len(self.classes_)
        if self.n_classes_ < 2:
            raise ValueError(
                "y must hold at least 2 classes in samples of positive weight. Got 1 "
                f"class, {self.classes_.tolist()[0]!r}."
            )
        if self.n_classes_ == 2:
            return _BinaryLogLoss(), labels[:, np.newaxis].astype(np.float64), labels
        return _LogLoss(), np.eye(self.n_classes_)[labels], labels


@parameters
class BoostingRegressor(RegressorMixin, CombinedRegressor, _Boosting):  # type: ignore[misc]
    """Gradient boosting of networks for real-valued targets.

    Parameters
    ----------
    loss : {"squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma"}, \
            default="squared_error"
        Loss to minimise.  "absolute_error" and "huber" are robust to outliers; "quantile"
        predicts the quantile `alpha`; "poisson" and "gamma" are deviances with a log link.
    alpha : float, default=0.9
        Share of samples with small residuals in the Huber loss; level of the quantile.
    {parameters}

    Attributes
    ----------
    init_ : ndarray of shape (n_outputs,)
        Initial value of the sum: mean, quantile or log mean of y.
    train_score_ : ndarray of shape (n_stages,)
        Loss after each trained stage, on the stage's samples: half the squared error, half
        the deviance, or the absolute, Huber or pinball loss.
    {attributes}

    See Also
    --------
    BoostingClassifier : The same for classes.
    sklearn.ensemble.GradientBoostingRegressor : Trees as stages.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_tune import BoostingRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> boosting = BoostingRegressor(n_estimators=10, random_state=0).fit(X, y)
    >>> len(boosting), boosting.predict(X[:2]).shape
    (10, (2,))
    """

    loss: Annotated[str, StrOptions(set(_REGRESSION_LOSSES))] = "squared_error"
    alpha: Annotated[float, Interval(Real, 0, 1, closed="neither")] = 0.9

    def _encode(self, y: Array) -> tuple[BoostingLoss, Floats, Array | None]:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        targets = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        if self.loss in {"poisson", "gamma"}:
            check_range(self.loss, targets)
        return _REGRESSION_LOSSES[self.loss](self.alpha), targets, None
