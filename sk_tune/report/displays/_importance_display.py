# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Which hyperparameters the score depends on, as bars."""

from typing import Any, Self

import numpy as np

from sk_tune.report.displays._drawing import (
    CHARACTER_WIDTH,
    COLORS,
    finish,
    new_axes,
    shortened,
)
from sk_tune.report.displays._importance import Importance, importance_of
from sk_tune.report.displays._parameters import parameters_of
from sk_tune.report.displays._trials import trials_of

__all__ = ["HyperparameterImportanceDisplay"]

# Points of a name's font, and how much of the axes' width and height names may take.
_SIZES = (6.0, 10.0)
_WIDTH_OF_NAMES = 0.4
_HEIGHT_OF_NAMES = 0.6


class HyperparameterImportanceDisplay:
    """What part of the score's variance each hyperparameter explains.

    By functional ANOVA of a forest, exact for each tree.  Made by :meth:`from_search`.
    All parameters are stored as attributes.

    Parameters
    ----------
    importance : Importance
        Shares of the variance, and whether the candidates say more than chance would.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where the bars are.
    figure_ : matplotlib Figure
        Where the axes are.
    total_bars_, main_bars_ : BarContainer or None
        Shares with interactions and without, the most important first; None without a
        conclusion.
    noise_line_ : Line2D or None
        What a column of random numbers gets.

    See Also
    --------
    SliceDisplay : In which direction they matter.

    Notes
    -----
    If trees predict the scores of candidates that they have not seen no better than when
    scores are dealt out at random, the title says that there is no conclusion, and no bars
    are drawn: their lengths would be chance.  A bar that is no longer than that of random
    numbers says nothing either.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import GridSearchCV, MLPClassifier
    >>> from sk_tune.report import HyperparameterImportanceDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=8, max_epochs=5, random_state=0)
    >>> search = GridSearchCV(net, {"learning_rate": [0.001, 0.01]}, cv=3).fit(X, y)
    >>> display = HyperparameterImportanceDisplay.from_search(search)
    >>> display.importance.is_conclusive
    False
    """

    def __init__(self, *, importance: Importance) -> None:
        self.importance = importance

    def plot(
        self,
        ax: Any = None,
        *,
        max_parameters: int = 12,
        title: str | None = None,
        bar_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; a new figure if None.
        max_parameters : int, default=12
            How many of the most important ones are drawn.
        title : str or None, default=None
            Instead of the conclusion.
        bar_kw : dict or None, default=None
            For ``ax.barh``.

        Returns
        -------
        self
            With the artists as attributes.
        """
        ax = new_axes(self, ax)
        own = self.importance
        order = own.order[:max_parameters]
        self.total_bars_ = self.main_bars_ = self.noise_line_ = None
        handles: list[Any] = []
        if own.is_conclusive:
            handles = self._draw(ax, order, bar_kw or {})
        else:
            _say_why_empty(ax)
        size, n_characters = _name_size(ax, len(order))
        names = [shortened(own.labels[i], n_characters) for i in order]
        ax.set_yticks(np.arange(len(order)), names, fontsize=size)
        ax.set_ylim(len(order) - 0.4, -0.6)
        longest = float(own.high[order].max(initial=0.0)) if own.is_conclusive else 0.0
        ax.set_xlim(0.0, max(1.0, 1.03 * longest))
        ax.set_xlabel("Share of variance")
        finish(ax, own.message if title is None else title, handles)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw(self, ax: Any, order: list[int], bar_kw: dict[str, Any]) -> list[Any]:
        """Draw the shares, and return what the legend names."""
        own, places = self.importance, np.arange(len(order))
        total, main = own.total[order], own.main[order]
        options = {"color": COLORS["blue"], "height": 0.62, **bar_kw}
        self.total_bars_ = ax.barh(
            places, total, label="Total", **{**options, "alpha": 0.35}
        )
        self.main_bars_ = ax.barh(
            places, main, label="Alone", **{**options, "height": 0.36}
        )
        spread = ax.errorbar(
            total,
            places,
            xerr=np.maximum([total - own.low[order], own.high[order] - total], 0.0),
            fmt="none",
            ecolor=COLORS["black"],
            elinewidth=1.0,
            capsize=3,
            label="80 % of trees",
        )
        self.noise_line_ = ax.axvline(
            own.noise,
            color=COLORS["vermilion"],
            linestyle=":",
            linewidth=1.4,
            label="Random numbers",
        )
        return [self.total_bars_, self.main_bars_, spread, self.noise_line_]

    @classmethod
    def from_search(
        cls,
        search: Any,
        *,
        metric: str | None = None,
        random_state: int = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the bars of a search.

        Parameters
        ----------
        search : estimator
            Fitted: one of sk_tune's, scikit-learn's or scikit-optimize's.
        metric : str or None, default=None
            Which of several metrics; that which decides if None.
        random_state : int, default=0
            Of the forest.
        ax : matplotlib Axes or None, default=None
            Where to draw; a new figure if None.
        **kwargs : dict of str to object
            Of :meth:`plot`.

        Returns
        -------
        HyperparameterImportanceDisplay
            Drawn.
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


def _say_why_empty(ax: Any) -> None:
    ax.text(
        0.5,
        0.5,
        "no bars: their lengths\nwould be chance",
        transform=ax.transAxes,
        ha="center",
        va="center",
        color=COLORS["black"],
        fontsize="small",
    )


def _name_size(ax: Any, n_names: int) -> tuple[float, int]:
    """Return the font size of so many names one above the other, and their length."""
    width, height = (
        side / ax.figure.dpi * 72.0 for side in (ax.bbox.width, ax.bbox.height)
    )
    size = float(np.clip(_HEIGHT_OF_NAMES * height / n_names, *_SIZES))
    return size, max(8, int(_WIDTH_OF_NAMES * width / (CHARACTER_WIDTH * size)))
