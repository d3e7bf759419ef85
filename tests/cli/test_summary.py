"""What the command line says."""

from sk_tune.automl import Score
from sk_tune.cli._printing import labelled, score_lines, verdict_text


def test_lines_are_wrapped_beside_their_label(monkeypatch):
    """The text keeps clear of the label's column, and of the terminal's edge."""
    monkeypatch.setenv("COLUMNS", "40")

    lines = labelled("Columns", "word " * 20).splitlines()

    assert lines[0].startswith("Columns     word")
    assert all(line.startswith(" " * 12 + "word") for line in lines[1:])
    assert max(map(len, lines)) <= 40


def test_scores_stand_in_columns():
    """A header and a line for each, all of one width."""
    scores = [
        Score(name="dummy", mean=0.5, std=0.0, held_out=0.5),
        Score(name="ensemble", mean=0.81234, std=0.0123, held_out=float("nan")),
    ]

    header, dummy, ensemble = score_lines(scores, "roc_auc")

    assert header.split() == ["roc_auc", "CV", "mean", "±", "std", "set", "aside"]
    assert ensemble.split() == ["ensemble", "0.812", "±", "0.012", "n/a"]
    assert len(header) == len(dummy) == len(ensemble)


def test_a_verdict_advises_options_of_the_command_line():
    """Python's parameters are options there."""
    assert verdict_text("Use it: use='best'. Or not.") == "Use it: --use best. Or not."
