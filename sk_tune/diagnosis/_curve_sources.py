# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Curves out of what is to be diagnosed, which is known by its attributes only."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import huber
from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError

from sk_tune._search_record import fold_layout, granted_resource, search_record
from sk_tune.diagnosis._findings import Curves

Floats = npt.NDArray[np.float64]

_CURVES = ("train_loss", "valid_loss", "valid_score")
# The regressors of this package train on standardised targets.
_STANDARDISED = 1.0


def is_search(source: Any) -> bool:
    """Return whether something is a search of sk_tune, with learning curves."""
    return hasattr(type(source), "learning_curves_")


def best_candidate(search: Any) -> int:
    """Return the result row that a search prefers, the first of the best rank if none."""
    if hasattr(search, "best_index_"):
        return int(search.best_index_)
    if not hasattr(search, "cv_results_"):
        raise NotFittedError(f"This {type(search).__name__} is not fitted yet.")
    ranks = next(v for k, v in search.cv_results_.items() if k.startswith("rank_test_"))
    return int(np.argmin(ranks))


def network_part(estimator: Any) -> tuple[Any, str]:
    """Return the network in an estimator and the prefix of its parameters there.

    The network is the estimator itself or a pipeline's last step; the prefix is "" or the
    step's name and two underscores.
    """
    if hasattr(estimator, "steps"):
        name, last = estimator.steps[-1]
        inner, prefix = network_part(last)
        return inner, f"{name}__{prefix}"
    return estimator, ""


def curves_of(search: Any, candidate: int) -> Curves:
    """Return the learning curves by epochs of a search's candidate.

    Parameters
    ----------
    search : search of sk_tune
        Fitted.
    candidate : int
        Row of ``cv_results_``.

    Returns
    -------
    Curves
        Of the most epochs that this configuration got: a search with rungs has a row for
        each of them.

    Raises
    ------
    ValueError
        If there is no such row, or its training left no curve.
    """
    if not hasattr(search, "cv_results_"):
        raise NotFittedError(f"This {type(search).__name__} is not fitted yet.")
    params = search.cv_results_["params"]
    n_candidates = len(params)
    if not -n_candidates <= candidate < n_candidates:
        raise ValueError(
            f"The candidate must be a row of cv_results_, which has {n_candidates}. "
            f"Got {candidate!r} instead."
        )
    candidate %= n_candidates
    rows = same_network(search, candidate)
    table = search.learning_curves_
    of_row = np.asarray(table["candidate"])
    chosen = np.isin(of_row, rows)
    if not chosen.any():
        raise ValueError(
            f"Candidate {candidate} has no learning curve. It failed, or is no network."
        )
    # Later rungs go on from earlier ones; where they train again, the last word counts.
    order = np.lexsort((of_row, np.asarray(table["epoch"])))
    order = order[chosen[order]]
    folds = np.asarray(table["fold"])[order]
    epochs = np.asarray(table["epoch"])[order]
    n_folds = 1 + int(folds.max())
    curves = {}
    for name in _CURVES:
        curve = np.full((n_folds, int(epochs.max())), np.nan)
        curve[folds, epochs - 1] = np.asarray(table[name], dtype=np.float64)[order]
        curves[name] = curve
    network, configured = _configured(search.estimator, params[candidate])
    record = search_record(search)
    y = None if record is None else record.y
    return Curves(
        **curves,
        params=configured,
        baseline_loss=_baseline(network, configured, y),
        n_samples=None if y is None else len(y),
        n_repeats=fold_layout(search, candidate).n_repeats,
    )


def same_network(search: Any, candidate: int) -> list[int]:
    """Return a candidate's rows: of all rungs over epochs, of the last over samples."""
    params = search.cv_results_["params"]
    resource = granted_resource(search)
    if resource is None:
        return [candidate]
    wanted = _without(params[candidate], resource)
    rows = [row for row, p in enumerate(params) if _without(p, resource) == wanted]
    if resource == "n_samples":
        # A rung with more samples trains a network from the start, so its curves are those
        # of another network. A rung that was interrupted has no curves.
        granted = np.asarray(search.cv_results_["n_resources"])
        known = set(search.learning_curves_["candidate"]) & set(rows) or {candidate}
        most = max(granted[row] for row in known)
        rows = [row for row in rows if row in known and granted[row] == most]
    return rows


def curves_of_estimator(estimator: Any) -> Curves:
    """Return the learning curves by epochs of a fitted network.

    Parameters
    ----------
    estimator : estimator
        Fitted; a network, or a pipeline that ends in one.

    Returns
    -------
    Curves
        One fold.  Without early stopping the held-out curves are NaN.

    Raises
    ------
    TypeError
        If it is no network.
    NotFittedError
        If it is not fitted.
    """
    network, _ = network_part(estimator)
    history = getattr(network, "history_", None)
    if history is None:
        # Before it is fitted a network of skorch has a history_ that raises.
        if not hasattr(type(network), "history_") and not hasattr(network, "max_epochs"):
            raise TypeError(
                "The source of diagnose must be a search of sk_tune, a fitted network or "
                "pipeline, Curves, or a learning curve by samples. "
                f"Got {type(estimator).__name__} instead."
            )
        raise NotFittedError(f"This {type(network).__name__} is not fitted yet.")
    curves: dict[str, Any] = {
        name: np.array([[float(epoch.get(name, math.nan)) for epoch in history]])
        for name in _CURVES
    }
    params = dict(network.get_params(deep=False))
    return Curves(**curves, params=params, baseline_loss=_baseline(network, params, None))


