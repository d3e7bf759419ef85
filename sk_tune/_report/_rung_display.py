# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Curves of all candidates of a search, and the rungs at which they were dropped."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from sk_tune._declaration import with_inherited_docs
from sk_tune._report._drawing import (
    COLORS,
    check_choice,
    finish,
    needs_log,
    new_axes,
    score_axis,
    set_y_label,
)
from sk_tune._report._epoch_curves import fold_summary, loss_name, score_name
from sk_tune._report._search_trials import Trials, curve_table, trials_of
from sk_tune._search_record import grants_epochs
from sk_tune._text import counted
from sk_tune._types import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# Rungs that span more are drawn on a logarithmic axis.
_LOG_SPAN = 8.0
_QUANTITIES = {"score": "valid_score", "loss": "valid_loss"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CandidateCurve:
    """The curve of one configuration, as means over the folds."""

    row: int  # the last row of ``cv_results_``
    resources: Floats  # epochs, or resources of rungs
    values: Floats
    survives: bool  # to the last rung of its bracket


def candidate_curves(
    search: Any, trials: Trials, quantity: str = "score"
) -> list[CandidateCurve]:
    """Return the curves of configurations by epochs or rungs, by their last result rows."""
    n_resources = pd.Series(trials.n_resources)
    survives = n_resources == n_resources.groupby(trials.brackets).transform("max")
    table = curve_table(search)
    points: dict[int, tuple[Floats, Floats]] = {}
    if counts_epochs(trials) and len(table):
        is_last = table["result_row"].isin(np.flatnonzero(trials.is_last))
        for row, curves in table[is_last].groupby("result_row"):
            folds = curves.pivot(
                index="fold", columns="epoch", values=_QUANTITIES[quantity]
            )
            values = fold_summary(folds.to_numpy(np.float64)).mean
            points[int(str(row))] = (folds.columns.to_numpy(np.float64), values)
    else:
        rungs = pd.Series(trials.configurations).groupby(trials.configurations).groups
        points = {
            int(rows[-1]): (trials.n_resources[rows].astype(float), trials.scores[rows])
            for rows in rungs.values()
        }
    return [
        CandidateCurve(
            row=row, resources=resources, values=values, survives=bool(survives[row])
        )
        for row, (resources, values) in sorted(points.items())
    ]


def counts_epochs(trials: Trials) -> bool:
    """Return whether rungs grant epochs, or the search has no rungs."""
    return trials.resource is None or grants_epochs(trials.resource)


@with_inherited_docs
@dataclass(kw_only=True, eq=False, repr=False)
class RungDisplay:
    """Curves of all candidates, and the rungs at which they were dropped.

    Made by :meth:`from_search`.  All parameters are stored as attributes.

    Parameters
    ----------
    trials : Trials
        Results of the search.
    curves : list of CandidateCurve
        Curves to draw.
    value_name : str
        Label of the axis of values.
    is_loss : bool, default=False
        Whether values are losses.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture.
    figure_ : matplotlib Figure
        Figure with the axes.
    lines_ : dict of int to Line2D
        By the configuration's last row of ``cv_results_``.

    See Also
    --------
    EpochCurveDisplay : Curves of one candidate.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import HalvingGridSearchCV, MLPClassifier
    >>> from sk_tune import RungDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=8, batch_size=16, random_state=0)
    >>> search = HalvingGridSearchCV(
    ...     net, {"learning_rate": [1e-4, 1e-3, 1e-2]}, resource="max_epochs",
    ...     min_resources=2, max_resources=6, cv=3,
    ... ).fit(X, y)
    >>> display = RungDisplay.from_search(search)
    >>> [len(line.get_xdata()) for line in display.lines_.values()]
    [2, 2, 6]
    """

    trials: Trials
    curves: list[CandidateCurve]
    value_name: str
    is_loss: bool = False

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        title: str | None = None,
        line_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the curves.

        Parameters
        ----------
        title : str or None, default=None
            Title in place of the number of candidates trained to the end.
        line_kw : dict or None, default=None
            For ``ax.plot``.
        """
        axes: Any = new_axes(self, ax)
        curves = self.curves
        lines: dict[int, Any] = {}
        for kind, style in _STYLES.items():
            for number, curve in enumerate(c for c in curves if self._kind(c) == kind):
                is_point = len(curve.values) == 1 and kind != "Dropped"
                options = {
                    **style,
                    **({"marker": "o"} if is_point else {}),
                    **(line_kw or {}),
                    # The legend has one line of each kind.
                    "label": f"_{kind}" if number else kind,
                }
                (lines[curve.row],) = axes.plot(curve.resources, curve.values, **options)
        handles = [line for line in lines.values() if not line.get_label().startswith("_")]
        self.lines_ = dict(sorted(lines.items()))
        self._set_axes(axes)
        if title is None:
            title = counted(len(curves), "candidate")
            if self.trials.resource is not None:
                n_end = sum(curve.survives for curve in curves)
                title += f", {n_end} trained to the end"
        return finish(self, axes, title, handles)

    @classmethod
    def from_search(
        cls,
        search: Any,
        *,
        quantity: str = "score",
        metric: str | None = None,
        ax: "Axes | None" = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the curves of a search.

        Parameters
        ----------
        search : estimator
            Fitted search.
        quantity : {"score", "loss"}, default="score"
            Accuracy or R^2 on held-out rows after each epoch, or their loss.
        metric : str or None, default=None
            Metric that decides which candidate is best; it is also drawn if the search has
            no curves by epochs.  The search's deciding metric if None.

        Raises
        ------
        ValueError
            If the search has neither rungs nor networks.
        """
        check_choice("quantity", quantity, tuple(_QUANTITIES))
        trials = trials_of(search, metric)
        has_epochs = counts_epochs(trials) and len(curve_table(search))
        if not has_epochs and trials.resource is None:
            raise ValueError(
                "RungDisplay needs rungs, or networks that trained. "
                f"{type(search).__name__} has neither."
            )
        name = (score_name if quantity == "score" else loss_name)(search)
        display = cls(
            trials=trials,
            curves=candidate_curves(search, trials, quantity),
            value_name=f"{name}, held-out rows" if has_epochs else trials.score_label,
            is_loss=bool(has_epochs and quantity == "loss"),
        )
        return display.plot(ax=ax, **kwargs)

    def _kind(self, curve: CandidateCurve) -> str:
        if curve.row == self.trials.best:
            return "Best"
        if self.trials.resource is None:
            return "Candidate"
        return "Trained to the end" if curve.survives else "Dropped"

    def _set_axes(self, ax: Any) -> None:
        rungs = np.unique(self.trials.n_resources)
        has_rungs = self.trials.resource is not None and len(rungs) > 1
        if has_rungs:
            for rung in rungs[:-1]:
                ax.axvline(
                    rung, color=COLORS["black"], linestyle=":", linewidth=0.8, zorder=1
                )
            if rungs[-1] > _LOG_SPAN * rungs[0]:
                ax.set_xscale("log")
            ax.set_xticks(rungs, [f"{n}" for n in rungs])
            ax.minorticks_off()
        else:
            ax.xaxis.get_major_locator().set_params(integer=True)
        name = (self.trials.resource or "").rpartition("__")[2]
        name = "Samples" if name == "n_samples" else name
        ax.set_xlabel("Epoch" if counts_epochs(self.trials) else name)
        set_y_label(ax, self.value_name)
        values = np.concatenate([np.empty(0), *(curve.values for curve in self.curves)])
        if not self.is_loss:
            score_axis(ax, values[np.isfinite(values)])
        elif needs_log(values):
            ax.set_yscale("log")


_STYLES: dict[str, dict[str, Any]] = {
    "Best": {"color": COLORS["vermilion"], "linewidth": 2.2, "zorder": 4},
    "Trained to the end": {"color": COLORS["blue"], "linewidth": 1.2, "zorder": 3},
    "Candidate": {"color": COLORS["blue"], "linewidth": 0.9, "alpha": 0.6, "zorder": 3},
    "Dropped": {
        "color": COLORS["grey"],
        "linewidth": 0.8,
        "linestyle": "--",
        # The end of a grey line would be hard to find without a marker.
        "marker": "x",
        "markersize": 4,
        "markevery": [-1],
        "zorder": 2,
    },
}
