# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Trees as the operator TreeEnsembleRegressor of ONNX, with thresholds of 64 bits."""

from typing import Any

import numpy as np

from sk_tune._compat import BoostedTrees, boosted_trees
from sk_tune._onnx_graph import Graph

# The attributes of nodes and leaves, in the order in which they are noted.
_NODES = (
    "treeids nodeids featureids modes values truenodeids falsenodeids "
    "missing_value_tracks_true"
)
_LEAVES = "treeids nodeids ids weights"


class Nodes:
    """The nodes of several trees; each tree adds the value of a leaf to one output.

    A split sends values up to its threshold, or equal to it, to the "true" branch.
    """

    def __init__(self) -> None:
        self.n_trees = 0
        self._nodes: list[tuple[Any, ...]] = []
        self._leaves: list[tuple[Any, ...]] = []

    def add_boosted(self, trees: BoostedTrees, tree: Any, target: int) -> None:
        """Add a tree of scikit-learn's histogram gradient boosting."""
        nodes, subsets = tree
        n_nodes = len(nodes)
        for place, node in enumerate(nodes.tolist()):
            fields = dict(zip(nodes.dtype.names, node, strict=True))
            if fields["is_leaf"]:
                self._add_leaf(place, target, fields["value"])
                continue
            feature, missing = fields["feature_idx"], fields["missing_go_to_left"]
            column, left, right = int(trees.order[feature]), fields["left"], fields["right"]
            if not fields["is_categorical"]:
                threshold = fields["num_threshold"]
                self._add(place, column, "BRANCH_LEQ", threshold, left, right, missing)
                continue
            # Missing and unknown categories differ from all categories of the other branch.
            equal, unequal = (right, left) if missing else (left, right)
            goes_left = subsets[fields["bitset_idx"]][: len(trees.codes[feature])]
            codes = np.asarray(trees.codes[feature])[goes_left != bool(missing)].tolist()
            # No category has the code -1.
            codes = [code for code in codes if code == code] or [-1.0]
            for code in codes[:-1]:
                self._add(place, column, "BRANCH_EQ", code, equal, n_nodes, 0)
                place, n_nodes = n_nodes, n_nodes + 1
            self._add(place, column, "BRANCH_EQ", codes[-1], equal, unequal, 0)
        self.n_trees += 1

    def add_search(self, ends: Any, column: int, n_before: int) -> None:
        """Add a tree that finds the interval of a number, counted from `n_before` on.

        `ends` are the last numbers of all intervals, without the last interval.
        """
        n_nodes = 1
        waiting = [(0, 0, len(ends))]
        while waiting:
            place, first, last = waiting.pop()
            if first == last:
                self._add_leaf(place, column, n_before + first)
                continue
            middle = (first + last) // 2
            branches = n_nodes, n_nodes + 1
            self._add(place, column, "BRANCH_LEQ", ends[middle], *branches, 0)
            waiting += [(branches[0], first, middle), (branches[1], middle + 1, last)]
            n_nodes += 2
        self.n_trees += 1

    def _add(self, place: int, *node: Any) -> None:
        self._nodes.append((self.n_trees, place, *node))

    def _add_leaf(self, place: int, target: int, value: float) -> None:
        self._add(place, 0, "LEAF", 0.0, 0, 0, 0)
        self._leaves.append((self.n_trees, place, target, value))

    def sums(self, graph: Graph, x: Any, n_targets: int) -> Any:
        """Return the sums of the leaves of a sample, (n, n_targets), with 32 bits."""
        attributes: dict[str, Any] = {"n_targets": n_targets}
        for kind, names, rows in (
            ("nodes", _NODES, self._nodes),
            ("target", _LEAVES, self._leaves),
        ):
            columns = zip(names.split(), zip(*rows, strict=True), strict=True)
            attributes |= {f"{kind}_{name}": list(values) for name, values in columns}
        for name in ("nodes_values", "target_weights"):
            values = np.array(attributes.pop(name), dtype=np.float64)
            array = graph.onnx.numpy_helper.from_array(values, name)
            attributes[f"{name}_as_tensor"] = array
        options: dict[str, Any] = {"dtype": np.float32, "domain": "ai.onnx.ml"}
        return graph.op("TreeEnsembleRegressor", x, **options, **attributes)


def add_boosting(graph: Graph, x: Any, model: Any) -> Any:
    """Return the sums of trees and baseline, (n, c), of histogram gradient boosting."""
    trees = boosted_trees(model)
    n_outputs = trees.baseline.shape[1]
    nodes = Nodes()
    for number, tree in enumerate(trees.trees):
        nodes.add_boosted(trees, tree, number % n_outputs)
    raw = nodes.sums(graph, x, n_outputs).cast(np.float64) + trees.baseline
    has_log_link = getattr(model, "loss", "") in {"poisson", "gamma"}
    return graph.op("Exp", raw) if has_log_link else raw
