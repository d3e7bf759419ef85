"""What the command line says."""

import math

import pytest

from sk_tune.cli._baselines import Score
from sk_tune.cli._summary import (
    format_params,
    format_score,
    labelled,
    score_lines,
    verdict,
)


def _score(mean, std=0.01, test=0.5, name="network"):
    return Score(name=name, mean=mean, std=std, test=test)


def test_lines_are_wrapped_beside_their_label(monkeypatch):
    """The text keeps clear of the label's column, and of the terminal's edge."""
    monkeypatch.setenv("COLUMNS", "40")

    lines = labelled("Columns", "word " * 20).splitlines()

    assert lines[0].startswith("Columns     word")
    assert all(line.startswith(" " * 12 + "word") for line in lines[1:])
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize(
    ("value", "scale", "text"),
    [
        (0.81234, 1, "0.812"),
        (-0.0004, 1, "-0.000"),
        (123456.7, 123456.7, "1.23e+05"),
        (0.00123456, 0.00123456, "0.00123"),
        (math.nan, 1, "n/a"),
    ],
)
def test_scores_have_few_digits(value, scale, text):
    """Three decimals beside usual scores, three digits beside unusual ones."""
    assert format_score(value, scale) == text


def test_params_are_those_of_the_network():
    """The step's name goes without saying; numbers are short."""
    params = {
        "net__width": 64,
        "net__learning_rate": 0.00123456,
        "net__normalization": None,
    }

    assert format_params(params) == "width=64, learning_rate=0.00123, normalization=None"


def test_scores_are_aligned():
    """Each column of the table is as wide as its widest cell."""
    lines = score_lines([_score(0.5, name="dummy"), _score(-12.25, test=math.nan)], "r2")

    assert lines == [
        "r2          CV mean ± std     test",
        "dummy         0.500 ± 0.010  0.500",
        "network     -12.250 ± 0.010    n/a",
    ]


@pytest.mark.parametrize(
    ("dummy", "linear", "network", "words"),
    [
        (0.5, 0.7, _score(0.5), "nothing in these columns"),
        (0.5, 0.7, _score(0.505), "nothing in these columns"),
        (0.5, 0.7, _score(math.nan), "nothing in these columns"),
        (
            0.5,
            0.7,
            _score(0.7),
            "does not beat the linear baseline: its CV score is no higher",
        ),
        (0.5, 0.7, _score(0.65), "its CV score is 0.050 lower. Prefer the linear model"),
        (0.5, 0.7, _score(0.705), "ahead by 0.005, which is within the spread"),
        (0.5, 0.7, _score(0.75, test=0.8), "beats the linear baseline by 0.050, more than"),
        (0.5, 0.7, _score(0.75, test=0.1), "But on the test rows it does not"),
        (0.5, math.nan, _score(0.75), "no score to compare"),
    ],
)
def test_the_verdict_is_plain(dummy, linear, network, words):
    """It says that the network wins only where its lead exceeds the spread of its folds."""
    text = verdict(_score(dummy), _score(linear), network)

    assert words in text
    assert ("network beats the linear" in text) == (network.mean == 0.75 and linear == 0.7)
