"""Learning rates that are too high or too low, and losses that diverge."""

import numpy as np
import pytest

T = np.arange(1.0, 31.0)
USUAL = {"dropout": 0.1, "weight_decay": 0.01}
FREE = {"dropout": 0.0, "weight_decay": 0.0}
TURNS = np.interp(T, [1, 3, 30], [0.7, 0.6, 0.9])
SMOOTH = 0.5 + 0.4 * np.exp(-T / 5)
# Typical rate of AdamW.
TYPICAL = 3e-3
SLOW = {"optimizer": "sgd", "learning_rate": 0.2 * 3e-2}


def _gone(bends_after):
    """Return the part of a fall completed by each epoch, with a bend."""
    return (1 - np.exp(-T / bends_after)) / (1 - np.exp(-30 / bends_after))


@pytest.mark.parametrize(
    ("name", "losses", "params", "outcome"),
    [
        # Ending at ten times a constant prediction's loss.
        ("diverged", [np.linspace(1.0, 10.0, 20)] * 2, {}, "issue"),
        # Dead units after a too large first step leave a constant prediction.
        ("too high", [np.full(20, 1.0)] * 2, {"learning_rate": 1.0}, "issue"),
        ("too high", [np.full(20, 1.0)] * 2, {"learning_rate": 1e-3}, "passed"),
        # A rise needs two epochs, and slow training more to be distinguished from short
        # training.
        ("too high", [[0.9], [0.9]], {}, "not applicable"),
        ("too low", [[0.9], [0.9]], {}, "not applicable"),
        # A loss that turns at once at a raised rate, unless there is no regularisation.
        ("too high", [1 / T, TURNS], {"learning_rate": 0.01, **USUAL}, "issue"),
        ("too high", [1 / T, TURNS], {"learning_rate": 0.003, **USUAL}, "passed"),
        ("too high", [1 / T, TURNS], {"learning_rate": 0.01, **FREE}, "passed"),
        # At 20 times the usual rate, a smooth loss has no fault, a rough loss has.
        ("too high", [SMOOTH] * 2, {"learning_rate": 0.06, **USUAL}, "passed"),
        (
            "too high",
            [SMOOTH + 0.1 * (T % 2)] * 2,
            {"learning_rate": 0.06, **USUAL},
            "issue",
        ),
        # At a fifth of the usual rate, a falling curve that bends will converge.
        ("too low", [1 - 0.3 * _gone(1e3), 1 - 0.28 * _gone(1e3)], SLOW, "tip"),
        ("too low", [1 - 0.3 * _gone(15), 1 - 0.28 * _gone(15)], SLOW, "passed"),
    ],
)
def test_losses_with_known_answers(shapes, name, losses, params, outcome):
    """The rate is blamed only for faults that it explains."""
    name = name if name == "diverged" else f"learning rate {name}"

    assert shapes.found(name, shapes.of_folds(*losses, params=params)).outcome == outcome


@pytest.mark.parametrize("loss", [np.inf, np.nan])
def test_an_infinite_loss_is_divergence(shapes, loss):
    """It is the most severe issue, with a lower learning rate as remedy."""
    curves = shapes.healthy(params={"learning_rate": 1.0})
    curves.train_loss[1, 5] = loss

    finding = shapes.found("diverged", curves)

    assert (finding.code, finding.outcome, finding.severity) == ("SKT106", "issue", "high")
    assert finding.changes[0].value < 1.0


@pytest.mark.parametrize("first", [0.0, -1.0])
def test_a_rise_from_a_loss_that_is_not_positive_is_divergence(shapes, first):
    """Losses of custom criteria may be 0 or negative."""
    losses = np.linspace(first, 20.0, 30)

    finding = shapes.found("diverged", shapes.of_folds(losses, losses, baseline_loss=None))

    assert finding.outcome == "issue"
    assert finding.message == f"The training loss rose from {first:.3g} to 20."


def test_a_high_rate_is_lowered(shapes):
    """If the loss jumps, or if much loss remains at a known high rate."""
    thrown = shapes.found(
        "learning rate too high", shapes.jumping(params={"learning_rate": 1.0})
    )
    extreme = shapes.found(
        "learning rate too high", shapes.underfitting(params={"learning_rate": 0.5})
    )

    assert (thrown.code, thrown.outcome) == ("SKT107", "issue")
    assert thrown.changes[0].action == "at most"
    assert extreme.outcome == "issue"


def test_a_straight_fall_needs_a_higher_rate(shapes):
    """Unless the rate is usual."""
    finding = shapes.found("learning rate too low", shapes.creeping())
    low, usual = (
        shapes.found("learning rate too low", shapes.creeping(params={"learning_rate": r}))
        for r in (1e-5, 1e-2)
    )

    assert (finding.code, finding.outcome) == ("SKT108", "issue")
    assert finding.changes[0].action == "multiply"
    assert finding.changes[0].value > 1
    assert (low.outcome, usual.outcome) == ("issue", "passed")


def test_a_slow_fall_near_the_typical_rate_is_a_tip(shapes):
    """Healthy networks fall slowly, too, from a tenth of the typical rate on."""
    rates = (0.09 * TYPICAL, 0.11 * TYPICAL)
    below, above = (
        shapes.found(
            "learning rate too low", shapes.creeping(params={"learning_rate": rate})
        )
        for rate in rates
    )

    assert below.outcome == "issue"
    assert (above.outcome, above.severity) == ("tip", "medium")
    assert above.changes[0].value > rates[1]
