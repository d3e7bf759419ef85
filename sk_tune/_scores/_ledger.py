# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Costs and savings of a search."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sk_tune._text import html_table, seconds_text, text_table

# Labels of the timed parts of a search.
_PARTS = {
    **{name: name for name in ("preparing", "training", "scoring")},
    "sampling": "choosing candidates",
    "refit": "refit",
    "total": "total",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Costs and savings of a search; epochs are summed over candidates and folds.

    Parameters
    ----------
    n_candidates : int
        Configurations.
    n_fits : int
        Trainings of one candidate on one fold in one rung.
    epochs_trained : int
        Epochs trained in this run.
    epochs_loaded : int
        Epochs of an earlier run, loaded from the store.
    epochs_full : int
        Epochs if all candidates were trained to the end on all folds; a rung that starts
        from scratch counts its candidates again.
    epochs_saved_by_pruning : int
        Part of `epochs_full` that was saved because candidates were not promoted.
    epochs_saved_by_early_stopping : int
        Epochs saved because fits stopped early.
    epochs_cut_by_failure : int
        Epochs that failed fits did not train.
    epochs_saved_by_warm_start : int
        Epochs saved because rungs continue instead of starting from scratch; not part of
        `epochs_full`.
    n_failed : int
        Fits that failed.
    n_in_fleets : int
        Fits that were trained in fleets.
    epochs_left_out : int, default=0
        Epochs of unfinished candidates when the time budget, Ctrl-C or a callback ended the
        search.
    epochs_trained_again : int, default=0
        Epochs repeated to reach the best epoch, with select_epoch="best".
    alone_reasons : mapping of str to int, default=empty
        Reasons for training fits alone, with their counts.
    remarks : mapping of str to int, default=empty
        Results that other fits lack, such as a held-out curve, with their counts.
    seconds : mapping of str to float, default=empty
        Seconds by part: "preparing" (transformers and other work before training),
        "training", "scoring", "sampling" (the choice of candidates), "refit" (the best
        candidate on all samples), and "total", which includes unlisted parts.

    Notes
    -----
    With warm rungs, ``epochs_full = epochs_trained + epochs_loaded +
    epochs_saved_by_pruning + epochs_saved_by_early_stopping + epochs_cut_by_failure +
    epochs_left_out``.
    """

    n_candidates: int
    n_fits: int
    epochs_trained: int
    epochs_loaded: int
    epochs_full: int
    epochs_saved_by_pruning: int
    epochs_saved_by_early_stopping: int
    epochs_cut_by_failure: int
    epochs_saved_by_warm_start: int
    n_failed: int = 0
    n_in_fleets: int = 0
    epochs_left_out: int = 0
    epochs_trained_again: int = 0
    alone_reasons: Mapping[str, int] = field(default_factory=dict)
    remarks: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def n_alone(self) -> int:
        """Fits trained outside of any fleet."""
        return sum(self.alone_reasons.values())

    @property
    def counts(self) -> dict[str, int]:
        """Costs and savings by name; without epochs if there were none."""
        counts = {
            "candidates": self.n_candidates,
            "fits": self.n_fits,
            "fits that failed": self.n_failed,
        }
        if not self.epochs_full:
            return counts | ({"fits trained alone": self.n_alone} if self.n_alone else {})
        return counts | {
            "fits trained in fleets": self.n_in_fleets,
            "fits trained alone": self.n_alone,
            "epochs trained": self.epochs_trained,
            "epochs loaded from an earlier run": self.epochs_loaded,
            "epochs trained again to reach the best epoch": self.epochs_trained_again,
            "epochs if all were trained to the end": self.epochs_full,
            "epochs saved by pruning": self.epochs_saved_by_pruning,
            "epochs saved by early stopping": self.epochs_saved_by_early_stopping,
            "epochs cut by failures": self.epochs_cut_by_failure,
            "epochs left out when the search ended": self.epochs_left_out,
            "epochs saved by warm start": self.epochs_saved_by_warm_start,
        }

    @property
    def times(self) -> dict[str, str]:
        """Times of the parts of the search, by name, as text."""
        return {
            label: seconds_text(self.seconds.get(name, 0.0))
            for name, label in _PARTS.items()
        }

    @property
    def reasons(self) -> dict[str, int]:
        """Counts of fits trained alone, or with other shortcomings, by their reasons."""
        alone = {f"trained alone: {why}": n for why, n in self.alone_reasons.items()}
        return alone | dict(self.remarks)

    def __str__(self) -> str:
        spent = ", ".join(f"{name} {time}" for name, time in self.times.items())
        reasons = [f"{n} {why}" for why, n in self.reasons.items()]
        counts = text_table(["spent", "count"], list(self.counts.items()))
        return "\n".join([counts, spent, *reasons])

    def _repr_html_(self) -> str:
        rows = [*self.counts.items(), *self.reasons.items(), *self.times.items()]
        return html_table(["spent", "amount"], rows)
