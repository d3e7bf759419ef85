"""The page of a fit."""

import copy
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris

from sk_tune import AutoClassifier, AutoRegressor
from sk_tune.automl._page import auto_page
from sk_tune.exceptions import SkTuneWarning


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
