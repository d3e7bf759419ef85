# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""An average of models as one ONNX model, with the preparation of their columns.

Each model has a preparation that was fitted on its fold.  The ONNX model takes a column as
a number, a date as days, a category as its place in a list; what a preparation makes of a
category is looked up in a table, which the fitted transformer filled.  The trees of all
members are walked side by side, a level at a time, in as many steps as the deepest has.

Notation: n samples, c columns, T trees, N nodes of all trees, K classes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import FunctionTransformer
from torch import Tensor, nn

from sk_tune._compat import BoostedTrees, boosted_trees
from sk_tune._files import replaced_file
from sk_tune.automl._blend import Blend
from sk_tune.automl._models import ChannelScaler
from sk_tune.automl._onnx_columns import TableColumns, front_of, not_expressible
from sk_tune.ensemble import NetworkInput, WeightedSum, network_of
from sk_tune.estimators import NetworkPredictor, export_module
from sk_tune.prepare import TablePreparer

# Losses of boosting whose trees sum up to logarithms.
_OF_LOGARITHMS = {"poisson", "gamma"}


class LinearPredictor(nn.Module):
    """Logistic or ridge regression."""

    weight: Tensor
    bias: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.is_classifier = is_classifier(model)
        self.register_buffer(
            "weight", torch.from_numpy(np.atleast_2d(model.coef_).T.copy())
        )
        bias = np.full(self.weight.shape[1], model.intercept_)
        self.register_buffer("bias", torch.from_numpy(bias.astype(np.float64)))

    def forward(self, x: Tensor) -> Tensor:
        return _predictions(x @ self.weight + self.bias, self.is_classifier)


class Forest(nn.Module):
    """All boosted trees of an average.

    Of node k, ``child[2 k]`` is where the walk goes if the split is false, and
    ``child[2 k + 1]`` where it goes if it is true; a leaf leads to itself.
    """

    feature: Tensor
    threshold: Tensor
    missing: Tensor
    child: Tensor
    value: Tensor
    root: Tensor
    categories: Tensor
    subset: Tensor

    def __init__(self, members: Sequence[BoostedTrees]) -> None:
        super().__init__()
        nodes, subsets, roots, offsets = [], [], [], []
        n_columns = n_nodes = n_subsets = 0
        for member in members:
            for tree, of_categories in member.trees:
                nodes.append(tree)
                subsets.append(of_categories)
                roots.append(n_nodes)
                offsets.append((n_columns, n_nodes, n_subsets))
                n_nodes += len(tree)
                n_subsets += len(of_categories)
            n_columns += member.n_columns
        sizes = [len(tree) for tree in nodes]
        column, node, subset = np.repeat(np.array(offsets).T, sizes, axis=1)
        all_nodes = np.concatenate(nodes)
        is_leaf = all_nodes["is_leaf"].astype(bool)
        places = np.arange(n_nodes)
        child = np.stack([all_nodes["right"] + node, all_nodes["left"] + node], axis=1)
        child = np.where(is_leaf[:, None], places[:, None], child)
        is_subset = all_nodes["is_categorical"].astype(bool) & ~is_leaf
        arrays = {
            "feature": np.where(is_leaf, 0, all_nodes["feature_idx"]) + column,
            "threshold": np.where(is_leaf, 0.0, all_nodes["num_threshold"]),
            "missing": all_nodes["missing_go_to_left"].astype(np.int64),
            "child": child.ravel(),
            "value": all_nodes["value"],
            "root": np.array(roots),
            # The first line stands for splits of numbers.
            "categories": np.where(is_subset, all_nodes["bitset_idx"] + subset + 1, 0),
            "subset": np.concatenate([np.zeros((1, 256), dtype=bool), *subsets]).astype(
                int
            ),
        }
        for name, values in arrays.items():
            kind = np.float64 if name in {"threshold", "value"} else np.int64
            self.register_buffer(name, torch.from_numpy(values.astype(kind)))
        self.depth = int(all_nodes["depth"].max(initial=0))
        self.has_subsets = n_subsets > 0

    def forward(self, x: Tensor) -> Tensor:
        """Return the value of the leaf of each tree, of shape (n, T)."""
        place = self.root.expand(x.shape[0], -1)
        for _ in range(self.depth):
            values = x.gather(1, self.feature[place])
            goes_left = (values <= self.threshold[place]).long()
            if self.has_subsets:
                code = torch.where(values.isnan(), 0.0, values).clamp(0, 255).long()
                row = self.categories[place]
                goes_left = torch.where(row > 0, self.subset[row, code], goes_left)
            goes_left = torch.where(values.isnan(), self.missing[place], goes_left)
            place = self.child[2 * place + goes_left]
        return self.value[place]


class TreesOutput(nn.Module):
    """The predictions of a boosting member, from the leaves of its trees."""

    baseline: Tensor

    def __init__(self, trees: BoostedTrees, model: Any) -> None:
        super().__init__()
        self.is_classifier = is_classifier(model)
        self.has_logarithms = getattr(model, "loss", "") in _OF_LOGARITHMS
        self.register_buffer("baseline", torch.from_numpy(trees.baseline))

    def forward(self, leaves: Tensor) -> Tensor:
        n_outputs = self.baseline.shape[1]
        raw = leaves.reshape(leaves.shape[0], -1, n_outputs).sum(dim=1) + self.baseline
        return raw.exp() if self.has_logarithms else _predictions(raw, self.is_classifier)


