"""Sentences of the summary."""

import math
from dataclasses import replace

import numpy as np
import pytest

from sk_tune._automl import ModelScore, format_score, scale_of
from sk_tune._automl._scoring import Scoring
from sk_tune._automl._summary import shortage_text
from sk_tune._automl._summary import summary as _summary

NAN = math.nan
ACCURACY = Scoring(name="accuracy", scorer="accuracy", reason="")
LABELS = np.repeat(["no", "yes"], [90, 10])


def summary(scores, scoring=ACCURACY, **options):
    """Return the summary of a classification of 100 rows."""
    return _summary(scores, scoring, **{"n_rows": 100, "labels": LABELS, **options})


def _scores(
    ensemble,
    linear=0.7,
    networks=0.7,
    *,
    std=0.01,
    linear_lead=0.002,
    held=NAN,
    linear_held=NAN,
    alone=(0.7, 0.01, NAN),
):
    def score(name, mean, held_out=NAN):
        lead = NAN
        loss = 0.7
        if mean is not None:
            lead, loss = mean - 0.51, 1.2 - mean
        leads = {"lead": lead, "loss": loss, "loss_lead": lead, "low": NAN, "high": NAN}
        leads |= {"confidence": 0.95, "method": "cross-fitting", "linear_lead": linear_lead}
        return ModelScore(name=name, score=mean, std=std, held_out=held_out, **leads)

    scores = {
        "dummy": score("dummy", 0.5),
        "linear": score("linear", linear, linear_held),
        "networks": score("networks", networks),
        "best": replace(score("best", alone[0], alone[2]), std=alone[1]),
        "ensemble": score("ensemble", ensemble, held),
    }
    return {name: s for name, s in scores.items() if s.score is not None}


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (
            _scores(0.505, alone=(0.505, 0.01, NAN)),
            ["No model clearly beats predicting the class shares: on 100 rows"],
        ),
        (
            _scores(0.505),
            ["By log loss the best single model does (0.500 against 0.700); set use="],
        ),
        (
            _scores(0.8),
            [
                "beats the linear model by 0.100 in accuracy; the 95 % interval of the "
                "difference is above 0.",
                "alone scores 0.700",
            ],
        ),
        (_scores(0.8, networks=0.8), ["about the same"]),
        # Folds may differ by more than the models, which are compared on the same rows.
        (_scores(0.705, std=0.1), ["The ensemble beats the linear model by 0.005"]),
        (
            _scores(0.705, linear_lead=-0.001),
            ["ahead by 0.005 in accuracy, and the 95 % interval", "contains 0"],
        ),
        (_scores(0.705, linear_lead=NAN), ["does not clearly beat the linear model"]),
        (_scores(0.69), ["does not beat the linear model", "0.010 lower"]),
        (_scores(0.7), ["CV score is about the same"]),
        (_scores(0.7001), ["CV score is about the same"]),
        (_scores(0.8, held=0.6, linear_held=0.7), ["rows set aside it does not"]),
        (_scores(0.8, linear=None), ["no linear model to compare"]),
        (_scores(0.8, networks=None), ["No network was trained"]),
        (
            _scores(0.8, alone=(0.9, 0.01, NAN)),
            ["has a higher score than the ensemble in the folds (0.900 against 0.800)"],
        ),
        (
            _scores(0.8, held=0.7, alone=(0.7, 0.01, 0.75)),
            ["on the rows set aside (0.750 against 0.700). It is simpler"],
        ),
        (
            _scores(0.8, std=NAN, alone=(0.9, NAN, NAN)),
            ["The ensemble beats the linear model by 0.100", "It is simpler"],
        ),
    ],
)
def test_the_summary_compares_the_models(scores, words):
    """Each case has its sentence."""
    text = summary(scores)

    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("n_leaks", "start"),
    [
        (0, "The ensemble"),
        (1, "The leak guard found a reason why these scores may be too optimistic"),
        (3, "The leak guard found 3 reasons why these scores may be too optimistic"),
    ],
)
def test_leaks_come_first(n_leaks, start):
    """The summary starts with a warning about its scores."""
    text = summary(_scores(0.8), n_leaks=n_leaks)

    assert text.startswith(start)
    assert text.endswith(summary(_scores(0.8)))


