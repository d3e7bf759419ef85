"""The arguments of each command."""

import pytest

from sk_tune.cli import main


@pytest.mark.parametrize(
    ("given", "meant"),
    [("--taget", "--target"), ("--time-buget=5s", "--time-budget"), ("--scoring", "")],
)
def test_a_misspelt_option_is_named_with_the_nearest_one(given, meant, fails):
    """Also where another one that is required is missing because of it."""
    hint = f"Did you mean {meant}?" if meant else "See sk-tune fit --help"
    fails(
        ["fit", "a.csv", given, "y"], f"there is no option {given.partition('=')[0]}.", hint
    )


def test_options_may_be_shortened_and_values_may_begin_with_hyphens(fails):
    """As argparse has it: the file is looked for."""
    fails(["fit", "none.csv", "--tar", "y", "--test", "0.3"], "'none.csv'")
    fails(["fit", "none.csv", "--target=--y"], "'none.csv'")


@pytest.mark.parametrize(
    "budget", ["", "fast", "0", "0s", "-5s", "10x", "nan", "s", "1:30"]
)
def test_a_bad_budget_is_refused(budget, fails):
    """Only positive times in seconds, minutes or hours are budgets."""
    fails(["demo", f"--time-budget={budget}"], "--time-budget", "such as 60s", repr(budget))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("90", 90), ("5m", 300), ("1.5 min", 90), ("0.5h", 1800)],
)
def test_budgets_have_units(text, seconds):
    """Seconds are the default; minutes and hours are known."""
    from sk_tune.cli._parser import _budget

    assert _budget(text) == seconds


@pytest.mark.parametrize("command", ["fit", "predict", "demo"])
def test_help_warns_of_pickles(command, capsys):
    """Whoever reads the help learns that a model file can run code."""
    assert main([command, "--help"]) == 0
    assert "pickle" in capsys.readouterr().out
