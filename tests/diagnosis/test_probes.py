# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Findings that rest on probes."""

import numpy as np
import pytest

from sk_tune import Change, Curves, Finding
from sk_tune._diagnosis import Probe, effects, measured, variations
from sk_tune._diagnosis._findings import RULES


def _curves(train, valid, **params):
    """Return flat curves of three folds."""
    losses = [np.full((3, 20), value) for value in (train, valid)]
    return Curves(
        train_loss=losses[0],
        valid_loss=losses[1],
        valid_score=-losses[1],
        params=params,
        baseline_loss=1.0,
    )


def _probe(finding):
    change = Change(parameter="learning_rate", action="set", value=0.1, reason="")
    return Probe(name="a change", finding=finding, changes=(change,))


def _measured(before, finding, train, valid):
    """Return the findings after a probe of a network with losses of 0.4 and 0.6."""
    effect = effects([_probe(finding)], _curves(0.4, 0.6), [_curves(train, valid)])
    return {f.name: f for f in measured(before, effect)}


@pytest.fixture
def passed():
    """Return passed checks of the training."""
    names = ("overfitting", "underfitting", "learning rate too high", "converged long ago")
    return [RULES[name].passed("Fine.", {}) for name in names]


def test_a_suspicion_is_confirmed_by_a_small_effect():
    """A remedy that lowers the loss by 10 % confirms an issue, with its changes."""
    issue = RULES["underfitting"].issue("medium", "Both losses are high.")

    finding = _measured([issue], "underfitting", 0.3, 0.54)["underfitting"]

    assert finding.outcome == "issue"
    assert finding.message.endswith("lowers the held-out loss by 10 % ± 2 %.")
    assert finding.evidence["probe_gain"] == pytest.approx(0.1)
    assert [change.parameter for change in finding.changes] == ["learning_rate"]


def test_an_ineffective_remedy_withdraws_an_issue():
    """The issue becomes a tip, which names the effect."""
    issue = RULES["underfitting"].issue("medium", "Both losses are high.")

    finding = _measured([issue], "underfitting", 0.39, 0.6)["underfitting"]

    assert (finding.outcome, finding.severity) == ("tip", "low")
    assert "Measured" in finding.message


@pytest.mark.parametrize(
    ("factors", "outcome"), [((1.3, 0.9, 0.7), "issue"), ((1.5, 1, 1), "tip")]
)
def test_a_doubtful_issue_has_the_best_remedy_measured(factors, outcome):
    """It stays an issue only if the remedy lowers the loss on average."""
    issue = RULES["underfitting"].issue("medium", "Both losses are high.")
    probed = _curves(0.3, 0.6)
    probed.valid_loss[:] *= np.array(factors)[:, None]

    (finding,) = measured(
        [issue], effects([_probe("underfitting")], _curves(0.4, 0.6), [probed])
    )

    assert finding.outcome == outcome
    assert [c.parameter for c in finding.changes] == ["learning_rate"] * (
        outcome == "issue"
    )


@pytest.mark.parametrize(("valid", "outcome"), [(0.54, "passed"), (0.42, "issue")])
def test_a_new_fault_needs_a_large_effect(passed, valid, outcome):
    """Without a suspicion, 10 % are not enough, 30 % are."""
    finding = _measured(passed, "underfitting", 0.3, valid)["underfitting"]

    assert finding.outcome == outcome


@pytest.mark.parametrize(
    ("train", "name"), [(0.5, "overfitting"), (0.3, "learning rate too high")]
)
def test_the_training_loss_tells_a_regularisation_from_a_better_fit(passed, train, name):
    """A lower rate that raises the training loss shows overfitting."""
    findings = _measured(passed, "learning rate too high", train, 0.3)

    assert [f.name for f in findings.values() if f.outcome == "issue"] == [name]


def test_a_lower_rate_confirms_a_suspicion_whatever_the_training_loss():
    """It lowers the held-out loss, while clipping, the other remedy, fails."""
    issue = RULES["learning rate too high"].issue("high", "The training loss jumps.")
    clipped = Change(parameter="gradient_clip", action="set", value=1.0, reason="")
    probes = [
        _probe("learning rate too high"),
        Probe(name="clipped", finding="learning rate too high", changes=(clipped,)),
    ]

    (finding,) = measured(
        [issue], effects(probes, _curves(0.4, 0.6), [_curves(0.5, 0.5), _curves(0.4, 0.6)])
    )

    assert finding.outcome == "issue"
    assert [change.parameter for change in finding.changes] == ["learning_rate"]


def test_without_a_pattern_no_new_fault_is_named(passed):
    """A smaller loss that stays above a constant prediction's is only regularised."""
    issue = RULES["no better than the baseline"].issue("medium", "No better.")
    base, probed = _curves(0.5, 2.0), _curves(0.9, 1.1)

    effect = effects([_probe("overfitting")], base, [probed])
    findings = measured([issue, *passed], effect)

    assert [f.name for f in findings if f.outcome == "issue"] == [issue.name]


@pytest.mark.parametrize(("valid", "outcome"), [(0.601, "tip"), (0.7, "passed")])
def test_a_third_of_the_epochs_decides_whether_the_training_was_too_long(
    passed, valid, outcome
):
    """Later epochs had no effect if the loss hardly rises without them."""
    findings = _measured(passed, "converged long ago", 0.45, valid)

    assert findings["converged long ago"].outcome == outcome


def test_a_failed_fold_does_not_count():
    """Effects are measured on the folds that were trained with and without the change."""
    base, probed = _curves(0.4, 0.6), _curves(0.3, 0.54)
    base.train_loss[1] = base.valid_loss[1] = np.nan
    probed.train_loss[2] = probed.valid_loss[2] = np.nan

    (effect,) = effects([_probe("underfitting")], base, [probed])

    assert (effect.gain.n, effect.gain.mean) == (1, pytest.approx(np.log(0.6 / 0.54)))


def test_findings_of_the_data_stay():
    """No probe tests them."""
    issue = Finding(
        code="", name="own", outcome="issue", severity="high", message="Wrong rows."
    )

    assert _measured([issue], "underfitting", 0.3, 0.3)["own"] == issue


def test_a_number_that_was_written_as_an_integer_may_get_a_fraction():
    """A dropout of 0 becomes 0.2 and not 1, which would remove all units."""
    params = {"dropout": 0, "weight_decay": 1, "n_layers": 2, "random_state": None}

    changes = {c.parameter: c.value for p in variations(params) for c in p.changes}

    assert changes == {
        "dropout": 0.2,
        "weight_decay": 0.1,
        "n_layers": 3,
        "random_state": 1,
    }
