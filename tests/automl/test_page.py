"""The verdict, and the page of a fit."""

import copy
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris

from sk_tune import AutoClassifier, AutoRegressor
from sk_tune.automl._chosen import Score
from sk_tune.automl._page import auto_page, format_score, scale_of, verdict
from sk_tune.exceptions import SkTuneWarning

NAN = math.nan


class _Text(HTMLParser):
    """Collects what is read, and refuses tags that do not match."""

    void = ("meta", "br", "img", "link")

    def __init__(self):
        super().__init__()
        self.open, self.text = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def leaky():
    """Return a fit on data with a leak, and with a name that could be a tag."""
    data = load_iris(as_frame=True)
    X = data.data.assign(**{"<b>told</b>": np.array([5, 9, 7])[data.target]})
    auto = AutoClassifier(time_budget=None, n_rounds=0, cv=2, random_state=0)
    auto.set_params(models=["linear"])
    with pytest.warns(SkTuneWarning, match="told"):
        return auto.fit(X, data.target)


def test_the_page_has_the_answer_the_scores_and_the_leak(leaky, tmp_path):
    """It is well formed, and names from users are text."""
    path = leaky.report(tmp_path / "page.html", title="A & B")
    page = path.read_text(encoding="utf-8")

    reader = _Text()
    reader.feed(page)
    text = " ".join(" ".join(reader.text).split())
    assert reader.open == []
    assert leaky.verdict_ in text
    assert "A & B" in text
    assert "The column '<b>told</b>' is the target in other words." in text
    for name in leaky.leaderboard_.index:
        assert name in text