def _without(params: Mapping[str, Any], resource: str) -> dict[str, str]:
    return {name: repr(value) for name, value in params.items() if name != resource}


def _configured(estimator: Any, params: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return a candidate's network, and its parameters by their names there."""
    network, prefix = network_part(estimator)
    step = prefix.removesuffix("__")
    if step in params:
        network = params[step]
    params_of_network = dict(network.get_params(deep=False))
    params_of_network |= {
        name.removeprefix(prefix): value
        for name, value in params.items()
        if name.startswith(prefix) and name != step
    }
    return network, params_of_network


def _baseline(network: Any, params: Mapping[str, Any], y: Any) -> float | None:
    """Return the loss of the best constant prediction, on the scale of the curves.

    The parameters are those of a candidate, which the network may not have.
    """
    if not any(c.__module__.startswith("sk_tune.") for c in type(network).__mro__):
        return _baseline_of_criterion(params.get("criterion"), y)
    if not is_classifier(network):
        return _baseline_of_numbers(params.get("loss", "squared_error"), y)
    if y is None:
        # The priors are not kept: equal ones bound the entropy from above.
        classes = getattr(network, "classes_", None)
        n_classes = len(classes) if isinstance(classes, np.ndarray) else 2
        return math.log(max(n_classes, 2))
    y = np.asarray(y)
    if y.ndim == 2:
        return float(np.mean([_entropy(column) for column in y.T]))
    if params.get("class_weight") is not None:
        return math.log(len(np.unique(y)))
    return _entropy(y)


def _baseline_of_numbers(loss: str, y: Any) -> float | None:
    """Return the loss of the mean or median of standardised targets."""
    if loss == "squared_error":
        return _STANDARDISED
    if y is None:
        return None
    columns = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
    scale = columns.std(axis=0)
    errors = np.abs(columns - np.median(columns, axis=0)) / np.where(scale > 0, scale, 1)
    if loss == "huber":
        errors = huber(1, errors)
    return float(errors.mean())


def _baseline_of_criterion(criterion: Any, y: Any) -> float | None:
    """Return the baseline of a skorch net, if its criterion is known."""
    name = getattr(criterion, "__name__", type(criterion).__name__)
    if y is None:
        return None
    if name in {"CrossEntropyLoss", "NLLLoss"} and np.ndim(y) == 1:
        return _entropy(y)
    if name == "MSELoss":
        return float(np.var(np.asarray(y, dtype=np.float64), axis=0).mean())
    return None


def _entropy(labels: Any) -> float:
    """Return the entropy of the classes' shares, in nats."""
    counts = np.unique(labels, return_counts=True)[1]
    priors = counts / counts.sum()
    return float(-(priors * np.log(priors)).sum())


_WIDTHS = ("width", "n_channels", "hidden_size", "module__width", "module__hidden_size")
_DEPTHS = ("n_layers", "module__n_layers")


def size(params: Mapping[str, Any]) -> float | None:
    """Return about how many weights are between hidden layers, to compare; or None."""
    layers = params.get("hidden_layer_sizes")
    if layers is not None:
        return float(np.square(np.atleast_1d(np.asarray(layers, dtype=float))).sum())
    widths = [params[n] for n in _WIDTHS if isinstance(params.get(n), int | np.integer)]
    if not widths:
        return None
    depths = [params[n] for n in _DEPTHS if isinstance(params.get(n), int | np.integer)]
    return float(widths[0] ** 2 * (depths[0] if depths else 1))


def larger_in_search(search: Any, candidate: int) -> Curves | None:
    """Return the curves of the best network of a search that is larger than a candidate.

    The best one has the least held-out loss; None if no larger one was trained as long.
    """
    curves = curves_of(search, candidate)
    own_size = size(curves.params)
    if own_size is None:
        return None
    best: tuple[float, Curves | None] = (math.inf, None)
    with_curves = set(np.asarray(search.learning_curves_["candidate"]).tolist())
    for row in sorted(with_curves):
        other_size = size(_params(search, curves, row))
        if other_size is None or other_size <= own_size:
            continue
        other = curves_of(search, row)
        end = float(np.mean([_last(fold) for fold in other.valid_loss]))
        was_long = other.n_epochs >= curves.n_epochs or other.params.get("early_stopping")
        if was_long and end < best[0]:
            best = (end, other)
    return best[1]


def _last(losses: Any) -> float:
    """Return the last loss of a fold, which early stopping may have ended."""
    known = losses[np.isfinite(losses)]
    return float(known[-1]) if len(known) else math.nan


def _params(search: Any, curves: Curves, row: int) -> dict[str, Any]:
    """Return the parameters of a result row, as far as they tell the network's size."""
    params = dict(curves.params)
    for name, value in search.cv_results_["params"][row].items():
        inner = name.rpartition("__")[2]
        if inner in {*_WIDTHS, *_DEPTHS, "hidden_layer_sizes"}:
            params[inner] = value
    return params
