# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How the score grew while a search went on."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sk_tune.report.displays._drawing import (
    COLORS,
    check_choice,
    counted,
    finish,
    mark_missing,
    new_axes,
    score_axis,
    set_y_label,
)
from sk_tune.report.displays._levels import levels_of
from sk_tune.report.displays._trials import Trials, trials_of

__all__ = ["SearchHistoryDisplay", "progress_of"]

Floats = npt.NDArray[np.float64]

_AXES = {
    "candidate": "Candidate",
    "time": "Time of fits and scores (s)",
    "epochs": "Epochs trained",
}


def progress_of(trials: Trials, x: str = "candidate") -> Floats:
    """Return how far the search was when it had evaluated each row; it never falls.

    `x` counts candidates, seconds of all fits and scores, or epochs of all folds.
    """
    if x == "candidate":
        return np.arange(len(trials.scores), dtype=np.float64)
    spent = trials.seconds if x == "time" else trials.epochs
    return np.cumsum(spent, dtype=np.float64)


class SearchHistoryDisplay:
    """Scores in the order of evaluation, with the best so far.

    Made by :meth:`from_search`.  All parameters are stored as attributes.

    Parameters
    ----------
    trials : Trials
        What the search evaluated.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where the scores are.
    figure_ : matplotlib Figure
        Where the axes are.
    scatters_ : list of PathCollection
        Scores, one collection for each number of resources.
    best_line_ : Line2D
        The best score so far of those with the most resources so far.

    See Also
    --------
    RungDisplay : Curves of all candidates.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import GridSearchCV, MLPClassifier
    >>> from sk_tune.report import SearchHistoryDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=8, max_epochs=5, random_state=0)
    >>> search = GridSearchCV(net, {"learning_rate": [0.001, 0.01]}, cv=3).fit(X, y)
    >>> display = SearchHistoryDisplay.from_search(search, x="epochs")
    >>> display.best_line_.get_xdata().tolist()
    [15.0, 30.0]
    """

    def __init__(self, *, trials: Trials) -> None:
        self.trials = trials

    def plot(
        self,
        ax: Any = None,
        *,
        x: str = "candidate",
        title: str | None = None,
        scatter_kw: dict[str, Any] | None = None,
        line_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the scores.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; a new figure if None.
        x : {"candidate", "time", "epochs"}, default="candidate"
            What the scores are drawn against.
        title : str or None, default=None
            Instead of what the best candidate scored.
        scatter_kw, line_kw : dict or None, default=None
            For ``ax.scatter`` and ``ax.step``.

        Returns
        -------
        self
            With the artists as attributes.

        Raises
        ------
        ValueError
            If `x` is none of these, or "epochs" of a search without networks.
        """
        check_choice("x", x, tuple(_AXES))
        trials = self.trials
        if x == "epochs" and not trials.epochs.any():
            raise ValueError("x='epochs' needs networks. The search trained none.")
        ax = new_axes(self, ax)
        places = progress_of(trials, x)
        options = {"color": COLORS["black"], "linewidth": 1.3, **(line_kw or {})}
        (self.best_line_,) = ax.step(
            *self._best_so_far(places), where="post", label="Best so far", **options
        )
        self.scatters_ = self._draw_scores(ax, places, scatter_kw or {})
        shown = score_axis(ax, trials.scores)
        mark_missing(ax, places, trials.scores, shown)
        ax.set_xlabel(_AXES[x])
        set_y_label(ax, trials.score_label)
        if x == "candidate":
            ax.xaxis.get_major_locator().set_params(integer=True)
            ax.set_xlim(-0.6, len(places) - 0.4)
        finish(ax, self._title() if title is None else title)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_search(
        cls, search: Any, *, metric: str | None = None, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Draw the scores of a search.

        Parameters
        ----------
        search : estimator
            Fitted: one of sk_tune's, scikit-learn's or scikit-optimize's.
        metric : str or None, default=None
            Which of several metrics; that which decides if None.
        ax : matplotlib Axes or None, default=None
            Where to draw; a new figure if None.
        **kwargs : dict of str to object
            Of :meth:`plot`.

        Returns
        -------
        SearchHistoryDisplay
            Drawn.
        """
        return cls(trials=trials_of(search, metric)).plot(ax=ax, **kwargs)

    def _draw_scores(self, ax: Any, places: Floats, options: dict[str, Any]) -> list[Any]:
        trials = self.trials
        return [
            ax.scatter(
                places[level.rows], trials.scores[level.rows], **{**level.style, **options}
            )
            for level in levels_of(trials)
        ]

    def _best_so_far(self, places: Floats) -> tuple[Floats, Floats]:
        """Return the steps, with a gap where a rung with more resources begins."""
        best = self.trials.running_best
        starts = np.flatnonzero(np.diff(self.trials.running_level)) + 1
        return np.insert(places, starts, places[starts]), np.insert(best, starts, np.nan)

    def _title(self) -> str:
        trials = self.trials
        if trials.best is None or not np.isfinite(trials.scores[trials.best]):
            return counted(len(trials.scores), "evaluation")
        score = f"{trials.scores[trials.best]:.4g}"
        return f"Best {trials.score_name}: {score}, candidate {trials.best}"
