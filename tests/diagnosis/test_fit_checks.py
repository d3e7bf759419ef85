"""Checks of the number of epochs, over- and underfitting, and the baseline."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune import Curves, diagnose

T = np.arange(1.0, 17.0)
T30 = np.arange(1.0, 31.0)
USUAL = {"width": 64, "n_layers": 2, "dropout": 0.1, "weight_decay": 0.01}


def _annealed(schedule, loss):
    """Return arguments of curves over 30 epochs under a schedule."""
    return (0.9 * loss, loss), {"params": {"lr_schedule": schedule, "max_epochs": 30}}


def _same(losses):
    """Return arguments of curves with equal training and held-out losses."""
    return (losses, losses), {}


@pytest.mark.parametrize(
    ("name", "losses", "outcome"),
    [
        # A plateau needs no more epochs; a loss close to 0 may halve forever.
        ("still improving", _same(0.3 + np.exp(-T)), "passed"),
        ("still improving", _same(0.01 / T), "passed"),
        # A slow fall is an issue of brief trainings only; in longer trainings it soon
        # turns.
        ("still improving", _same(0.8 * T[:6] ** -0.1), "issue"),
        ("still improving", _same(0.8 * np.arange(1.0, 61) ** -0.1), "passed"),
        # A steep fall before the rate decreases does not mean that epochs are missing.
        ("still improving", _annealed("constant", np.exp(-T30 / 12)), "issue"),
        ("still improving", _annealed("cosine", np.exp(-T30 / 12)), "tip"),
        # A curve that is flat while the rate decreases, which usually lowers it, has ended.
        (
            "still improving",
            _annealed("cosine", 0.5 ** (np.minimum(T30, 12) / 6)),
            "passed",
        ),
        # A late half of the total fall does not mean that epochs are missing, either.
        ("still improving", _annealed("constant", 0.7 + 1.3 * np.exp(-T30 / 12)), "issue"),
        ("still improving", _annealed("cosine", 0.7 + 1.3 * np.exp(-T30 / 12)), "tip"),
        # 4 % of the baseline's loss comes from a few rows.
        ("still improving", _annealed("constant", 0.04 * np.exp(1 - T30 / 30)), "passed"),
        ("still improving", _annealed("constant", 0.08 * np.exp(1 - T30 / 30)), "issue"),
        # No more epochs if the training loss is far below the held-out loss.
        ("still improving", ((1 - 0.02 * T30, 1 - 0.001 * T30), {}), "passed"),
        ("still improving", ((1 - 0.02 * T30, 1 - 0.019 * T30), {}), "issue"),
        # Epochs are wasted if no score would show their progress.
        ("converged long ago", _same(np.linspace(1.0, 0.3, 50)), "passed"),
        (
            "converged long ago",
            _same(np.append(np.linspace(1, 0.012, 10), np.linspace(0.012, 0.011, 40))),
            "tip",
        ),
        ("converged long ago", _same(0.8 * T[:6] ** -0.7), "not applicable"),
        # A gap without a rise, or a rise of both losses, is not overfitting.
        ("overfitting", ((0.01 + np.exp(-T30 / 3), 0.3 + np.exp(-T30 / 3)), {}), "passed"),
        ("overfitting", _same(np.interp(T30, [1, 10, 30], [0.9, 0.3, 0.8])), "passed"),
        # A loss of 0 from the first epoch on is a fit.
        ("underfitting", ((0 * T, 0 * T), {"baseline_loss": None}), "passed"),
    ],
)
def test_losses_with_known_answers(shapes, name, losses, outcome):
    """Each check distinguishes its fault from similar curves."""
    (train, valid), rest = losses

    assert shapes.found(name, shapes.of_folds(train, valid, **rest)).outcome == outcome


@given(power=st.floats(0.05, 1.5))
def test_a_power_law_is_extrapolated_exactly(shapes, power):
    """Two doublings of t in t**-p lower the loss by the share 1 - 4**-p."""
    finding = shapes.found("still improving", shapes.of_folds(T**-power, T**-power))

    assert finding.evidence["gain"] == pytest.approx(1 - 4**-power)


def test_a_bend_is_taken_into_account(shapes):
    """If the last doubling gained half as much, the next gains half again."""
    # The logarithm of the loss falls by 0.2 from epoch 80 to 113, by 0.1 from there to 160.
    doublings = np.log2(np.arange(1, 161) / 160)
    losses = np.exp(-np.interp(doublings, [-1.0, -0.5, 0.0], [0.0, 0.2, 0.3]))

    found = shapes.found("still improving", shapes.of_folds(losses, losses))

    coming = 0.1 * (0.5 + 0.25 + 0.125 + 0.0625)
    assert found.evidence["gain"] == pytest.approx(1 - np.exp(-coming), rel=0.02)


def test_a_schedule_that_ends_at_zero_does_not_hide_a_fall(shapes):
    """Equal falls by cumulative rate have equal trends, despite a flat end."""
    cosine = 16 * (T / 16 + np.sin(np.pi * T / 16) / np.pi) / 2
    # An unknown schedule counts as constant.
    for schedule, spent in (("cosine", cosine), ("a user's", T)):
        params = {"lr_schedule": schedule, "max_epochs": 16}
        curves = shapes.of_folds(spent**-0.5, spent**-0.5, params=params)

        gain = shapes.found("still improving", curves).evidence["gain"]

        assert gain == pytest.approx(0.5, rel=0.1)


def test_a_continuing_fall_suggests_more_epochs(shapes):
    """The remedy is a lower bound above the epochs trained; one epoch has no trend."""
    finding = shapes.found("still improving", shapes.improving(params={"max_epochs": 6}))
    single = shapes.found("still improving", shapes.of_folds([0.9], [0.9]))

    assert (finding.code, finding.outcome) == ("SKT104", "issue")
    (change,) = finding.changes
    assert (change.parameter, change.action) == ("max_epochs", "at least")
    assert change.value > 6
    assert single.outcome == "tip"
    assert single.changes[0].parameter == "max_epochs"


def test_folds_must_agree_on_a_fall(shapes):
    """A mean that falls because of one fold is not a trend."""
    curves = shapes.of_folds(np.full(16, 0.4), np.full(16, 0.4))
    curves.valid_loss[0] = T**-0.5

    assert shapes.found("still improving", curves).outcome == "passed"


@pytest.mark.parametrize(
    ("losses", "baseline_loss", "words"),
    [
        # Two doublings of t**-0.1 lower the loss by the share 1 - 4**-0.1 = 13 %.
        (0.8 * np.arange(1.0, 61) ** -0.1, 1.0, "by only about 13 %."),
        (
            0.01 / T,
            1.0,
            "about 75 %, but it is already low: 0.06 % of the loss of a",
        ),
        (1 / np.arange(1.0, 61) ** 2, None, "by about 94 %, but it is already low"),
    ],
    ids=["little gain", "low loss", "low without a baseline"],
)
def test_the_trend_says_why_longer_training_is_not_advised(
    shapes, losses, baseline_loss, words
):
    """The gain is small, or the loss is already low."""
    curves = shapes.of_folds(losses, losses, baseline_loss=baseline_loss)

    finding = shapes.found("still improving", curves)

    assert finding.outcome == "passed"
    assert words in finding.message


def test_long_trainings_are_extended_twofold(shapes):
    """The extrapolation is to four times the epochs, the advice only twice."""
    loss = np.exp(-T30 / 12)

    finding = shapes.found(
        "still improving", shapes.of_folds(loss, loss, params={"max_epochs": 30})
    )

    assert finding.message.startswith("4 times the epochs would lower")
    assert finding.remedy == "Try twice as many epochs, then diagnose again."
    assert finding.changes[0].value == 60


def test_epochs_without_progress_are_counted(shapes):
    """A loss that converges after 10 of 50 epochs wastes four fifths."""
    loss = np.append(np.linspace(1.0, 0.3, 10), np.full(40, 0.3))

    finding = shapes.found("converged long ago", shapes.of_folds(loss, loss))

    assert (finding.code, finding.outcome) == ("SKT105", "tip")
    assert finding.evidence["arrived"] == 10
    assert finding.evidence["wasted"] == pytest.approx(0.8)


def test_a_rise_of_the_held_out_loss_is_overfitting(shapes):
    """The evidence has the best epoch and the rise since."""
    t = np.arange(1.0, 21.0)
    # Falls to 0.5 at epoch 9 and rises by 0.05 an epoch; the last two are averaged.
    valid = np.interp(t, [1, 9, 11, 20], [0.9, 0.5, 0.5, 0.95])
    params = {"dropout": 0.0, "weight_decay": 0.01, "max_epochs": 20}

    finding = shapes.found("overfitting", shapes.of_folds(1 / t, valid, params=params))

    assert (finding.code, finding.outcome, finding.severity) == ("SKT101", "issue", "high")
    assert finding.evidence["best_epoch"] == 9
    assert finding.evidence["rise"] == pytest.approx(0.925 / 0.5 - 1, rel=0.05)
    assert [(c.parameter, c.value) for c in finding.changes] == [("max_epochs", 10)]


@pytest.mark.parametrize(("end", "outcome"), [(0.99, "issue"), (0.965, "passed")])
def test_a_small_rise_may_cost_most_of_what_was_learnt(shapes, end, outcome):
    """The loss of a constant is 1, so 0.95 is a lead of 5 %; 4 of 5 points are lost."""
    t = np.arange(1.0, 21.0)
    valid = np.interp(t, [1, 5, 7, 18], [1.0, 0.95, 0.95, end])

    finding = shapes.found("overfitting", shapes.of_folds(1 / t, valid, baseline_loss=1.0))

    assert finding.outcome == outcome
    assert finding.evidence["lost_lead"] == pytest.approx((end - 0.95) / 0.05)
    lost = "rose by 4 % after epoch 5, which cost 80 % of its lead over a constant"
    assert (lost in finding.message) == (outcome == "issue")


def test_chance_is_not_a_rise(shapes):
    """One fold that rises alone, or single low epochs of a noisy curve."""
    one = shapes.healthy()
    one.valid_loss[:] = np.interp(T30, [1, 10], [0.9, 0.3])
    one.valid_loss[4] = np.interp(T30, [1, 10, 30], [0.9, 0.3, 0.8])
    noisy = shapes.healthy(n_epochs=60)
    rng = np.random.default_rng(0)
    noisy.valid_loss[:] = 0.3 * np.exp(0.3 * rng.normal(size=(1, 60)))

    assert shapes.found("overfitting", one).outcome == "passed"
    assert shapes.found("overfitting", noisy).outcome == "passed"


def test_a_training_loss_that_falls_alone_is_memorisation(shapes):
    """Without regularisation it is an issue."""
    t = np.arange(1.0, 41.0)
    valid = 0.5 + 0.5 * np.exp(-t) + 1e-4 * t
    found, calm = (
        shapes.found("overfitting", shapes.of_folds(0.9 / t, valid, params=params))
        for params in (
            {"dropout": 0.0, "weight_decay": 0.0},
            {"dropout": 0.2, "weight_decay": 0.01},
        )
    )

    assert (found.outcome, calm.outcome) == ("issue", "passed")


def test_memorised_rows_are_not_a_fault_while_the_held_out_loss_falls(shapes):
    """The training loss is 1 % of the held-out loss, which is least at the end."""
    t = np.arange(1.0, 31.0)
    valid = np.array([0.5 + 0.5 / t, 0.5 + 0.01 * t])

    outcomes = [
        shapes.found("overfitting", shapes.of_folds(0.005 + 0.9 * 0.5**t, curve)).outcome
        for curve in valid
    ]

    assert outcomes == ["passed", "issue"]


def test_a_tiny_gain_is_not_worth_more_epochs(shapes):
    """A short training that gained 0.2 % of the loss is not continued."""
    found = shapes.found(
        "still improving",
        shapes.of_folds(np.linspace(1.0, 0.99, 8), np.linspace(1.0, 0.998, 8), spread=0.0),
    )

    assert found.outcome == "passed"


def test_overfitting_with_the_best_weights_is_a_tip(shapes, make_search):
    """Early stopping does not use weights after the best epoch."""
    free = {"dropout": 0.0, "weight_decay": 0.0}
    t = np.arange(1.0, 41.0)
    valid = 0.5 + 0.5 * np.exp(-t) + 1e-4 * t
    vain = shapes.of_folds(0.9 / t, valid, params=free)

    for curves, kept in ((shapes.overfitting(params=free), "tip"), (vain, "passed")):
        assert shapes.found("overfitting", curves).outcome == "issue"
        search = make_search([free], [[0.5] * 5], select_epoch="best")
        search.learning_curves_ = shapes.table_of(curves)
        assert shapes.found("overfitting", search).outcome == kept


def test_high_losses_without_a_gap_are_underfitting(shapes):
    """Not even the training rows are fitted: a larger network is the remedy.

    Where nothing holds a network back, the data may be the ceiling: a tip.
    """
    params = {"width": 2, "n_layers": 1, "dropout": 0.5, "weight_decay": 0.1}

    finding = shapes.found("underfitting", shapes.underfitting(params=params))
    known, unknown = (
        shapes.found("underfitting", shapes.underfitting(params=own)) for own in (USUAL, {})
    )

    assert (finding.code, finding.outcome) == ("SKT102", "issue")
    changes = {c.parameter: (c.action, c.value) for c in finding.changes}
    assert changes["width"][0] == "at least"
    assert changes["width"][1] > 2
    assert (known.outcome, unknown.outcome) == ("tip", "issue")


@pytest.mark.parametrize(("n_epochs", "outcome"), [(3, "not applicable"), (4, "issue")])
def test_two_or_three_epochs_show_no_underfitting(shapes, n_epochs, outcome):
    """The ratio of the last two falls is unknown, so more epochs may help."""
    curves = shapes.underfitting(n_epochs)

    assert shapes.found("underfitting", curves).outcome == outcome


def test_larger_networks_distinguish_a_ceiling_from_underfitting(shapes, make_search):
    """If a larger network is not better, the data limit the loss."""
    name = "underfitting"
    held_back = {"width": 2, "augmentation": "mixup"}

    def beside(loss, **params):
        small = {"width": 8, **params}
        search = make_search([small, {"width": 64, **params}], [[0.2, 0.2], [0.3, 0.3]])
        search.learning_curves_ = shapes.curve_table([0.8, loss], n_epochs=30)
        search.estimator.set_params(dropout=0.9)
        return shapes.found(name, search, result_row=0)

    assert beside(0.8).outcome == "passed"
    assert beside(0.5).outcome == "issue"
    assert beside(0.5).evidence["ahead"] == pytest.approx(0.3)
    # With augmentation the training loss is of other rows; a larger network may still
    # reveal underfitting.
    changed = shapes.underfitting(params=held_back)
    assert shapes.found(name, changed).outcome == "not applicable"
    assert beside(0.5, augmentation="mixup").outcome == "issue"


def test_a_network_must_be_better_than_a_constant(shapes):
    """The message has the relative gain; noise leaves the result open."""
    name = "no better than the baseline"
    noisy = shapes.healthy(spread=0.0)
    noisy.valid_loss[:3] += 0.9

    learnt = shapes.found(name, shapes.healthy())

    assert (learnt.code, learnt.outcome) == ("SKT114", "passed")
    assert "75 %" in learnt.message
    assert shapes.found(name, shapes.no_signal()).outcome == "issue"
    assert shapes.found(name, noisy).outcome == "tip"
    unknown = shapes.found(name, shapes.healthy(baseline_loss=None))
    assert unknown.outcome == "not applicable"


def test_folds_with_other_target_variances_show_the_same_gain():
    """R2 of 0.3 in each fold is no chance, though the losses of the folds differ."""
    unexplained = np.tile(0.7 + 0.3 * np.exp(-T[:12] / 3), (3, 1))
    losses = unexplained * np.array([[1.6], [0.4], [1.2]])
    curves = {"train_loss": unexplained, "valid_loss": losses, "baseline_loss": 1.0}
    name = "no better than the baseline"

    of_losses, of_r2 = (
        next(f for f in diagnose(Curves(**curves, valid_score=s)) if f.name == name)
        for s in (np.full_like(losses, np.nan), 1 - unexplained)
    )

    assert of_losses.outcome != "passed"
    assert of_r2.outcome == "passed"
    assert of_r2.evidence["gain"] == pytest.approx(0.29, abs=0.01)


def test_without_signal_more_regularisation_is_advised(shapes):
    """The network only learns chance patterns."""
    free, held_back = (
        shapes.found("no better than the baseline", shapes.no_signal(params=params))
        for params in (USUAL, {**USUAL, "dropout": 0.9})
    )

    steps = [*free.changes, *(change for (change,) in free.alternatives)]
    assert [change.parameter for change in steps] == ["dropout", "weight_decay"]
    assert held_back.changes == ()


def test_a_loss_above_the_baseline_is_not_said_to_be_below(shapes):
    """A network without regularisation may overfit before it learns anything."""
    free = {"dropout": 0.0, "weight_decay": 0.0}
    above = shapes.of_folds(
        np.linspace(0.9, 0.3, 12), np.linspace(1.02, 1.4, 12), params=free
    )

    finding = shapes.found("no better than the baseline", above)

    assert finding.evidence["gain"] < 0
    assert finding.message == (
        "The held-out loss is not below that of a constant prediction."
    )


def test_a_high_loss_that_falls_has_not_diverged(shapes):
    """With unscaled features, losses start far above a constant prediction's."""
    t = np.arange(1.0, 31.0)
    high = 100 * np.exp(-t / 10)
    params = {"learning_rate": 3e-3, "max_epochs": 30}

    falling, rising = (
        shapes.of_folds(curve, curve, params=params) for curve in (high, high[::-1])
    )

    assert shapes.found("diverged", falling).outcome == "passed"
    (finding,) = [f for f in diagnose(falling) if f.outcome == "issue"]
    assert finding.name == "no better than the baseline"
    assert "times that of a constant prediction, and still falls." in finding.message
    assert [(c.parameter, c.value) for c in finding.changes] == [("max_epochs", 120)]
    diverged = shapes.found("diverged", rising)
    assert diverged.message == "The training loss rose from 4.98 to 90.5."


@pytest.mark.parametrize("n_epochs", [1, 2])
@pytest.mark.parametrize("level", [0.5, 0.99, 1.5])
def test_findings_of_few_epochs_agree(shapes, n_epochs, level):
    """No finding claims a trend from one epoch; two epochs have a trend."""
    losses = level * np.array([1.0, 0.95])[:n_epochs]
    params = {**USUAL, "learning_rate": 1e-3}
    findings = diagnose(shapes.of_folds(losses, losses + 0.01, params=params))

    by_name = {f.name: f for f in findings}
    if n_epochs == 1:
        assert by_name["still improving"].message == "One epoch shows no trend."
        for name in ("overfitting", "underfitting", "learning rate too high"):
            assert by_name[name].outcome == "not applicable"
        changed = [change.parameter for f in findings for change in f.changes]
        assert set(changed) <= {"max_epochs"}
    told = [f.message for f in findings]
    falls = [m for m in told if "times the epochs would lower" in m or "still falls" in m]
    assert not (falls and any("Any further fall" in m for m in told))
    assert n_epochs == 2 or not falls
