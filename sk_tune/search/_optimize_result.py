# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A Bayesian search as scikit-optimize's ``OptimizeResult``."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from skopt.callbacks import check_callback
from skopt.space import Space as SkoptSpace
from skopt.utils import cook_estimator, create_result, normalize_dimensions

from sk_tune.sampler import BoostedQuantiles, fill_failed
from sk_tune.space import Candidate, Space, points_of, skopt_space

__all__ = ["as_callbacks", "optimize_result", "wants_to_stop"]

Callback = Callable[[Any], object]


def as_callbacks(callback: Any) -> list[Callback]:
    """Return scikit-optimize's callbacks as a list, empty for None; else ValueError."""
    callbacks: list[Callback] = list(check_callback(callback) or [])
    return callbacks


def wants_to_stop(callbacks: Iterable[Callback], result: Any) -> bool:
    """Call all callbacks with a result; return whether one of them returned true."""
    answers = [bool(callback(result)) for callback in callbacks]
    return any(answers)


def optimize_result(
    space: Space,
    candidates: Sequence[Candidate],
    scores: npt.NDArray[np.float64],
    *,
    model: Any = None,
    random_state: Any = None,
) -> Any:
    """Return what was found as scikit-optimize describes it.

    Parameters
    ----------
    space : Space
        What varied.
    candidates : sequence of dict
        That were evaluated.
    scores : ndarray of shape (n_candidates,)
        Greater is better; NaN of those that failed, which count as the worst.
    model : str, regressor or None, default=None
        As scikit-optimize's ``base_estimator``: a clone is fitted to the scores, for plots
        of what they depend on; None and "dummy" for none.
    random_state : int, RandomState or None, default=None
        Of the model.

    Returns
    -------
    OptimizeResult or None
        With ``x``, ``fun`` (the negated best score), ``x_iters``, ``func_vals``, ``space``
        and ``models``; None if parameters depend on others or nothing was scored.
    """
    dimensions = skopt_space(space, candidates)
    filled = fill_failed(np.asarray(scores, dtype=float))
    if dimensions is None or filled is None:
        return None
    # As its optimizer has it.
    skopt_form = SkoptSpace(normalize_dimensions(dimensions))
    for normalized, dimension in zip(skopt_form.dimensions, dimensions, strict=True):
        normalized.name = dimension.name
    points, losses = points_of(dimensions, candidates), -filled
    models = []
    if model is not None and not (isinstance(model, str) and model.upper() == "DUMMY"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = _new_model(model, dimensions, random_state)
            models.append(fitted.fit(skopt_form.transform(points), losses))
    return create_result(points, losses, skopt_form, random_state, models=models)


def _new_model(model: Any, dimensions: Sequence[Any], random_state: Any) -> Any:
    """Return an unfitted model of a name of scikit-optimize, or a clone of a regressor."""
    if isinstance(model, str) and model.upper() != "GBRT":
        return cook_estimator(model, space=dimensions, random_state=random_state)
    new = BoostedQuantiles() if isinstance(model, str) else clone(model)
    if new.get_params().get("random_state", 0) is None:
        new.set_params(random_state=random_state)
    return new
