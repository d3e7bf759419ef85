# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Linear models and boosted trees as modules that ONNX can express.

The trees of all members are walked side by side, a level at a time, in as few steps as the
deepest tree has levels.

Notation: n samples, c columns, T trees, N nodes of all trees, K classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier
from torch import Tensor, nn

from sk_tune._compat import BoostedTrees

__all__ = ["Encoded", "Forest", "LinearPredictor", "TreesOutput"]

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
            for own, of_categories in member.trees:
                nodes.append(own)
                subsets.append(of_categories)
                roots.append(n_nodes)
                offsets.append((n_columns, n_nodes, n_subsets))
                n_nodes += len(own)
                n_subsets += len(of_categories)
            n_columns += member.n_columns
        sizes = [len(own) for own in nodes]
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
            # The first row stands for splits of numbers.
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
            own = x.gather(1, self.feature[place])
            goes_left = (own <= self.threshold[place]).long()
            if self.has_subsets:
                code = torch.where(own.isnan(), 0.0, own).clamp(0, 255).long()
                row = self.categories[place]
                goes_left = torch.where(row > 0, self.subset[row, code], goes_left)
            goes_left = torch.where(own.isnan(), self.missing[place], goes_left)
            place = self.child[2 * place + goes_left]
        return self.value[place]


class TreesOutput(nn.Module):
    """What a member makes of the leaves of its trees."""

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
            # One more for values that the training rows did not have.
            table = np.full(int(known[is_there].max(initial=0)) + 2, np.nan)
            table[known[is_there].astype(int)] = np.flatnonzero(is_there)
            self.register_buffer(f"table{column}", torch.from_numpy(table))

    def forward(self, x: Tensor) -> Tensor:
        own = x.index_select(1, self.order)
        coded = []
        for column in range(self.n_coded):
            table = getattr(self, f"table{column}")
            place = own[:, column].clamp(0, len(table) - 1).long()
            coded.append(table[place].unsqueeze(1))
        return torch.cat([*coded, own[:, self.n_coded :]], dim=1)


def _predictions(raw: Tensor, is_classifier: bool) -> Tensor:  # noqa: FBT001
    if not is_classifier:
        return raw
    if raw.shape[1] == 1:
        return torch.cat([(-raw).sigmoid(), raw.sigmoid()], dim=1)
    return raw.softmax(dim=1)
