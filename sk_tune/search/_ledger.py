# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The account of a search: epochs and seconds that it spent, and those that it saved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from sk_tune._declaration import with_inherited_docs
from sk_tune._text import seconds_text, text_table
from sk_tune.search._outcomes import FoldOutcome

__all__ = [
    "EpochAccount",
    "Ledger",
    "RungEpochs",
    "epoch_account",
    "rung_epochs",
    "search_ledger",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RungEpochs:
    """The epochs of one rung, or of a search's only round.

    A fit is one fold of a candidate that began, unless a race dropped it. `n_epochs` is
    what the rung grants each fit in all, `n_epochs_before` what the rung before had
    granted. The sums over all fits are the epochs trained in this rung, continued (trained
    before, not again), loaded (trained by an earlier run) and cut by failure. `is_warm`
    says that fits are resumed from the rung before; if not, they train all `n_epochs` anew.
    """

    n_candidates: int
    n_fits: int
    n_epochs_before: int
    n_epochs: int
    epochs_trained: int
    epochs_continued: int = 0
    epochs_loaded: int = 0
    epochs_cut_by_failure: int = 0
    is_warm: bool = True

    @property
    def epochs_granted(self) -> int:
        """Epochs that the rung trains if no fit ends early."""
        before = self.n_epochs_before if self.is_warm else 0
        return self.n_fits * (self.n_epochs - before)

    @property
    def epochs_advanced(self) -> int:
        """Epochs by which the rung takes its fits further, however it gets there."""
        return self.n_fits * (self.n_epochs - self.n_epochs_before)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochAccount:
    """Epochs of a search, summed over candidates and folds.

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


@with_inherited_docs
@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger(EpochAccount):
    """What a search spent and saved.

    Parameters
    ----------
    {parameters}
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
    """

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

    def __str__(self) -> str:
        counts = [
            ["candidates", self.n_candidates],
            ["fits", self.n_fits],
            ["failed", self.n_failed],
            ["in fleets", self.n_rows],
            ["one at a time", self.n_solo],
            ["epochs trained", self.epochs_trained],
            ["epochs of an earlier run", self.epochs_loaded],
            ["trained again to the best epoch", self.epochs_trained_again],
            ["epochs if all were trained to the end", self.epochs_full],
            ["saved by pruning", self.epochs_saved_by_pruning],
            ["saved by early stopping", self.epochs_saved_by_early_stopping],
            ["cut by failures", self.epochs_cut_by_failure],
            ["saved by warm start", self.epochs_saved_by_warm_start],
        ]
        seconds = [
            ("preparing", self.seconds_preparing),
            ("training", self.seconds_training),
            ("scoring", self.seconds_scoring),
            ("sampling", self.seconds_sampling),
            ("refit", self.seconds_refit),
            ("in all", self.seconds_total),
        ]
        spent = ", ".join(f"{name} {seconds_text(value)}" for name, value in seconds)
        reasons = [f"{n} one at a time: {why}" for why, n in self.solo_reasons.items()]
        return "\n".join([text_table(["spent", "count"], counts), spent, *reasons])


def epoch_account(
    rungs: Sequence[RungEpochs], *, n_folds: int, max_epochs: int
) -> EpochAccount:
    """Return the account of all rungs of all brackets of a search, in any order.

    `max_epochs` are those of a candidate that is trained to the end.
    """
    n_candidates = sum(r.n_candidates for r in rungs if r.n_epochs_before == 0)
    full = n_candidates * n_folds * max_epochs
    trained = sum(r.epochs_trained for r in rungs)
    loaded = sum(r.epochs_loaded for r in rungs)
    cut = sum(r.epochs_cut_by_failure for r in rungs)
    granted = sum(r.epochs_granted for r in rungs)
    return EpochAccount(
        n_candidates=n_candidates,
        n_fits=sum(r.n_fits for r in rungs),
        epochs_trained=trained,
        epochs_loaded=loaded,
        epochs_full=full,
        epochs_saved_by_pruning=full - sum(r.epochs_advanced for r in rungs),
        epochs_saved_by_early_stopping=granted - trained - loaded - cut,
        epochs_cut_by_failure=cut,
        epochs_saved_by_warm_start=sum(r.epochs_continued for r in rungs),
    )


def rung_epochs(outcomes: Sequence[Sequence[FoldOutcome]]) -> list[RungEpochs]:
    """Return the epochs of a search by rung.

    There is one record for each number of epochs that candidates were granted, and had
    before.
    """
    rungs: dict[tuple[int, int], list[Sequence[FoldOutcome]]] = {}
    for folds in outcomes:
        ran = [outcome for outcome in folds if outcome.n_granted]
        if ran:
            key = (ran[0].n_granted_before, ran[0].n_granted)
            rungs.setdefault(key, []).append(ran)
    return [_rung(before, granted, of_rung) for (before, granted), of_rung in rungs.items()]


def _rung(before: int, granted: int, folds: Sequence[Sequence[FoldOutcome]]) -> RungEpochs:
    ran = [outcome for of_candidate in folds for outcome in of_candidate]
    failed = [outcome for outcome in ran if outcome.reason]
    return RungEpochs(
        n_candidates=len(folds),
        n_fits=len(ran),
        n_epochs_before=before,
        n_epochs=granted,
        epochs_trained=sum(outcome.n_epochs for outcome in ran),
        epochs_continued=sum(outcome.n_resumed for outcome in ran),
        epochs_loaded=sum(outcome.n_loaded for outcome in ran),
        epochs_cut_by_failure=sum(granted - before - o.n_epochs for o in failed),
        is_warm=before == 0 or any(outcome.n_resumed for outcome in ran),
    )


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
    rungs = rung_epochs(outcomes)
    groups = [rungs]
    if max_epochs is None:
        lengths = {rung.n_epochs for rung in rungs}
        groups = [[rung for rung in rungs if rung.n_epochs == n] for n in lengths]
    accounts = [
        epoch_account(group, n_folds=n_folds, max_epochs=max_epochs or group[0].n_epochs)
        for group in groups
        if group
    ]
    totals = {
        f.name: sum(getattr(account, f.name) for account in accounts)
        for f in fields(EpochAccount)
    }
    # Candidates that Ctrl-C left out do not count.
    ran = [[o for o in folds if not o.was_stopped] for folds in outcomes]
    tried = [
        bool(of_candidate and is_new)
        for of_candidate, is_new in zip(ran, starts, strict=True)
    ]
    totals["n_candidates"] = sum(tried)
    totals["n_fits"] += sum(
        len(of_candidate)
        for of_candidate in ran
        if not any(o.n_granted for o in of_candidate)
    )
    done = [outcome for folds in outcomes for outcome in folds]
    times = {f"seconds_{name}": spent for name, spent in seconds.items()}
    return Ledger(
        **totals,
        n_failed=sum(bool(o.reason) and not o.was_stopped for o in done),
        n_rows=sum(outcome.engine == "fleet" for outcome in done),
        epochs_trained_again=sum(outcome.n_again for outcome in done),
        solo_reasons=dict(solo_reasons),
        **times,  # type: ignore[arg-type]
    )
