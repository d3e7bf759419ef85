# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""An average of models as one ONNX model, with what prepares their columns.

Each model has a preparation of its own, fitted on its fold.  The ONNX model takes a column
as a number, a date as days, a category as its place in a list; what a preparation makes of
a category is looked up in a table, which the fitted transformer filled.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import FunctionTransformer
from torch import Tensor, nn

from sk_tune._compat import BoostedTrees, boosted_trees
from sk_tune._files import replaced_file
from sk_tune.automl._blend import Blend
from sk_tune.automl._channel_scaler import ChannelScaler
from sk_tune.automl._onnx_fronts import Columns, front_of, not_expressible
from sk_tune.automl._onnx_models import Encoded, Forest, LinearPredictor, TreesOutput
from sk_tune.ensemble import network_of
from sk_tune.estimators import NetworkPredictor, export_module
from sk_tune.prepare import TablePreparer

__all__ = ["export_blend"]

_BOOSTING = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
_LINEAR = (LogisticRegression, Ridge)
_SMALLEST = 1e-7  # Probability, as of temperatures.


def export_blend(
    blend: Blend, path: str | Path, row_shape: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Write an average of models as an ONNX model, and return what it takes and is made of.

    ``row_shape`` is that of images or sequences.  Raises TypeError if a member cannot be
    written, and ImportError if onnx or onnxscript is not installed.
    """
    members = blend.combination.members
    networks = []
    for name, member in zip(blend.names, members, strict=True):
        model = member.estimator[-1]
        if network_of(member.estimator) is not None:
            networks.append(model)
        elif not isinstance(model, (*_BOOSTING, *_LINEAR)):
            raise TypeError(
                "An ensemble must consist of networks, linear models and boosting to be "
                f"one ONNX model. Got {name!r}, which is a {type(model).__name__}. Keep "
                "the model with joblib.dump."
            )
    columns = _columns(blend)
    module = _BlendModule(blend, columns).eval().cpu()
    example = torch.zeros(2, *(row_shape if columns is None else (len(columns),)))
    devices = [network.net_.device for network in networks]
    try:
        with replaced_file(Path(path)) as temporary:
            export_module(
                module,
                example.double(),
                temporary,
                is_classifier=blend.classes is not None,
            )
    finally:
        for network, device in zip(networks, devices, strict=True):
            network.net_.module_.to(device)
    return _about(blend, columns)


def _about(blend: Blend, columns: Columns | None) -> dict[str, Any]:
    folds: dict[str, int] = {}
    members = []
    for name, member in zip(blend.names, blend.combination.members, strict=True):
        fold = folds[name] = folds.get(name, -1) + 1
        members.append({"model": name, "fold": fold, "weight": member.weight})
    inputs: list[dict[str, Any]] = []
    for name, (kind, values) in (columns or {}).items():
        more: dict[str, dict[str, Any]] = {
            "date": {"unit": "days since 1970-01-01"},
            "category": {"values": values},
        }
        inputs.append({"name": name, "kind": kind, **more.get(kind, {})})
    classes = [] if blend.classes is None else [str(label) for label in blend.classes]
    return {"inputs": inputs, "classes": classes, "members": members}


def _columns(blend: Blend) -> dict[str, tuple[str, list[str]]] | None:
    """Return the columns that members need, of categories with all that are known.

    None if rows are no tables.
    """
    columns: dict[str, tuple[str, list[str]]] = {}
    for name, member in zip(blend.names, blend.combination.members, strict=True):
        prepare = member.estimator[0]
        if isinstance(prepare, ChannelScaler | FunctionTransformer):
            return None
        if not isinstance(prepare, TablePreparer) or len(member.estimator) != 2:
            raise not_expressible(name, f"a {type(prepare).__name__}")
        for column, kind in prepare.kinds_:
            known, _ = columns.setdefault(column, (kind, []))
            if kind != known:
                raise TypeError(
                    "Members must take a column for the same kind to be one ONNX model. "
                    f"Got {column!r}, which is a {kind} in {name!r} only."
                )
        for _, encoder, own in prepare.columns_.transformers_:
            found = getattr(encoder, "encoder_", encoder)
            if not hasattr(found, "categories_"):
                continue
            for column, values in zip(own, found.categories_, strict=True):
                _, listed = columns[column]
                listed += [str(v) for v in values if str(v) not in listed]
    return columns


class _BlendModule(nn.Module):
    """The weighted sum of models, each behind its preparation."""

    def __init__(self, blend: Blend, columns: Columns | None) -> None:
        super().__init__()
        self.is_classifier = blend.classes is not None
        self.temperature = blend.temperature
        fronts: list[nn.Module] = []
        predictors: list[nn.Module] = []
        # Of members that are trees, where those begin and end among all.
        self.spans: dict[int, tuple[int, int]] = {}
        self.dtypes: list[torch.dtype] = []
        forest: list[BoostedTrees] = []
        for number, (name, member) in enumerate(
            zip(blend.names, blend.combination.members, strict=True)
        ):
            *steps, model = (step for _, step in member.estimator.steps)
            front = front_of(steps, columns, name)
            if isinstance(model, _BOOSTING):
                trees = boosted_trees(model)
                front = nn.Sequential(front, Encoded(trees))
                start = sum(len(own.trees) for own in forest)
                self.spans[number] = start, start + len(trees.trees)
                forest.append(trees)
                predictors.append(TreesOutput(trees, model))
            elif isinstance(model, _LINEAR):
                predictors.append(LinearPredictor(model))
            else:
                predictors.append(NetworkPredictor(model))
            self.dtypes.append(getattr(torch, getattr(model, "dtype", "float64")))
            fronts.append(front)
            self.register_buffer(f"matrix{number}", _matrix(blend, model, member.weight))
        self.fronts = nn.ModuleList(fronts)
        self.predictors = nn.ModuleList(predictors)
        self.forest = Forest(forest) if forest else None

    def forward(self, x: Tensor) -> Tensor:
        prepared = [front(x) for front in self.fronts]
        leaves: Any = None
        if self.forest is not None:
            leaves = self.forest(torch.cat([prepared[k] for k in self.spans], dim=1))
        total: Any = 0.0
        for number, predictor in enumerate(self.predictors):
            own = prepared[number].to(self.dtypes[number])
            if number in self.spans:
                start, end = self.spans[number]
                own = leaves[:, start:end]
            total = total + predictor(own).double() @ getattr(self, f"matrix{number}")
        if self.is_classifier:
            total = total / total.sum(dim=1, keepdim=True)
            if self.temperature != 1:
                total = (total.clamp_min(_SMALLEST).log() / self.temperature).softmax(dim=1)
        result: Tensor = total.float()
        return result


def _matrix(blend: Blend, model: Any, weight: float) -> Tensor:
    """Return the weight of a member at the places of the classes that it knows."""
    if blend.classes is None:
        return torch.full((1, 1), weight, dtype=torch.float64)
    places = np.searchsorted(blend.classes, model.classes_)
    matrix = torch.zeros(len(places), len(blend.classes), dtype=torch.float64)
    matrix[torch.arange(len(places)), torch.from_numpy(places)] = weight
    return matrix
