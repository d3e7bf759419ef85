"""The table of candidates."""

import math

from sk_tune.report._html import candidate_table


def test_the_best_is_first_and_failures_are_last(make_report, make_row):
    """Whatever the order in which they were tried."""
    rows = [
        make_row(0, math.nan, reason="it failed"),
        make_row(1, 0.5, rank=2),
        make_row(2, 0.9, rank=1),
    ]

    table = candidate_table(make_report(rows))

    assert [kind for kind, _ in table.rows] == ["best", "", "failed"]
    assert [cells[1].text for _, cells in table.rows] == ["2", "1", "0"]
    assert [column.name for column in table.columns] == [
        *("rank", "row", "accuracy", "std", "width", "fit time", "failure"),
    ]
    assert [cell.text for cell in table.rows[-1][1]] == [
        *("n/a", "0", "n/a", "0.01", "1", "0.5", "it failed"),
    ]


def test_cells_keep_the_whole_number(make_report, make_row):
    """They are sorted by it, and show four digits."""
    table = candidate_table(make_report([make_row(0, 0.123456789)]))

    cell = table.rows[0][1][2]
    assert (cell.text, cell.key) == ("0.1235", "0.123456789")


def test_rungs_metrics_and_conditional_parameters_have_columns(make_report, make_row):
    """What a candidate does not have is an empty cell."""
    rungs = {"rung": 1, "bracket": 2, "n_resources": 9}
    rows = [
        make_row(0, 0.5, params={"a": 1, "epochs": 9}, others={"f1": 0.4}, **rungs),
        make_row(1, 0.6, params={"b": "x", "epochs": 9}, others={"f1": 0.3}, **rungs),
    ]

    table = candidate_table(make_report(rows, resource="epochs"))

    assert [column.name for column in table.columns] == [
        *("rank", "row", "accuracy", "std", "f1", "bracket", "rung", "epochs"),
        *("a", "b", "fit time"),
    ]
    assert [cell.text for cell in table.rows[0][1]][4:10] == ["0.4", "2", "1", "9", "1", ""]
    kinds = {column.name: column.is_number for column in table.columns}
    assert kinds["a"]
    assert not kinds["b"]


def test_a_traceback_is_folded(make_report, make_row):
    """Its last line says what happened; it is cut, because many may fail."""
    reason = "Traceback\n" + "x" * 9000 + "\nValueError: no"

    cell = candidate_table(make_report([make_row(0, math.nan, reason=reason)])).rows[0][1][
        -1
    ]

    assert cell.text == "ValueError: no"
    assert cell.details.endswith("ValueError: no")
    assert len(cell.details) <= 500
