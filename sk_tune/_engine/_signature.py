# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Which fits can share a fleet, by their parameters, and why a fit must train alone."""

from typing import Any

from skorch import NeuralNet
from skorch.callbacks import EarlyStopping, GradientNormClipping, LRScheduler

from sk_tune._augment import as_augmentations, kinds_of
from sk_tune._engine._skorch import reason_against_callbacks, reason_against_net
from sk_tune._estimators import Fit, NetworkEstimator, is_unchanged
from sk_tune._numerical_embedding import as_embedding

# Numbers that may differ between networks of a fleet, and parameters outside of training.
_VARYING_PARAMETERS = frozenset({
    *("learning_rate", "momentum", "weight_decay", "l1", "dropout", "frequency_scale"),
    *("label_smoothing", "gradient_clip", "max_epochs", "lr_schedule", "early_stopping"),
    *("validation_fraction", "n_iter_no_change", "tol", "class_weight", "warm_start"),
    *("random_state", "verbose", "callbacks"),
})


def signature(fit: Fit) -> tuple[Any, ...]:
    """Return a hashable key that fits must share to be in one fleet.

    Its purpose is to group fits by their parameters, before any network is built. Modules
    that a user's callable builds are compared again after that.

    Parameters
    ----------
    fit : Fit
        The fit of an estimator of sk_tune or a plain skorch net.

    Returns
    -------
    tuple
        The type of the estimator, and the parameters that fix shapes and operations.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import MLPClassifier
    >>> from sk_tune.engine import Fit, signature
    >>> X, y = load_iris(return_X_y=True)
    >>> one, other, wide = (
    ...     signature(Fit(estimator=MLPClassifier(**params), X=X, y=y))
    ...     for params in ({}, {"learning_rate": 0.1}, {"width": 200})
    ... )
    >>> one == other, one == wide
    (True, False)
    """
    estimator = fit.estimator
    if isinstance(estimator, NeuralNet):
        # Initialised nets are compared further.
        return (type(estimator), repr(estimator.module), repr(estimator.optimizer))
    params = estimator.get_params(deep=False)
    if "augmentation" in params:
        # Values may differ between networks.
        params["augmentation"] = kinds_of(as_augmentations(params["augmentation"]))
    if (embedding := as_embedding(params.get("numerical_embedding"))) is not None:
        params |= {"numerical_embedding": embedding.name, **embedding.get_params()}
    fixed = [
        (name, repr(value))
        for name, value in sorted(params.items())
        if name not in _VARYING_PARAMETERS and not name.startswith("module__")
    ]
    return (type(estimator), *fixed)


def reason_alone(fit: Fit) -> str | None:
    """Return why the parameters of a fit rule out a fleet; None if they do not."""
    estimator = fit.estimator
    if not isinstance(estimator, NetworkEstimator):
        return reason_against_net(estimator, fit.X, fit.y)
    if not is_unchanged(estimator):
        return f"{type(estimator).__name__} overrides a training method"
    if estimator.callbacks and (reason := _reason_in_callbacks(estimator)):
        return reason
    if str(estimator.device).partition(":")[0] not in {"auto", "cpu", "cuda"}:
        return f"fleets do not run on device={estimator.device!r}"
    if estimator.verbose:
        return f"verbose={estimator.verbose} prints a line for every epoch"
    return None


def _reason_in_callbacks(estimator: Any) -> str | None:
    """Return why a fleet cannot carry the callbacks of an estimator; None if it can."""
    callbacks = [c[1] if isinstance(c, tuple) else c for c in estimator.callbacks]
    loads_best = any(getattr(callback, "load_best", False) for callback in callbacks)
    conflicts = (
        (LRScheduler, "lr_schedule", estimator.lr_schedule != "constant"),
        (GradientNormClipping, "gradient_clip", estimator.gradient_clip is not None),
        (EarlyStopping, "early_stopping", estimator.early_stopping is True and loads_best),
    )
    for kind, name, is_conflict in conflicts:
        if is_conflict and any(c is kind or isinstance(c, kind) for c in callbacks):
            return f"{kind.__name__} interacts with {name}={getattr(estimator, name)!r}"
    return reason_against_callbacks(callbacks)
