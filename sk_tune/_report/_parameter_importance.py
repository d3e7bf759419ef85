# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Which hyperparameters the score depends on: functional ANOVA of a forest.

Notation, as in Hutter et al. [1]_: N trials, D columns, a tree of L leaves with boxes that
partition the space.  V is the variance of a tree's prediction over the space; a column's
main share is the variance of the mean over all other columns, in parts of V, and its total
share the remainder of V after subtracting the variance of the mean over that column [2]_.

Each column is a finite set of equally likely values, so that all of these are exact
sums over leaves and pairs of leaves, without sampling.

References
----------
.. [1] F. Hutter, H. Hoos, K. Leyton-Brown. An efficient approach for assessing
   hyperparameter importance. ICML 2014.  Section 3.
.. [2] I. M. Sobol'. Global sensitivity indices for nonlinear mathematical models and their
   Monte Carlo estimates. Mathematics and Computers in Simulation 55:271-280, 2001.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.tree import DecisionTreeRegressor

from sk_tune._declaration import with_inherited_docs
from sk_tune._report._drawing import COLORS, Display, label_width, score_range, shortened
from sk_tune._report._search_trials import Parameter, parameters_of, trials_of
from sk_tune._text import counted
from sk_tune._types import Bools, Floats, Integers

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# Values of a column that fill the range from 0 to 1 evenly.
_FILLED = (np.arange(128) + 0.5) / 128
# A column with fewer distinct values than this part of the trials is a list of these.
_LISTED = 0.5
_LEAST_LEAF = 2
# Fewer configurations give no conclusion.
_LEAST_TRIALS = 5
_LEVEL = 0.05
# A share this many times as large as the share of random numbers is not luck.
_STANDS_OUT = 2.0
# Ends of the spread over trees.
_QUANTILES = (0.1, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Importance:
    """Shares of the score's variance over the space, (n_parameters,), means over trees."""

    labels: tuple[str, ...]
    main: Floats  # of each parameter alone
    total: Floats  # with its interactions
    low: Floats  # 10 % quantile of the total over trees
    high: Floats  # 90 % quantile
    noise: float  # total of a column of random numbers
    r2: float  # of the trees on unseen trials
    p_value: float  # of `r2`, by permuted scores
    n_trials: int  # configurations with a score

    @property
    def is_conclusive(self) -> bool:
        """Whether trees predict unseen trials better than chance."""
        return self.p_value <= _LEVEL and self.r2 > 0

    @property
    def order(self) -> list[int]:
        """Positions of the parameters, the most important first."""
        return [int(i) for i in np.argsort(-self.total, kind="stable")]

    @property
    def message(self) -> str:
        trials = counted(self.n_trials, "candidate")
        if self.n_trials < _LEAST_TRIALS:
            return f"No conclusion: {trials} with a score; at least {_LEAST_TRIALS} needed"
        if not self.is_conclusive:
            return f"No conclusion: {trials} do not predict scores better than chance"
        first = self.order[0]
        if self.total[first] < _STANDS_OUT * self.noise:
            return f"No parameter stands out from random numbers ({trials})"
        share = f"{100 * self.total[first]:.0f} %"
        name = shortened(self.labels[first], 24)
        return f"{name} matters most: {share} of the variance ({trials})"


def importance_of(
    parameters: Sequence[Parameter],
    scores: Floats,
    *,
    configurations: Integers | None = None,
    n_resources: Integers | None = None,
    n_trees: int = 32,
    n_permutations: int = 19,
    random_state: int = 0,
) -> Importance:
    """Return the share of the variance of scores, (n_rows,), that each parameter explains.

    `configurations` are equal for rows of a configuration; shares are for the largest of
    `n_resources`. With fewer than 5 configurations, or equal scores, the p-value is 1 and
    shares are 0. If parameters do not matter, the p-value is at most 0.05 in 5 % of
    searches, for any number of trials; that needs 19 permutations.
    """
    is_scored = np.isfinite(scores)
    if configurations is None:
        configurations = np.arange(len(scores))
    levels = np.zeros(len(scores), dtype=np.int64) if n_resources is None else n_resources
    codes, supports = _columns(parameters, is_scored, levels)
    configurations, levels = configurations[is_scored], levels[is_scored]
    scores = np.maximum(scores[is_scored], score_range(scores)[0])
    n_trials, n = len(np.unique(configurations)), len(parameters)
    shares, r2, p_value = np.zeros((1, 2, n + 1)), float("nan"), 1.0
    if n_trials >= _LEAST_TRIALS and np.ptp(scores) > 0:
        rng = np.random.default_rng(random_state)
        grown = partial(_grown, codes, configurations, levels, n_trees=n_trees, rng=rng)
        trees, r2 = grown(scores)
        n_better = 0
        for _ in range(n_permutations):
            # Scores in random order among trials with the same resources.
            permuted = scores.copy()
            for level in np.unique(levels):
                rows = np.flatnonzero(levels == level)
                permuted[rows] = scores[rng.permutation(rows)]
            n_better += grown(permuted)[1] >= r2
        p_value = (1 + n_better) / (1 + n_permutations)
        of_trees = np.array([variance_shares(tree, [*supports, _FILLED]) for tree in trees])
        # Constant trees have no variance.
        of_trees = of_trees[np.isfinite(of_trees).all(axis=(1, 2))]
        # (trees, 2, columns); the last column is of random numbers.
        shares = of_trees if len(of_trees) else shares
    main, total = shares.mean(axis=0)
    low, high = np.quantile(shares[:, 1, :n], _QUANTILES, axis=0)
    return Importance(
        labels=tuple(p.label for p in parameters),
        main=main[:n],
        total=total[:n],
        low=low,
        high=high,
        noise=float(total[-1]),
        r2=r2,
        p_value=p_value,
        n_trials=n_trials,
    )


def variance_shares(
    tree: DecisionTreeRegressor, supports: Sequence[Floats]
) -> tuple[Floats, Floats]:
    """Return each column's share of a tree's variance, alone and with interactions, (D,).

    The columns vary independently over their equally likely values, `supports`. Exact, in
    O(D L (L + S)) for S values of a column; NaN if the variance is 0.

    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> tree = DecisionTreeRegressor(random_state=0).fit(X, 3 * X[:, 0] + 4 * X[:, 1])
    >>> main, total = variance_shares(tree, [np.array([0.0, 1.0])] * 2)
    >>> main.round(2).tolist(), total.round(2).tolist()
    ([0.36, 0.64], [0.36, 0.64])
    """
    values, lows, highs = _leaves(tree)
    inside = [
        (support > low[:, np.newaxis]) & (support <= high[:, np.newaxis])
        for support, low, high in zip(supports, lows.T, highs.T, strict=True)
    ]
    parts = np.array([mask.mean(axis=1) for mask in inside])  # (D, L)
    # A leaf that no value reaches has no share, and would divide by 0.
    is_reached = parts.prod(axis=0) > 0
    values, parts = values[is_reached], parts[:, is_reached]
    inside = [mask[is_reached].astype(np.float64) for mask in inside]
    shares = parts.prod(axis=0)
    # Without the mean: its square would cost digits.
    values = values - shares @ values
    both = [mask @ mask.T / mask.shape[1] for mask in inside]  # (L, L) each
    variance = values @ reduce(np.multiply, both) @ values
    scale = np.abs(values).max(initial=0.0) ** 2
    if variance <= 1e-12 * scale or scale == 0:
        undefined = np.full(len(supports), np.nan)
        return undefined, undefined
    main, total = np.empty(len(supports)), np.empty(len(supports))
    for j, mask in enumerate(inside):
        marginal = (values * shares / parts[j]) @ mask
        main[j] = np.mean(marginal**2) / variance
        overlaps = reduce(np.multiply, both[:j] + both[j + 1 :], np.ones_like(both[0]))
        weights = values * parts[j]
        total[j] = 1.0 - weights @ overlaps @ weights / variance
    return main, total


def _leaves(tree: DecisionTreeRegressor) -> tuple[Floats, Floats, Floats]:
    """Return the value of each leaf and the ends of its box, of shape (L, D)."""
    nodes = tree.tree_
    lows = np.full((nodes.node_count, nodes.n_features), -np.inf)
    highs = np.full((nodes.node_count, nodes.n_features), np.inf)
    is_leaf = nodes.children_left < 0
    # Parents are numbered before their children.
    for node in np.flatnonzero(~is_leaf):
        left, right = nodes.children_left[node], nodes.children_right[node]
        feature, threshold = nodes.feature[node], nodes.threshold[node]
        lows[[left, right]], highs[[left, right]] = lows[node], highs[node]
        highs[left, feature] = lows[right, feature] = threshold
    values = nodes.value[is_leaf, 0, 0].astype(np.float64)
    return values, lows[is_leaf], highs[is_leaf]


def _columns(
    parameters: Sequence[Parameter], is_scored: Bools, levels: Integers
) -> tuple[Floats, list[Floats]]:
    """Return scored trials as numbers, (N, D), and the likely values of each column."""
    columns, supports = [], []
    for parameter in parameters:
        # A missing parameter is the middle of the range, or a category of its own.
        codes, absent = parameter.codes, 0.5
        if parameter.categories:
            codes, absent = parameter.values, float(len(parameter.categories))
        codes = np.where(parameter.is_active, codes, absent)
        distinct = np.unique(codes[is_scored])
        is_listed = parameter.categories or len(distinct) <= _LISTED * is_scored.sum()
        columns.append(codes)
        supports.append(distinct if is_listed else _FILLED)
    if len(np.unique(levels[is_scored])) > 1:
        columns.append(np.log(np.maximum(levels, 1)))
        supports.append(columns[-1][is_scored].max(keepdims=True))
    return np.array(columns).T.reshape(len(levels), -1)[is_scored], supports


def _grown(
    codes: Floats,
    configurations: Integers,
    levels: Integers,
    scores: Floats,
    *,
    n_trees: int,
    rng: np.random.Generator,
) -> tuple[list[DecisionTreeRegressor], float]:
    """Return trees, and R^2 of their mean on unseen trials."""
    n_rows = len(scores)
    distinct, numbers = np.unique(configurations, return_inverse=True)
    sums, counts = np.zeros(n_rows), np.zeros(n_rows)
    trees = []
    for _ in range(n_trees):
        # Trials of a configuration are drawn together, or one would leak to the rest.
        n = len(distinct)
        drawn = np.bincount(rng.integers(n, size=n), minlength=n)
        weights = drawn[numbers].astype(np.float64)
        is_drawn = weights > 0
        # A new random column for each tree averages out its luck.
        inputs = np.column_stack([codes, rng.uniform(size=n_rows)]).astype(np.float32)
        tree = DecisionTreeRegressor(
            min_samples_leaf=_LEAST_LEAF, random_state=int(rng.integers(2**31 - 1))
        )
        # Checks of the input would take half the time.
        tree.fit(inputs[is_drawn], scores[is_drawn], weights[is_drawn], check_input=False)
        trees.append(tree)
        if not is_drawn.all():
            sums[~is_drawn] += tree.predict(inputs[~is_drawn], check_input=False)
        counts[~is_drawn] += 1
    is_unseen = counts > 0
    errors = scores[is_unseen] - sums[is_unseen] / counts[is_unseen]
    # Squares around the means of trials with the same resources.
    _, groups = np.unique(levels[is_unseen], return_inverse=True)
    means = np.bincount(groups, scores[is_unseen]) / np.bincount(groups)
    within = scores[is_unseen] - means[groups]
    squares = max(float(within @ within), float(np.finfo(np.float64).tiny))
    return trees, 1.0 - float(errors @ errors) / squares


@with_inherited_docs
@dataclass(kw_only=True, eq=False, repr=False)
class HyperparameterImportanceDisplay(Display):
    """Share of the score's variance that each hyperparameter explains.

    Functional ANOVA of a forest, exact for each tree.  Made by :meth:`from_search`.
    All parameters are stored as attributes.

    Parameters
    ----------
    importance : Importance
        Shares of the variance, and whether they are distinguishable from chance.

    Attributes
    ----------
    {attributes}
    total_bars_, main_bars_ : BarContainer or None
        Shares with interactions and without, the most important first; None without a
        conclusion.
    noise_line_ : Line2D or None
        Share of a column of random numbers.

    See Also
    --------
    report : A page that also shows in which direction they matter.

    Notes
    -----
    If trees predict scores of unseen candidates no better than permuted scores, the title
    says "No conclusion", and bars are not drawn, because their lengths would be chance.  A
    bar that is not longer than the bar of random numbers has no meaning either.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import GridSearchCV, MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=8, max_epochs=5, random_state=0)
    >>> search = GridSearchCV(net, {"learning_rate": [0.001, 0.01]}, cv=3).fit(X, y)
    >>> from sk_tune import HyperparameterImportanceDisplay
    >>> display = HyperparameterImportanceDisplay.from_search(search)
    >>> display.importance.is_conclusive
    False
    """

    importance: Importance

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        max_parameters: int = 12,
        title: str | None = None,
        bar_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the bars.

        Parameters
        ----------
        max_parameters : int, default=12
            Number of parameters to draw, the most important first.
        title : str or None, default=None
            Title in place of the conclusion.
        bar_kw : dict or None, default=None
            For ``ax.barh``.
        """
        axes: Any = self._new_axes(ax)
        importance = self.importance
        order = importance.order[:max_parameters]
        self.total_bars_ = self.main_bars_ = self.noise_line_ = None
        handles: list[Any] = []
        if importance.is_conclusive:
            handles = self._draw(axes, order, bar_kw or {})
        else:
            why = "no bars: their lengths\nwould be chance"
            middle = {"ha": "center", "va": "center", "transform": axes.transAxes}
            axes.text(0.5, 0.5, why, color=COLORS["black"], fontsize="small", **middle)
        # Names take less than half of the width.
        n_characters = max(8, int(0.4 * label_width(axes, "small")))
        names = [shortened(importance.labels[i], n_characters) for i in order]
        height = 72.0 * axes.bbox.height / axes.figure.dpi / max(1, len(order))
        size = min(8.3, max(6.0, 0.6 * height))
        axes.set_yticks(np.arange(len(order)), names, fontsize=size)
        axes.set_ylim(len(order) - 0.4, -0.6)
        longest = importance.high[order].max(initial=0.0) * importance.is_conclusive
        axes.set_xlim(0.0, max(1.0, 1.03 * float(longest)))
        axes.set_xlabel("Share of variance")
        return self._finish(axes, importance.message if title is None else title, handles)

    def _draw(self, ax: Any, order: list[int], bar_kw: dict[str, Any]) -> list[Any]:
        """Draw the shares, and return the artists of the legend."""
        importance, places = self.importance, np.arange(len(order))
        total, main = importance.total[order], importance.main[order]
        options = {"color": COLORS["blue"], "height": 0.62, **bar_kw}
        faint, thin = {**options, "alpha": 0.35}, {**options, "height": 0.36}
        self.total_bars_ = ax.barh(places, total, label="Total", **faint)
        self.main_bars_ = ax.barh(places, main, label="Alone", **thin)
        spread = [total - importance.low[order], importance.high[order] - total]
        bounds = ax.errorbar(
            total,
            places,
            xerr=np.maximum(spread, 0.0),
            fmt="none",
            ecolor=COLORS["black"],
            elinewidth=1.0,
            capsize=3,
            label="80 % of trees",
        )
        self.noise_line_ = ax.axvline(
            importance.noise,
            color=COLORS["vermilion"],
            linestyle=":",
            linewidth=1.4,
            label="Random numbers",
        )
        return [self.total_bars_, self.main_bars_, bounds, self.noise_line_]

    @classmethod
    def from_search(
        cls,
        search: Any,
        *,
        metric: str | None = None,
        random_state: int = 0,
        ax: "Axes | None" = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the bars of a search.

        Parameters
        ----------
        search : estimator
            Fitted search of sk_tune, scikit-learn or scikit-optimize.
        metric : str or None, default=None
            Metric of a search with several; the deciding metric if None.
        random_state : int, default=0
            Seed of the forest.
        """
        trials = trials_of(search, metric)
        importance = importance_of(
            parameters_of(trials.params),
            trials.scores,
            configurations=trials.configurations,
            n_resources=trials.n_resources,
            random_state=random_state,
        )
        return cls(importance=importance).plot(ax=ax, **kwargs)