def test_a_best_model_that_is_not_better_is_not_mentioned():
    """It is worse, or its score is equal after rounding."""
    options = {"held": 0.75, "alone": (0.9, 0.01, 0.7)}

    for scores in (_scores(0.8), _scores(0.8, alone=(0.8001, 0.01, NAN))):
        assert "best single model" not in summary(scores)
    assert "best single model" not in summary(_scores(0.8, **options))


def test_scores_have_the_digits_of_their_scale():
    """Three decimals for usual sizes, three significant digits for others.

    Errors of prices are written out.
    """
    assert format_score(0.91234) == "0.912"
    assert format_score(-123456.0, scale=2e5) == "-123,000"
    assert format_score(1234.5, scale=1000.0) == "1,230"
    assert format_score(12.34, scale=2e5) == "12"
    assert format_score(1.23456e8, scale=1e8) == "1.23e+08"
    assert format_score(NAN) == "n/a"
    assert format_score(-0.0, scale=0.0) == "0"
    assert scale_of(list(_scores(0.8).values())) == 0.8
    assert scale_of([]) == 1.0


def test_with_only_the_dummy_the_use_of_the_columns_is_unknown():
    """No model was trained on them, because the time was too short."""
    scores = {k: v for k, v in _scores(0.5).items() if k in {"dummy", "ensemble"}}

    assert summary(scores).startswith("Only the dummy was trained")


@pytest.mark.parametrize(
    ("trained", "late", "words"),
    [
        (["linear"], {"boosting": math.inf}, "enough for only one model, linear, and too"),
        ([], {"linear": 41.0, "MLP": 170.0}, "The time budget of 20 s was too short for"),
        ([], {"linear": 41.0, "MLP": 170.0}, "linear, MLP. Set a longer time_budget"),
        ([], {"linear": 41.0, "MLP": 170.0}, "time_budget; linear needs about 50 s."),
        ([], {"linear": 21.0}, "linear needs about 30 s."),
    ],
)
def test_a_budget_for_one_model_at_most_is_too_short(trained, late, words):
    """The summary names the models without time, and the budget if it was estimated."""
    text = shortage_text(20.0, trained, late)

    assert words in text
    assert summary(_scores(0.8), shortage=text).endswith(text)


@pytest.mark.parametrize(
    ("budget", "trained", "late"),
    [
        (20.0, ["linear", "MLP"], {"boosting": 90.0}),
        (20.0, ["linear"], {}),
        (None, [], {"MLP": 90.0}),
    ],
)
def test_a_budget_for_several_models_is_long_enough(budget, trained, late):
    """So is a budget that all models of one family needed, and no budget."""
    assert shortage_text(budget, trained, late) == ""


def _scored_by(name, **options):
    return Scoring(name=name, scorer=name, reason="", **options)


def test_informative_columns_without_a_higher_score_are_reported():
    """Log loss improves and accuracy does not; the summary recommends another metric."""
    scores = _scores(0.505)
    scores["ensemble"] = replace(scores["ensemble"], loss_lead=0.1, loss=0.28)
    scores["dummy"] = replace(scores["dummy"], loss=0.33)

    text = summary(scores)

    assert text == (
        "By accuracy the ensemble does not clearly beat the dummy, which always predicts "
        "'no'. By log loss it clearly beats predicting the class shares (0.280 against "
        "0.330), so the columns are informative. Score by ROC AUC or log loss: "
        "scoring='roc_auc'. Or move the threshold: threshold='balanced_accuracy'."
    )


