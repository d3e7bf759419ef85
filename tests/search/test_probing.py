"""A diagnosis with probes: changed networks, trained on the folds."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import FitFailedWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import Curves, Finding, GridSearchCV, MLPClassifier, diagnose, verdict

X, Y = load_iris(return_X_y=True)


def _net(**params):
    net = {"width": 16, "members": 1, "max_epochs": 15, "batch_size": 16, "random_state": 0}
    return make_pipeline(StandardScaler(), MLPClassifier(**{**net, **params}))


def _named(findings):
    return {finding.name: finding for finding in findings}


def test_a_low_rate_is_measured():
    """The verdict names the probe, its effect and its uncertainty."""
    fitted = _net(learning_rate=1e-4).fit(X, Y)

    issue = verdict(diagnose(fitted, X, Y, probes=True))

    assert issue.name == "learning rate too low"
    assert "Measured: learning_rate=" in issue.message
    assert issue.evidence["probe_gain"] > 5 * issue.evidence["probe_error"] / 2 > 0


def test_a_good_network_stays_good():
    """No probe lowers the held-out loss of a network that was searched for."""
    grid = {"mlpclassifier__learning_rate": [1e-3, 3e-3, 1e-2, 3e-2]}
    grid |= {"mlpclassifier__width": [16, 32], "mlpclassifier__dropout": [0.0, 0.1, 0.2]}
    search = GridSearchCV(_net(max_epochs=30), grid, cv=5, scoring="neg_log_loss")

    findings = diagnose(search.fit(X, Y), X, Y, probes=True)

    assert verdict(findings).name == "good fit"
    assert "probe_gain" in _named(findings)["learning rate too low"].evidence


def test_a_search_pays_at_most_a_fifth_for_probes(capsys):
    """The line before the training has the epochs, at most a fifth of the search's."""
    grid = {"mlpclassifier__learning_rate": list(np.geomspace(1e-4, 1e-1, 20))}
    search = GridSearchCV(_net(max_epochs=10), grid, cv=3).fit(X, Y)

    diagnose(search, X, Y, probes=True)
    words = capsys.readouterr().out.split()

    assert words[0] == "Probes:"
    assert 0 < int(words[words.index("epochs.") - 1]) <= search.ledger_.epochs_trained / 5


def test_a_small_search_has_no_probes(capsys):
    """A fifth of two candidates is less than a network and a probe."""
    search = GridSearchCV(_net(), {}, cv=3).fit(X, Y)

    findings = diagnose(search, X, Y, probes=True)

    assert "No probes" in capsys.readouterr().out
    assert _named(findings) == _named(diagnose(search, X, Y))


def test_half_the_samples_show_a_lack_of_samples():
    """The finding on samples comes from a training on half of them."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(120, 10))
    labels = (features @ rng.normal(size=10) > 0).astype(int)
    fitted = _net(max_epochs=20).fit(features, labels)

    finding = _named(diagnose(fitted, features, labels, probes=True))["more data"]

    assert finding.outcome == "tip"
    assert finding.evidence["n_rows"] == 96


def test_probes_need_data_and_a_network():
    """Curves and missing targets are refused."""
    flat = np.ones((3, 5))
    curves = Curves(train_loss=flat, valid_loss=flat, valid_score=-flat)

    with pytest.raises(ValueError, match="'probes' need X and y"):
        diagnose(_net().fit(X, Y), probes=True)
    with pytest.raises(TypeError, match="'probes' need a network or a search"):
        diagnose(curves, X, Y, probes=True)


def test_checks_of_users_stay():
    """Findings that probes do not test are unchanged."""
    own = Finding(code="", name="own", outcome="passed", severity=None, message="Fine.")

    findings = diagnose(_net().fit(X, Y), X, Y, extra_checks=[lambda _: own], probes=True)

    assert own in findings


def test_a_failed_candidate_has_no_probes():
    """Its finding is the failure."""
    grid = {
        "mlpclassifier__learning_rate": [3e-3, 1e9],
        "mlpclassifier__optimizer": ["sgd"],
    }
    search = GridSearchCV(_net(), grid, cv=3)
    with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        search.fit(X, Y)

    findings = diagnose(search, X, Y, result_row=1, probes=True)

    assert verdict(findings).name == "failed candidates"


def test_a_fault_of_the_data_is_not_withdrawn():
    """Random labels stay without a signal, whichever change is tried."""
    rng = np.random.default_rng(0)
    noise, labels = rng.normal(size=(200, 10)), rng.integers(2, size=200)
    fitted = _net(width=32, dropout=0.2).fit(noise, labels)

    outcomes = _named(diagnose(fitted, noise, labels, probes=True))

    assert outcomes["no better than the baseline"].outcome == "issue"
