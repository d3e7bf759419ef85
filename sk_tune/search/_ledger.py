# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The account of a search: epochs and seconds that it spent, and those that it saved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sk_tune._text import seconds_text, text_table
from sk_tune.search._outcomes import FoldOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What a search spent and saved; epochs are summed over candidates and folds.

    Parameters
    ----------
    n_candidates : int
        Configurations that were tried.
    n_fits : int
        Trainings of one candidate on one fold in one rung.
    epochs_trained : int
        Epochs that were trained.
    epochs_loaded : int
        Epochs that an earlier run had trained, taken from the store.
    epochs_full : int
        Epochs of all candidates in all folds, each trained to the end once; a rung that
        begins anew counts its candidates once more.
    epochs_saved_by_pruning : int
        Of these, those of candidates that were not promoted, or lost a race.
    epochs_saved_by_early_stopping : int
        Those that fits granted them did not need.
    epochs_cut_by_failure : int
        Those that failed fits did not come to.
    epochs_saved_by_warm_start : int
        Epochs that would have been trained again if each rung began anew; not part of
        `epochs_full`.
    n_failed : int
        Fits that failed.
    n_rows : int
        Fits that were trained in fleets.
    epochs_trained_again : int, default=0
        Epochs trained once more to get to the best one, with epochs="best".
    solo_reasons : mapping of str to int, default=empty
        Why fits were trained one at a time, and how many for each reason.
    seconds_preparing : float, default=0.0
        Of transformers, and of what goes before training.
    seconds_training : float, default=0.0
        Of the engine.
    seconds_scoring : float, default=0.0
        Of scorers.
    seconds_sampling : float, default=0.0
        Of choosing the next candidates.
    seconds_refit : float, default=0.0
        Of the best candidate on all samples.
    seconds_total : float, default=0.0
        Of the search, with what is named nowhere else.

    Notes
    -----
    With warm rungs, ``epochs_full = epochs_trained + epochs_loaded +
    epochs_saved_by_pruning + epochs_saved_by_early_stopping + epochs_cut_by_failure``.
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
    n_rows: int = 0
    epochs_trained_again: int = 0
    solo_reasons: Mapping[str, int] = field(default_factory=dict)
    seconds_preparing: float = 0.0
    seconds_training: float = 0.0
    seconds_scoring: float = 0.0
    seconds_sampling: float = 0.0
    seconds_refit: float = 0.0
    seconds_total: float = 0.0

    @property
    def n_solo(self) -> int:
        """Fits that no fleet could carry."""
        return sum(self.solo_reasons.values())

    @property
    def counts(self) -> dict[str, int]:
        """What was trained and saved, by name; without epochs if there were none."""
        counts = {
            "candidates": self.n_candidates,
            "fits": self.n_fits,
            "fits that failed": self.n_failed,
        }
        if not self.epochs_full:
            return counts
        return counts | {
            "fits trained in fleets": self.n_rows,
            "fits trained one at a time": self.n_solo,
            "epochs trained": self.epochs_trained,
            "epochs of an earlier run": self.epochs_loaded,
            "epochs trained again to the best one": self.epochs_trained_again,
            "epochs if all were trained to the end": self.epochs_full,
            "epochs saved by pruning": self.epochs_saved_by_pruning,
            "epochs saved by early stopping": self.epochs_saved_by_early_stopping,
            "epochs cut by failures": self.epochs_cut_by_failure,
            "epochs saved by warm start": self.epochs_saved_by_warm_start,
        }

    @property
    def times(self) -> dict[str, str]:
        """Where the time went, by name, as text."""
        parts = {
            "preparing": self.seconds_preparing,
            "training": self.seconds_training,
            "scoring": self.seconds_scoring,
            "choosing candidates": self.seconds_sampling,
            "refit": self.seconds_refit,
            "in all": self.seconds_total,
        }
        return {name: seconds_text(seconds) for name, seconds in parts.items()}

    def __str__(self) -> str:
        spent = ", ".join(f"{name} {time}" for name, time in self.times.items())
        reasons = [f"{n} one at a time: {why}" for why, n in self.solo_reasons.items()]
        counts = text_table(["spent", "count"], list(self.counts.items()))
        return "\n".join([counts, spent, *reasons])


def search_ledger(
    outcomes: Sequence[Sequence[FoldOutcome]],
    *,
    n_folds: int,
    max_epochs: int | None,
    starts: Sequence[bool],
    solo_reasons: Mapping[str, int],
    seconds: Mapping[str, float],
) -> Ledger:
    """Return what a search spent and saved, on networks and on other estimators.

    `max_epochs` are those of a full training if rungs grant epochs, None if each candidate
    has its number. `starts` says which candidates start here, instead of being resumed in a
    rung. `solo_reasons` counts the networks that were trained alone by the reason,
    `seconds` are by part: preparing, training, scoring, sampling, refit, total.
    """
    # The networks of a rung, by the epochs that they had before and those granted in all.
    rungs: dict[tuple[int, int], list[Sequence[FoldOutcome]]] = {}
    n_candidates = n_fits = 0
    for folds, is_new in zip(outcomes, starts, strict=True):
        # What never began, in a race or by Ctrl-C, does not count.
        ran = [outcome for outcome in folds if not outcome.was_stopped]
        networks = [outcome for outcome in folds if outcome.n_granted]
        n_candidates += bool(ran and is_new)
        n_fits += len(networks or ran)
        if networks:
            key = (networks[0].n_granted_before, networks[0].n_granted)
            rungs.setdefault(key, []).append(networks)
    full = granted = advanced = cut = 0
    for (before, after), candidates in rungs.items():
        fits = [outcome for networks in candidates for outcome in networks]
        # Fits that are not resumed train all epochs anew.
        is_warm = before == 0 or any(outcome.n_resumed for outcome in fits)
        granted += len(fits) * (after - before if is_warm else after)
        advanced += len(fits) * (after - before)
        cut += sum(after - before - o.n_epochs for o in fits if o.reason)
        if before == 0:
            full += len(candidates) * n_folds * (max_epochs or after)
    every = [outcome for folds in outcomes for outcome in folds]
    trained, loaded = sum(o.n_epochs for o in every), sum(o.n_loaded for o in every)
    return Ledger(
        n_candidates=n_candidates,
        n_fits=n_fits,
        epochs_trained=trained,
        epochs_loaded=loaded,
        epochs_full=full,
        epochs_saved_by_pruning=full - advanced,
        epochs_saved_by_early_stopping=granted - trained - loaded - cut,
        epochs_cut_by_failure=cut,
        epochs_saved_by_warm_start=sum(o.n_resumed for o in every),
        n_failed=sum(bool(o.reason) and not o.was_stopped for o in every),
        n_rows=sum(o.engine == "fleet" for o in every),
        epochs_trained_again=sum(o.n_again for o in every),
        solo_reasons=dict(solo_reasons),
        **{f"seconds_{name}": spent for name, spent in seconds.items()},  # type: ignore[arg-type]
    )