def test_roc_auc_is_the_evidence_if_the_loss_is_not_clearly_lower():
    """The ROC AUC shows weak effects on fewer rows."""
    scores = _scores(0.505)
    scores["ensemble"] = replace(scores["ensemble"], auc=0.71, auc_lead=0.1)

    assert (
        "By ROC AUC it clearly beats predicting the class shares (0.710 against 0.500)"
        in (summary(scores))
    )


@pytest.mark.parametrize(
    ("n_targets", "unit"),
    [(1, ""), (2, " (each target in units of its standard deviation)")],
)
def test_the_squared_error_of_several_targets_names_its_unit(n_targets, unit):
    """It is a mean over targets that are divided by their standard deviations."""
    noise = _scores(0.505, alone=(0.505, 0.01, NAN))
    informative = _scores(0.505)
    informative["ensemble"] = replace(informative["ensemble"], loss_lead=0.1)

    texts = [
        summary(scores, _scored_by("r2"), labels=None, n_targets=n_targets)
        for scores in (noise, informative)
    ]

    assert f"on 100 rows the squared error{unit} of the ensemble is 0.695" in texts[0]
    assert f"By squared error{unit} it clearly beats predicting the mean" in texts[1]


def test_a_higher_score_without_a_lower_loss_is_not_evidence():
    """F1 rises by predicting the rare class more often."""
    scores = _scores(0.8, alone=(0.505, 0.01, NAN))
    scores["ensemble"] = replace(
        scores["ensemble"], loss_lead=-0.1, auc=0.52, auc_lead=-0.03
    )

    text = summary(scores, _scored_by("f1"))

    assert text.startswith("No model clearly beats predicting the class shares")
    assert "its ROC AUC 0.520 against 0.500" in text
    assert "This number of rows cannot rule out a small effect." in text
    assert "By F1 the ensemble is ahead of the dummy, 0.800 against 0.500, but this" in text


def test_an_ensemble_of_the_linear_model_is_not_compared_with_it():
    """It would lead itself by 0.000."""
    text = summary(_scores(0.8, linear=0.79999), members=["linear 3"])

    assert text.startswith("The ensemble consists of the linear model alone (linear 3)")
    assert "ahead" not in text
    assert "best single model" not in text


@pytest.mark.parametrize(("held", "is_low"), [(0.6, True), (0.7, False), (NAN, False)])
def test_a_score_that_new_rows_contradict_comes_first(held, is_low):
    """The interval of the folds, 0.78 to 0.82, is narrower than one of a few rows."""
    scores = _scores(0.8, held=held)
    scores["ensemble"] = replace(scores["ensemble"], low=0.78, high=0.82)

    start = "On the rows set aside the ensemble scores 0.600, far below 0.800 in the folds"
    assert summary(scores).startswith(start) == is_low


@pytest.mark.parametrize(
    ("options", "member", "omitted"),
    [
        ({"networks": 0.8}, "MLP 1", "ensemble of networks"),
        ({"alone": (0.9, 0.01, NAN)}, "boosting 4", "The best single model"),
    ],
)
def test_an_ensemble_of_one_model_is_compared_with_the_linear_model_only(
    options, member, omitted
):
    """The model is named, and the best model or the ensemble of networks is the same."""
    text = summary(_scores(0.8, **options), members=[member])

    assert text.startswith(f"The ensemble consists of one model, {member}.")
    assert "beats the linear model" in text
    assert omitted not in text


def test_other_members_help_only_an_ensemble_with_networks():
    """Without networks, their score shows nothing about the members."""
    scores = _scores(0.8, linear=0.8)
    text = summary(scores, members=["linear 1"], has_networks=False)

    assert text.endswith(
        "The ensemble of networks alone scores 0.700, lower than the ensemble."
    )
    assert summary(scores).endswith("alone scores 0.700: the other members help.")


def test_the_best_linear_model_is_recommended_once():
    """It is recommended as the linear model, not again as the best model."""
    text = summary(_scores(0.8, linear=0.9, alone=(0.9, 0.01, NAN)))

    assert "Prefer the linear model" in text
    assert "best single model" not in text
