"""The ledger for people."""

from sk_tune.report._html import ledger_counts, ledger_seconds


def test_counts_are_those_of_the_ledger(hyperband):
    """Epochs trained and saved add up to a full training of all."""
    ledger = hyperband.ledger_
    counts = dict(ledger_counts(ledger))

    assert counts["candidates"] == ledger.n_candidates
    assert counts["epochs if all were trained to the end"] == sum(
        counts[name]
        for name in (
            "epochs trained",
            "epochs saved by pruning",
            "epochs saved by early stopping",
            "epochs cut by failures",
        )
    )
    assert [name for name, _ in ledger_seconds(ledger)][-1] == "in all"


def test_what_has_no_epochs_has_no_counts_of_them(linear):
    """And a search of scikit-learn has no ledger."""
    assert [name for name, _ in ledger_counts(linear.ledger_)] == [
        "candidates",
        "fits",
        "fits that failed",
    ]
    assert ledger_counts(None) == ledger_seconds(None) == []
