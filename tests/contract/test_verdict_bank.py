"""Verdicts on planted situations: the part of the bank with tables of scikit-learn."""

import importlib.util
from pathlib import Path

import pytest

BANK = Path(__file__).parents[2] / "benchmarks" / "verdicts.py"
if not BANK.exists():
    pytest.skip(
        "benchmarks are not part of the source distribution", allow_module_level=True
    )

_SPEC = importlib.util.spec_from_file_location("verdicts", BANK)
bank = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(bank)
SITUATIONS = {name: rest for name, *rest in bank.situations()}


@pytest.mark.parametrize(
    "name",
    [
        "signal: wine",
        "signal: wine, shuffled",
        "scale: cancer as it is",
        "scale: wine as it is",
        "scaled: wine",
        "healthy: wine",
        "rate: SGD at 1e9, all fail",
        "noise: diabetes",
    ],
)
def test_the_verdict_is_that_of_an_expert(name):
    """The expected verdicts were written down before the rules were tried on them."""
    result = bank.run(name, *SITUATIONS[name])

    assert result.is_right, result.said
