# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A ledger as rows for people."""

from sk_tune._text import seconds_text
from sk_tune.search import Ledger

__all__ = ["ledger_counts", "ledger_seconds"]


def ledger_counts(ledger: Ledger | None) -> list[tuple[str, int]]:
    """Return what was counted.

    Parameters
    ----------
    ledger : Ledger or None
        Of a search.

    Returns
    -------
    list of (str, int)
        Names and counts; without epochs if there were none.  Empty without a ledger.
    """
    if ledger is None:
        return []
    counts = [
        ("candidates", ledger.n_candidates),
        ("fits", ledger.n_fits),
        ("fits that failed", ledger.n_failed),
    ]
    if not ledger.epochs_full:
        return counts
    return [
        *counts,
        ("fits trained in fleets", ledger.n_rows),
        ("fits trained one at a time", ledger.n_solo),
        ("epochs trained", ledger.epochs_trained),
        ("epochs trained again to the best one", ledger.epochs_trained_again),
        ("epochs if all were trained to the end", ledger.epochs_full),
        ("epochs saved by pruning", ledger.epochs_saved_by_pruning),
        ("epochs saved by early stopping", ledger.epochs_saved_by_early_stopping),
        ("epochs cut by failures", ledger.epochs_cut_by_failure),
        ("epochs saved by warm start", ledger.epochs_saved_by_warm_start),
    ]


def ledger_seconds(ledger: Ledger | None) -> list[tuple[str, str]]:
    """Return where the time went.

    Parameters
    ----------
    ledger : Ledger or None
        Of a search.

    Returns
    -------
    list of (str, str)
        Parts and their times; empty without a ledger.
    """
    if ledger is None:
        return []
    parts = [
        ("preparing", ledger.seconds_preparing),
        ("training", ledger.seconds_training),
        ("scoring", ledger.seconds_scoring),
        ("choosing candidates", ledger.seconds_sampling),
        ("refit", ledger.seconds_refit),
        ("in all", ledger.seconds_total),
    ]
    return [(name, seconds_text(value)) for name, value in parts]