class Encoded(nn.Module):
    """Columns in the order in which trees count them, categories by their codes."""

    order: Tensor

    def __init__(self, trees: BoostedTrees) -> None:
        super().__init__()
        self.register_buffer("order", torch.from_numpy(np.asarray(trees.order)))
        self.n_coded = len(trees.codes)
        for column, values in trees.codes.items():
            known = np.asarray(values, dtype=np.float64)
            is_there = ~np.isnan(known)
            # One more for values that the training samples did not have.
            table = np.full(int(known[is_there].max(initial=0)) + 2, np.nan)
            table[known[is_there].astype(int)] = np.flatnonzero(is_there)
            self.register_buffer(f"table{column}", torch.from_numpy(table))

    def forward(self, x: Tensor) -> Tensor:
        ordered = x.index_select(1, self.order)
        coded = []
        for column in range(self.n_coded):
            table = getattr(self, f"table{column}")
            place = ordered[:, column].clamp(0, len(table) - 1).long()
            coded.append(table[place].unsqueeze(1))
        return torch.cat([*coded, ordered[:, self.n_coded :]], dim=1)


def _predictions(raw: Tensor, is_classifier: bool) -> Tensor:  # noqa: FBT001
    if not is_classifier:
        return raw
    if raw.shape[1] == 1:
        return torch.cat([(-raw).sigmoid(), raw.sigmoid()], dim=1)
    return raw.softmax(dim=1)


_BOOSTING = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
_LINEAR = (LogisticRegression, Ridge)


def export_blend(
    blend: Blend, path: str | Path, row_shape: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Write an average of models as ONNX, and return what it takes and is made of."""
    members = blend.combination.members
    networks, about = [], []
    folds: dict[str, int] = {}
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
        fold = folds[name] = folds.get(name, -1) + 1
        about.append({"model": name, "fold": fold, "weight": member.weight})
    columns = _columns(blend)
    module = _BlendModule(blend, columns)
    shape = row_shape if columns is None else (len(columns),)
    example = torch.zeros(2, *shape, dtype=torch.float64)
    is_classifier = blend.classes is not None
    with replaced_file(Path(path)) as temporary:
        export_module(module, networks, example, temporary, is_classifier=is_classifier)
    inputs: list[dict[str, Any]] = []
    for name, (kind, values) in (columns or {}).items():
        more: dict[str, dict[str, Any]] = {
            "date": {"unit": "days since 1970-01-01"},
            "category": {"values": values},
        }
        inputs.append({"name": name, "kind": kind, **more.get(kind, {})})
    classes = [] if blend.classes is None else [str(label) for label in blend.classes]
    return {"inputs": inputs, "classes": classes, "members": about}


def _columns(blend: Blend) -> dict[str, tuple[str, list[str]]] | None:
    """Return the columns, and categories, that members know; None if X is no table."""
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
        for _, encoder, names in prepare.columns_.transformers_:
            found = getattr(encoder, "encoder_", encoder)
            if not hasattr(found, "categories_"):
                continue
            for column, values in zip(names, found.categories_, strict=True):
                _, listed = columns[column]
                listed += [str(v) for v in values if str(v) not in listed]
    return columns


class _BlendModule(nn.Module):
    """The weighted sum of models, each behind its preparation."""

    def __init__(self, blend: Blend, columns: TableColumns | None) -> None:
        super().__init__()
        fronts: list[nn.Module] = []
        predictors: list[nn.Module] = []
        # Where the trees of each boosting member begin and end among all trees.
        self.spans: dict[int, tuple[int, int]] = {}
        forest: list[BoostedTrees] = []
        members = [member.estimator for member in blend.combination.members]
        for number, (name, member) in enumerate(zip(blend.names, members, strict=True)):
            *steps, model = (step for _, step in member.steps)
            front = front_of(steps, columns, name)
            if isinstance(model, _BOOSTING):
                trees = boosted_trees(model)
                front = nn.Sequential(front, Encoded(trees))
                start = sum(len(earlier.trees) for earlier in forest)
                self.spans[number] = start, start + len(trees.trees)
                forest.append(trees)
                predictors.append(TreesOutput(trees, model))
            elif isinstance(model, _LINEAR):
                predictors.append(LinearPredictor(model))
            else:
                front = nn.Sequential(front, NetworkInput(model))
                predictors.append(NetworkPredictor(model))
            fronts.append(front)
        self.fronts = nn.ModuleList(fronts)
        self.predictors = nn.ModuleList(predictors)
        self.forest = Forest(forest) if forest else None
        models = [member[-1] for member in members]
        self.weighted_sum = WeightedSum(blend.parts, models, torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        prepared = [front(x) for front in self.fronts]
        leaves: Any = None
        if self.forest is not None:
            leaves = self.forest(torch.cat([prepared[k] for k in self.spans], dim=1))
        predicted = []
        for number, predictor in enumerate(self.predictors):
            inputs = prepared[number]
            if number in self.spans:
                start, end = self.spans[number]
                inputs = leaves[:, start:end]
            predicted.append(predictor(inputs))
        result: Tensor = self.weighted_sum(predicted).float()
        return result