@pytest.fixture(scope="module")
def tuned(small_network):
    """Return a fit with a search of networks, on numbers and a column of text."""
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    X = X.assign(note=[f"number {k}" for k in range(len(X))])
    options = {"models": ["linear", "network"], "cv": 2, "test_size": 0.2, "n_jobs": 1}
    auto = AutoRegressor(time_budget=None, n_rounds=1, random_state=0, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sk_tune.automl._auto.network_models", lambda p: [small_network(p)])
        return auto.fit(X[:150], y[:150])


def test_the_page_has_what_the_page_of_a_search_has(tuned, tmp_path):
    """By the same template: pictures and candidates of each kind of network, once each."""
    page = tuned.report(tmp_path / "page.html").read_text(encoding="utf-8")

    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "search-0-loss-curves" in ids
    assert "search-0-candidate-table" in ids
    assert any(own.endswith("-history") for own in ids)
    assert any("slice-" in own for own in ids)
    names = [part.title for part in auto_page(tuned, title="", usage="").searches]
    assert names
    assert set(names) <= {
        trial.rpartition(" ")[0] for trial in tuned.leaderboard_.index
    } | {"MLP with embeddings and members"}


def test_the_page_tells_columns_metrics_residuals_and_how_to_predict(tuned, tmp_path):
    """Columns that are left out with the reason."""
    page = tuned.report(tmp_path / "page.html").read_text(encoding="utf-8")

    assert "left out: text that hardly recurs" in page
    assert 'id="residuals"' in page
    assert "mean absolute error" in page
    assert "predictions = auto.predict(X_new)" in page
    quality = auto_page(tuned, title="", usage="").quality
    assert (quality.n_rows, quality.n_set_aside) == (120, 30)


def test_the_headline_names_the_model_with_the_highest_score(tuned):
    """Whether or not it is the ensemble."""
    headline = auto_page(tuned, title="", usage="").headline

    scores = [own.mean for name, own in tuned.scores_.items() if name != "dummy"]
    named = float(re.search(r"with R² (\d\.\d+)", headline)[1])
    assert named >= max(scores) - 0.1 * tuned.scores_["ensemble"].std - 0.0005
    prefers_linear = "Prefer the linear model" in tuned.verdict_
    assert ("linear" in headline.partition(",")[0]) >= prefers_linear


@pytest.mark.parametrize("use", ["linear", "networks"])
def test_the_headline_says_what_predicts(tuned, use):
    """That is what `use` says, and not always the ensemble."""
    auto = copy.copy(tuned).set_params(use=use)

    headline = auto_page(auto, title="", usage="").headline

    assert "the ensemble, which predicts" not in headline
    name = {"linear": r"linear \d+ alone", "networks": "the average of the networks"}[use]
    assert re.search(name, headline)
    assert headline.endswith(f" {tuned.scores_[use].mean:.3f}.")


def test_an_ensemble_of_one_model_is_not_set_against_that_model(leaky):
    """It is one model by one name."""
    assert (leaky.leaderboard_["weight"] > 0).sum() == 1

    headline = auto_page(leaky, title="", usage="").headline

    assert re.match(r"The best model is linear \d+ alone, with accuracy", headline)


def _scores(
    ensemble,
    linear=0.7,
    networks=0.7,
    *,
    std=0.01,
    held=NAN,
    linear_held=NAN,
    alone=(0.7, 0.01, NAN),
):
    def score(name, mean, held_out=NAN):
        lead = NAN if mean is None else mean - 0.5 - 0.01
        return Score(name=name, mean=mean, std=std, held_out=held_out, lead=lead)

    own = {
        "dummy": score("dummy", 0.5),
        "linear": score("linear", linear, linear_held),
        "networks": score("networks", networks),
        "best model": replace(score("best model", alone[0], alone[2]), std=alone[1]),
        "ensemble": score("ensemble", ensemble, held),
    }
    return {name: s for name, s in own.items() if s.mean is not None}


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (_scores(0.505, alone=(0.505, 0.01, NAN)), ["Nothing clearly beats the dummy"]),
        (_scores(0.505), ["best model alone does: 0.700 against 0.505 of the ensemble"]),
        (
            _scores(0.8),
            ["beats the linear model by 0.100, more than", "alone would give 0.700"],
        ),
        (_scores(0.8, networks=0.8), ["about as much"]),
        (_scores(0.705), ["does not clearly beat", "within the spread"]),
        (_scores(0.7104), ["by 0.010, which is within the spread over the folds, 0.010"]),
        (_scores(0.69), ["does not beat the linear model", "0.010 lower"]),
        (_scores(0.7), ["no higher"]),
        (_scores(0.8, held=0.6, linear_held=0.7), ["rows set aside it does not"]),
        (_scores(0.8, linear=None), ["no linear model to compare"]),
        (_scores(0.8, networks=None), ["No network was trained"]),
        (
            _scores(0.8, alone=(0.9, 0.01, NAN)),
            ["has a higher score than the ensemble in the folds, 0.900 against 0.800"],
        ),
        (
            _scores(0.8, held=0.7, alone=(0.7, 0.01, 0.75)),
            ["on the rows set aside, 0.750 against 0.700. Consider it, which is simpler"],
        ),
        (
            _scores(0.8, std=NAN, alone=(0.9, NAN, NAN)),
            ["on one held-out part, which does not tell", "Consider it, which is simpler"],
        ),
    ],
)
def test_the_verdict_says_what_is_worth_having(scores, words):
    """Each case has its sentence."""
    text = verdict(scores)

    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("n_leaks", "start"),
    [
        (0, "The ensemble"),
        (1, "The leak guard found a reason why these scores may be too good"),
        (3, "The leak guard found 3 reasons why these scores may be too good"),
    ],
)
def test_leaks_come_first(n_leaks, start):
    """No score is read before what it is worth."""
    text = verdict(_scores(0.8), n_leaks)

    assert text.startswith(start)
    assert text.endswith(verdict(_scores(0.8)))


def test_a_best_model_that_is_not_better_is_not_mentioned():
    """Neither one that is worse, nor one whose score reads the same."""
    held = {"held": 0.75, "alone": (0.9, 0.01, 0.7)}

    for scores in (_scores(0.8), _scores(0.8, alone=(0.8001, 0.01, NAN))):
        assert "best model" not in verdict(scores)
    assert "best model" not in verdict(_scores(0.8, **held))


def test_scores_have_the_digits_of_their_scale():
    """Three decimals for usual sizes, three significant digits for others."""
    assert format_score(0.91234) == "0.912"
    assert format_score(123456.0, scale=2e5) == "1.23e+05"
    assert format_score(NAN) == "n/a"
    assert scale_of(list(_scores(0.8).values())) == 0.8
    assert scale_of([]) == 1.0


def test_of_the_dummy_alone_nothing_is_said_of_the_columns():
    """No model has looked at them, as where the time is too short for each."""
    own = {k: v for k, v in _scores(0.5).items() if k in {"dummy", "ensemble"}}

    assert verdict(own).startswith("No model was trained but the dummy")
