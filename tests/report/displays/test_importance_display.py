"""Bars of what the score depends on."""

import matplotlib.pyplot as plt
import numpy as np

from sk_tune.report import HyperparameterImportanceDisplay
from sk_tune.report.displays._importance import importance_of
from sk_tune.report.displays._search_trials import parameters_of, trials_of


def _slope(made, n_rows=30, n_parameters=2):
    rng = np.random.default_rng(0)
    rows = [
        {f"p{j}": float(v) for j, v in enumerate(values)}
        for values in rng.uniform(size=(n_rows, n_parameters))
    ]
    return made(rows, [row["p1"] for row in rows])


def test_bars_are_the_shares_the_most_important_first(made):
    """Widths and names are those of the computation."""
    search = _slope(made)
    trials = trials_of(search)
    expected = importance_of(parameters_of(trials.params), trials.scores)

    display = HyperparameterImportanceDisplay.from_search(search)

    order = expected.order
    total = [bar.get_width() for bar in display.total_bars_]
    main = [bar.get_width() for bar in display.main_bars_]
    np.testing.assert_array_equal(total, expected.total[order])
    np.testing.assert_array_equal(main, expected.main[order])
    names = [t.get_text() for t in display.ax_.get_yticklabels()]
    assert names == ["p1", "p0"]
    assert display.noise_line_.get_xdata()[0] == expected.noise
    assert display.ax_.get_title(loc="left").startswith("p1 matters most")


def test_without_a_conclusion_no_bars_are_drawn_and_the_title_says_so(made):
    """Nobody takes chance for a finding: a long bar would say what the words deny."""
    rows = [{"p0": float(i), "p1": float(i % 3)} for i in range(12)]
    scores = np.random.default_rng(2).normal(size=12)

    display = HyperparameterImportanceDisplay.from_search(made(rows, scores))

    assert not display.importance.is_conclusive
    assert display.total_bars_ is display.main_bars_ is display.noise_line_ is None
    assert not display.ax_.patches
    assert not display.ax_.lines
    assert {t.get_text() for t in display.ax_.get_yticklabels()} == {"p0", "p1"}
    assert "no bars" in display.ax_.texts[0].get_text()
    assert display.ax_.get_title(loc="left").startswith("No conclusion")


def test_only_so_many_parameters_are_drawn(made):
    """The most important ones, in a picture that stays legible."""
    display = HyperparameterImportanceDisplay.from_search(
        _slope(made, n_parameters=8), max_parameters=3
    )

    assert len(display.total_bars_) == 3


def test_long_names_leave_room_for_bars(made):
    """At 4 x 3 inches bars take at least a quarter of the width."""
    rows = [{f"net__optimizer__{'long_' * 8}{i}": 1.0 for i in range(3)} for _ in range(6)]
    for number, row in enumerate(rows):
        row.update(dict.fromkeys(row, float(number)))
    ax = plt.subplots(figsize=(4, 3), layout="constrained")[1]

    display = HyperparameterImportanceDisplay.from_search(made(rows, np.arange(6.0)), ax=ax)
    display.figure_.canvas.draw()

    assert display.ax_.get_window_extent().width > display.figure_.bbox.width / 4


def test_conditional_parameters_and_rungs_are_served(iris_hyperband):
    """Every parameter of the space has a bar, whichever candidates have it."""
    display = HyperparameterImportanceDisplay.from_search(iris_hyperband)

    names = {t.get_text() for t in display.ax_.get_yticklabels()}
    assert names == {"dropout", "learning_rate", "momentum", "optimizer"}


def test_one_candidate_is_no_ground(diabetes_one):
    """The picture is there, and says that it says nothing."""
    display = HyperparameterImportanceDisplay.from_search(diabetes_one)

    assert "1 candidate with a score" in display.ax_.get_title(loc="left").replace(
        "\n", " "
    )
