# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Which fits can share a fleet, and why a fit cannot be part of any.

Pure decisions on parameters; nothing is trained and no data are looked at.
"""

from typing import Any

from skorch import NeuralNet

from sk_tune.augment import as_augmentations, kinds_of
from sk_tune.engine._records import Fit
from sk_tune.engine._skorch_support import reason_against_net
from sk_tune.estimators import NetworkEstimator, is_unchanged

__all__ = ["reason_for_solo", "signature"]

# Numbers that may differ between the rows of a fleet, and what is not part of training.
_ROW_PARAMETERS = frozenset({
    "learning_rate",
    "momentum",
    "weight_decay",
    "l1",
    "dropout",
    "frequency_scale",
    "label_smoothing",
    "gradient_clip",
    "max_epochs",
    "lr_schedule",
    "early_stopping",
    "validation_fraction",
    "patience",
    "tol",
    "class_weight",
    "warm_start",
    "random_state",
    "verbose",
    "callbacks",
})


def signature(fit: Fit) -> tuple[Any, ...]:
    """Return what fits must have in common to share a fleet.

    Parameters
    ----------
    fit : Fit
        Of one of sk_tune's estimators or a plain skorch net.

    Returns
    -------
    tuple
        Hashable.  Modules that a user's callable builds are compared later, when they
        are there.
    """
    estimator = fit.estimator
    if isinstance(estimator, NeuralNet):
        # The rest is compared when the nets have been initialised.
        return (type(estimator), repr(estimator.module), repr(estimator.optimizer))
    params = estimator.get_params(deep=False)
    fixed = sorted(
        (name, repr(_common(name, value)))
        for name, value in params.items()
        if name not in _ROW_PARAMETERS and not name.startswith("module__")
    )
    return (type(estimator), *fixed)


def _common(name: str, value: Any) -> Any:
    """Return what of a parameter must be equal; strengths of augmentations may differ."""
    return kinds_of(as_augmentations(value)) if name == "augmentation" else value


def reason_for_solo(fit: Fit) -> str | None:
    """Return why a fit cannot be part of a fleet, as far as its parameters tell.

    The reason continues "was trained alone because"; None if it can.
    """
    estimator = fit.estimator
    if not isinstance(estimator, NetworkEstimator):
        return reason_against_net(estimator, fit.X, fit.y)
    if not is_unchanged(estimator):
        return f"{type(estimator).__name__} overrides a method of training"
    if estimator.callbacks:
        names = ", ".join(sorted({type(c).__name__ for c in estimator.callbacks}))
        return f"it has callbacks ({names})"
    if str(estimator.device).partition(":")[0] not in {"auto", "cpu", "cuda"}:
        return f"fleets do not run on device={estimator.device!r}"
    if estimator.verbose:
        return f"verbose={estimator.verbose} prints a line for every epoch"
    return None
