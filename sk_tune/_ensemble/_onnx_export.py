# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""An ensemble as one ONNX model, with the preparation of its members.

Each member has a preparation that was fitted on its fold.  The model takes a column of a
table as a number, a date as days, and a category as its place in a list.  All sums of
members have 64 bits.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge, TweedieRegressor
from sklearn.pipeline import Pipeline

from sk_tune._ensemble._combination import Member, quantiles_of, stackable_network
from sk_tune._ensemble._onnx_steps import TableColumns, add_steps
from sk_tune._ensemble._onnx_trees import add_boosting
from sk_tune._ensemble._parts import SMALLEST_PROBABILITY, Parts
from sk_tune._estimators import add_network
from sk_tune._onnx_graph import Graph
from sk_tune._prepare import TablePreparer
from sk_tune._text import counted
from sk_tune._training import middle_of

_BOOSTING = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
_LINEAR = (LogisticRegression, Ridge, TweedieRegressor)


def export_ensemble(
    parts: Parts,
    path: str | os.PathLike[str],
    *,
    names: Sequence[str] = (),
    shape: tuple[int, ...] | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Write an ensemble as ONNX, and return its "inputs", "classes" and "members".

    Rows of a table, and samples of a given `shape`, are float64; otherwise the members
    decide shape and type. `progress` is called with a text for each of the different
    `names`. Raises TypeError if ONNX cannot express a member.
    """
    names = list(names) or [f"member {k}" for k in range(len(parts.members))]
    named = list(zip(names, parts.members, strict=True))
    columns = _columns(named)
    dtype: Any = np.float64
    result_type: Any = np.float32
    if columns is not None:
        shape = (len(columns),)
    elif shape is None:
        shape, dtype = _input_of(parts)
        result_type = dtype
    if parts.classes is None:
        # float32 would round targets with a large mean.
        result_type = np.float64
    folds = [names[:k].count(name) for k, name in enumerate(names)]
    graph = Graph(shape, dtype)
    total: Any = None
    if parts.offset is not None:
        total = graph.constant(np.asarray(parts.offset, dtype=np.float64))
    for position, (name, member) in enumerate(named):
        if progress is not None and not folds[position]:
            n_folds = names.count(name)
            progress(f"{name}, {counted(n_folds, 'fold')}" if n_folds > 1 else name)
        weighted = _add_member(graph, name, member, columns, parts)
        total = weighted if total is None else total + weighted
    result = _finished(graph, total, parts).cast(result_type)
    graph.write(path, result, "prediction" if parts.classes is None else "probabilities")
    return {
        "inputs": list((columns or {}).values()),
        "classes": [] if parts.classes is None else [str(c) for c in parts.classes],
        "members": [
            {
                "model": name,
                "fold": folds[k] if names.count(name) > 1 else None,
                "weight": member.weight,
            }
            for k, (name, member) in enumerate(named)
        ],
    }


def _split(estimator: Any) -> tuple[list[Any], Any]:
    """Return the steps in front of a model, and the model."""
    if not isinstance(estimator, Pipeline):
        return [], estimator
    *steps, model = (step for _, step in estimator.steps)
    return [s for s in steps if not (s is None or isinstance(s, str))], model


def _columns(members: Sequence[tuple[str, Member]]) -> TableColumns | None:
    """Return the columns that members know, as `TableColumns`; None if X is not a table."""
    steps = [_split(member.estimator)[0] or [None] for _, member in members]
    if not any(isinstance(first, TablePreparer) for first, *_ in steps):
        return None
    columns: dict[str, dict[str, Any]] = {}
    more: dict[str, Any] = {"date": {"unit": "days since 1970-01-01"}}
    for (name, member), (prepare, *_) in zip(members, steps, strict=True):
        if not isinstance(prepare, TablePreparer) or member.features is not None:
            raise TypeError(
                "To become one ONNX model, either all members or none must begin with a "
                f"TablePreparer. Got {name!r} with {prepare!r}."
            )
        for column, kind in prepare.kinds_:
            new = {"name": column, "kind": kind, **more.get(kind, {})}
            if kind != columns.setdefault(column, new)["kind"]:
                raise TypeError(
                    "To become one ONNX model, members must agree on the kind of each "
                    f"column. Got {column!r}, which is a {kind} in {name!r} only."
                )
        for _, encoder, names in prepare.columns_.transformers_:
            if isinstance(encoder, Pipeline):
                encoder = encoder[0]
            categories = getattr(getattr(encoder, "encoder_", encoder), "categories_", ())
            # Only encoders have categories.
            for column, values in zip(names, categories, strict=False):
                listed = columns[column].setdefault("values", [])
                listed += [str(v) for v in values if str(v) not in listed]
    return columns


def _input_of(parts: Parts) -> tuple[tuple[int, ...], Any]:
    """Return the shape and the type of the samples that all members take."""
    shapes, types = set(), set()
    for member in parts.members:
        steps, model = _split(member.estimator)
        network: Any = stackable_network(member.estimator)
        shape: Any = (parts.n_features,)
        if member.features is None:
            takes_rows = steps or network is None
            first = (steps or [model])[0]
            shape = (first.n_features_in_,) if takes_rows else network.input_shape_
        shapes.add(shape)
        types.add("float64" if network is None else network.net_.options.dtype)
    if len(shapes) > 1:
        raise TypeError(
            "To become one ONNX model, members must accept samples of the same shape. "
            f"Got {sorted(map(str, shapes))}."
        )
    return shapes.pop(), np.dtype(max(types))


def _add_member(
    graph: Graph, name: str, member: Member, columns: TableColumns | None, parts: Parts
) -> Any:
    """Return the weighted prediction of a member in the columns of the sum."""
    steps, model = _split(member.estimator)
    x = graph.X if member.features is None else graph.X.take(member.features, axis=1)
    x = add_steps(graph, x, steps, columns, name)
    is_foreign = not type(model).__module__.startswith(("sklearn.", "sk_tune."))
    if isinstance(model, _BOOSTING) and not is_foreign:
        # AutoML's boosting has a model for each target.
        models = getattr(model, "targets_", [model])
        predicted = graph.concat([add_boosting(graph, x, one) for one in models], axis=1)
    elif isinstance(model, _LINEAR) and not is_foreign:
        coefficients = np.atleast_2d(model.coef_).T.astype(np.float64)
        predicted = x.cast(np.float64) @ coefficients + np.atleast_1d(model.intercept_)
        if isinstance(model, TweedieRegressor) and _has_log_link(model):
            predicted = graph.op("Exp", predicted)
    elif stackable_network(member.estimator) is None:
        raise TypeError(
            "To become one ONNX model, an ensemble must consist of networks of sk_tune, "
            f"linear models and boosting. Got {name!r}, which is a "
            f"{type(model).__name__}. Keep the model with joblib.dump."
        )
    else:
        predicted = add_network(graph, x, model).cast(np.float64)
        levels = getattr(model, "quantiles_", ())
        if len(levels) and not quantiles_of(parts.members):
            predicted = predicted.take([middle_of(levels)], axis=1)
    if isinstance(model, (*_BOOSTING, *_LINEAR)) and is_classifier(model):
        predicted = _probabilities(graph, predicted, is_binary=len(model.classes_) == 2)
    classes = parts.member_classes
    if classes is None or parts.is_multilabel or len(classes) == len(model.classes_):
        return predicted * member.weight
    # A class that a member does not know has probability 0.
    places = np.searchsorted(classes, model.classes_)
    return predicted @ (np.eye(len(classes))[places] * member.weight)


def _has_log_link(model: TweedieRegressor) -> bool:
    return bool(model.link == "log" or (model.link == "auto" and model.power > 0))


def _probabilities(graph: Graph, raw: Any, *, is_binary: bool) -> Any:
    """Return the probabilities of two classes from log-odds, or of more from logits."""
    if not is_binary:
        return graph.op("Softmax", raw, axis=1)
    both = (graph.op("Sigmoid", raw * sign) for sign in (-1, 1))
    return graph.concat([*both], axis=1)


def _finished(graph: Graph, total: Any, parts: Parts) -> Any:
    """Return probabilities or targets for the sum of the members, as `Parts.finish`."""
    if parts.link == "exp":
        return graph.op("Exp", total)
    if parts.link in {"logistic", "softmax"}:
        return _probabilities(graph, total, is_binary=parts.link == "logistic")
    is_sharp = parts.temperature == 1
    if parts.classes is None or (parts.is_multilabel and is_sharp):
        return total
    if parts.is_multilabel:
        inside = total.clip(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
        log_odds = graph.op("Log", inside / (1 - inside))
        return graph.op("Sigmoid", log_odds / parts.temperature)
    total = total / graph.op("ReduceSum", total, np.array([1]), keepdims=1)
    if is_sharp:
        return total
    logs = graph.op("Log", total.maximum(SMALLEST_PROBABILITY))
    return _probabilities(graph, logs / parts.temperature, is_binary=False)
