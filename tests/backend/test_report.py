"""What a block tells of itself, as text."""

from sk_tune.backend import FleetReport


def test_it_is_a_table_of_counts():
    """Each count has a line, then come the times, then why networks trained alone."""
    report = FleetReport(n_requested=7, n_drawn_otherwise=2, solo={"of a reason": 3})

    lines = str(report).splitlines()

    assert any(line.split() == ["asked", "for", "7"] for line in lines)
    assert any(
        line.split() == ["with", "other", "random", "numbers", "2"] for line in lines
    )
    assert any(line.split() == ["one", "at", "a", "time", "3"] for line in lines)
    assert lines[-1] == "3 one at a time: of a reason"
