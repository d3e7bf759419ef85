"""The report page of AutoML."""

import copy
import json
import re
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_iris

from sk_tune import AutoClassifier, AutoRegressor
from sk_tune._automl._blend import blend_of
from sk_tune._automl._page import (
    auto_page,
    auto_step,
    failure_texts,
    front_text,
    larger_text,
    model_texts,
    selection_text,
)
from sk_tune._diagnosis import Finding
from sk_tune._report import write_page
from sk_tune.exceptions import LeakWarning


class _Text(HTMLParser):
    """Collects the visible text, and raises if tags do not match."""

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
    with pytest.warns(LeakWarning, match="told"):
        return auto.fit(X, data.target)


def test_the_page_has_the_answer_the_scores_and_the_leak(leaky, tmp_path):
    """It is well-formed HTML, and names from users are escaped."""
    path = write_page(auto_page(leaky, title="A & B"), tmp_path / "page.html")
    page = path.read_text(encoding="utf-8")

    reader = _Text()
    reader.feed(page)
    text = " ".join(" ".join(reader.text).split())
    assert reader.open == []
    assert leaky.summary_ in text
    assert "A & B" in text
    assert "The column '<b>told</b>' is the target in another encoding." in text
    for name in leaky.leaderboard_.index:
        assert name in text


def test_automl_has_the_report_of_searches(leaky, tmp_path):
    """As text and JSON, with the checks of users, and with the leak in front."""

    def too_slow(auto):
        return Finding(
            code="", name="too slow", outcome="issue", severity="low",
            message=f"{auto.n_trials_} configurations.", remedy="Take fewer.",
        )  # fmt: skip

    text = leaky.report(extra_checks=[too_slow])
    path = leaky.report(tmp_path / "a.json", extra_checks=[too_slow])

    content = json.loads(path.read_text(encoding="utf-8"))
    assert f"issue too slow: {leaky.n_trials_} configurations." in text
    assert leaky.summary_.split()[0] in text
    assert "told" in content["next_step"]["message"]
    assert content["checks"][-1]["name"] == "too slow"


@pytest.fixture(scope="module")
def tuned(small_network):
    """Return a fit with a search of networks, on numbers and a column of text."""
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    X = X.assign(note=[f"number {k}" for k in range(len(X))])
    options = {"models": ["linear", "networks"], "cv": 2, "test_size": 0.2, "n_jobs": 1}
    auto = AutoRegressor(time_budget=None, n_rounds=1, random_state=0, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sk_tune._automl._auto.network_models", lambda p: [small_network(p)])
        return auto.fit(X[:150], y[:150])


def test_the_page_has_the_contents_of_a_search_page(tuned, tmp_path):
    """Pictures and candidates of each network model appear once."""
    page = tuned.report(tmp_path / "page.html").read_text(encoding="utf-8")

    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "search-0-loss-curves" in ids
    assert "search-0-candidate-table" in ids
    assert any(name.endswith("-history") for name in ids)
    assert any("slice-" in name for name in ids)
    names = [part.title for part in auto_page(tuned).searches]
    assert names
    assert set(names) <= {
        trial.rpartition(" ")[0] for trial in tuned.leaderboard_.index
    } | {"table network"}


def test_the_best_candidate_of_a_search_has_its_name_among_all_models(tuned, tmp_path):
    """Row numbers of a search do not occur in the table of all models."""
    page = tuned.report(tmp_path / "page.html").read_text(encoding="utf-8")

    board = tuned.leaderboard_
    for part in auto_page(tuned).searches:
        assert dict(board.loc[part.best_name, "params"]) == part.best.params
        assert f"(row {part.best.result_row}; {part.best_name} among all models)" in page


def test_data_of_the_fit_add_their_fingerprint(tuned):
    """As on the page of a search."""
    X, y = load_diabetes(return_X_y=True)

    page = auto_page(tuned, X=X, y=y)

    assert page.reproduction.data["X"].startswith("shape (442, 10), float64, sha256 ")
    assert set(page.reproduction.data) == {"X", "y"}
    assert auto_page(tuned).reproduction.data == {}


def test_the_code_on_the_page_passes_the_groups(tuned):
    """As the fit did; without them the folds would be others."""
    X, y = load_iris(return_X_y=True)
    auto = AutoClassifier(time_budget=None, n_rounds=0, cv=2, models=["linear"])

    page = auto_page(auto.fit(X, y, groups=np.arange(150) // 3))

    assert "auto.fit(X, y, groups=groups)" in page.reproduction.code
    assert "auto.fit(X, y)" in auto_page(tuned).reproduction.code
    assert {part.metric for part in auto_page(tuned).searches} == {auto_page(tuned).metric}


def test_the_page_has_columns_metrics_residuals_and_usage(tuned, tmp_path):
    """Dropped columns have the reason."""
    page = tuned.report(tmp_path / "page.html").read_text(encoding="utf-8")

    assert "left out: text that differs in almost every row" in page
    assert 'id="residuals"' in page
    assert "mean absolute error" in page
    assert "predictions = auto.predict(X_new)" in page
    quality = auto_page(tuned).quality
    assert (quality.n_rows, quality.n_set_aside) == (120, 30)


def test_the_first_screen_has_score_model_and_next_step(tuned, tmp_path):
    """In this order; members are folded, and the score stands next to the baselines."""
    text = tuned.report(tmp_path / "page.html").read_text(encoding="utf-8")

    first = text[text.index('id="answer"') :]
    first = first[: first.index("</section>")]
    order = [f"<h3>{h}</h3>" for h in ("Expected on new data", "Model", "Next step")]
    places = [first.index(heading) for heading in order]
    assert places == sorted(places)
    expected, *_ = str(tuned.expected_score_).split()
    assert f'<p class="big">{expected}</p>' in first
    assert "<dt>dummy</dt>" in first
    assert "<dt>linear model</dt>" in first
    assert "Scored by R²" in first
    names = set(tuned.ensemble_.names)
    for name in names if len(names) > 1 else ():
        assert first.index("<details>") < first.index(name) < first.index("</details>")


@pytest.mark.parametrize("use", ["ensemble", "linear", "networks"])
def test_the_page_names_the_model_that_predicts(tuned, use):
    """With its family and the number of parameters of its networks in all folds."""
    auto = copy.copy(tuned).set_params(use=use)

    kind, folds, weights = model_texts(auto)

    blend = tuned.blends_[use]
    assert list(weights) == sorted(set(blend.names), key=[*weights].index)
    modules = [getattr(m.estimator[-1], "net_", None) for m in blend.combination.members]
    size = sum(p.numel() for n in modules if n for p in n.module_.parameters())
    assert ("parameters" in kind) == (size > 0)
    assert ("inear model" in kind) == any(n.startswith("linear") for n in weights)
    assert kind.startswith("Ensemble of") == (len(weights) > 1)
    assert folds.endswith("was fitted on all rows.")
    of_folds = blend_of(
        [SimpleNamespace(name=n, models=(None, None)) for n in blend.names],
        [m.weight for m in blend.combination.members],
        1.0,
        classes=None,
    )
    auto.blends_ = {use: of_folds}
    assert model_texts(auto)[1].endswith("the average of its 2 fold models.")
    auto.blends_ = {use: replace(blend, refitted=frozenset())}
    assert model_texts(auto)[1].endswith("the model of its last fold.")


def test_a_leak_is_the_next_step(leaky):
    """Leaks come before the findings of networks."""
    step = auto_page(leaky).next_step

    assert step.is_of_leaks
    assert step.remedy


@pytest.mark.parametrize("has_leak", [True, False])
def test_a_leak_casts_doubt_on_the_score(leaky, tuned, tmp_path, has_leak):
    """A sentence stands beside the score on the page and in text."""
    page = auto_page(leaky if has_leak else tuned)

    for name in ("page.html", "page.txt"):
        text = write_page(page, tmp_path / name).read_text(encoding="utf-8")
        assert ("A leak may inflate this score" in " ".join(text.split())) == has_leak


@pytest.fixture
def faulty(tuned):
    """Return a fit with a tip about its network, and an issue about an absent network."""
    auto = copy.copy(tuned)
    network = next(kind for name, kind in auto._labels.items() if name.startswith("MLP"))
    make = partial(Finding, code="", message="A message.", remedy="A remedy.")
    auto.findings_ = (
        make(name="overfitting", outcome="issue", severity="high", subject="CNN"),
        make(name="plateau", outcome="tip", severity="high", subject=network),
    )
    return auto


def test_the_next_step_concerns_a_network_of_the_model_that_predicts(faulty):
    """A severe issue of a network without weight comes later."""
    step = auto_step(faulty.set_params(use="networks"))

    assert step.remedy == f"{faulty.findings_[1].subject}: A remedy."


def test_the_next_step_names_the_weight_of_the_network(faulty):
    """In percent, if the model that predicts has several members."""
    names = [faulty.blends_[use].names[0] for use in ("linear", "networks")]
    blend = SimpleNamespace(weights=dict(zip(names, (0.75, 0.25), strict=True)))
    faulty.blends_ = {"ensemble": blend}

    step = auto_step(faulty)

    assert step.remedy == f"{faulty.findings_[1].subject}, weight 25 %: A remedy."


def test_without_networks_the_next_step_is_not_a_remedy_of_a_network(faulty):
    """It says that the network is not part of the model."""
    step = auto_step(faulty.set_params(use="linear"))

    assert step.remedy == (
        "Nothing urgent: the finding 'overfitting' concerns a network that is not used "
        "(CNN)."
    )


def test_a_score_that_new_rows_contradict_comes_before_remedies(faulty):
    """The remedies of networks may not concern its cause."""
    score = replace(faulty.model_scores_["ensemble"], score=0.8, low=0.78, held_out=0.3)
    faulty.model_scores_ = {"ensemble": score}

    assert auto_step(faulty).name == "lower score on the rows set aside"


def test_a_model_without_skill_needs_other_data(faulty):
    """Unless the remedy concerns a network of the model."""
    faulty.beats_baseline_ = False

    assert auto_step(faulty.set_params(use="networks")).name == "plateau"
    assert auto_step(faulty.set_params(use="linear")).remedy == (
        "Provide more rows, or more informative columns."
    )


@pytest.mark.parametrize(("use", "is_advised"), [("ensemble", True), ("networks", False)])
def test_an_ensemble_behind_the_linear_model_has_the_next_step_to_use_it(
    faulty, use, is_advised
):
    """As in the summary. Whoever chose the networks already decided against it."""
    score = replace(faulty.model_scores_["linear"], score=0.99)
    faulty.model_scores_ = faulty.model_scores_ | {"linear": score}
    faulty.findings_ = ()
    names = [faulty.blends_[use].names[0] for use in ("linear", "networks")]
    blend = SimpleNamespace(weights=dict.fromkeys(names, 0.5))
    faulty.blends_ = faulty.blends_ | {"ensemble": blend}

    step = auto_step(faulty.set_params(use=use))

    assert (step is not None) == is_advised
    if is_advised:
        assert step.remedy == (
            "Prefer the linear model, which is simpler: set use='linear'."
        )


def test_the_best_models_by_time_name_no_model_twice():
    """An ensemble of one model equals this model; ensembles of several are listed."""
    board = pd.DataFrame(
        [
            ["ensemble", 0.91, 8.0, 0.5],
            ["linear", 0.90, 2.0, 0.1],
            ["network", 0.91, 8.0, 0.5],
        ],
        columns=["family", "cv_score", "predict_ms", "megabytes"],
        index=["ensemble", "linear 1", "MLP 2"],
    )

    assert front_text(SimpleNamespace(pareto_front_=board)) == (
        "Best trade-offs of score, time for 10,000 rows and size: linear 1: 0.900, 2 ms, "
        "0.1 MB; MLP 2: 0.910, 8 ms, 0.5 MB."
    )


@pytest.mark.parametrize(
    ("score", "is_said"), [(0.9001, False), (0.91, True), (0.89, False)]
)
def test_a_larger_ensemble_is_mentioned_if_it_scores_higher(score, is_said):
    """The page does not say that it would score 0.900 instead of 0.900."""
    board = pd.DataFrame(
        {"cv_score": [0.9, score], "predict_ms": [88.0, 130.0]},
        index=["ensemble", "larger ensemble"],
    )

    text = larger_text(SimpleNamespace(leaderboard_=board))

    assert text.endswith("take 130 ms and score 0.910 instead of 0.900.") == is_said
    assert bool(text) == is_said


@pytest.mark.parametrize(
    ("top", "of_best", "is_said"),
    [(0.95, 0.85, True), (0.89, 0.85, False), (0.95, 0.95, False)],
)
def test_the_best_score_of_a_choice_is_too_optimistic(top, of_best, is_said):
    """The page explains a model above the ensemble, unless the honest choice equals it."""
    board = pd.DataFrame(
        {"family": ["linear", "ensemble", "linear"], "cv_score": [top, 0.9, 0.8]},
        index=["linear 3", "ensemble", "linear 1"],
    )
    scores = {
        name: SimpleNamespace(score=score)
        for name, score in (("ensemble", 0.9), ("best", of_best))
    }

    text = selection_text(SimpleNamespace(leaderboard_=board, model_scores_=scores))

    assert (
        text.startswith("Among the 2 models, linear 3 has the highest score, 0.950")
        == is_said
    )
    assert ("the score is 0.850" in text and text.endswith("has 0.900.")) == is_said


def test_a_failure_says_whether_the_model_was_trained():
    """A model of earlier rounds has trials."""
    auto = SimpleNamespace(
        _labels={"MLP 1": "MLP"}, failures_={"MLP": "It diverged.", "CNN": "No time."}
    )

    assert failure_texts(auto) == [
        "MLP failed in a later round: It diverged.",
        "CNN was not trained: No time.",
    ]


def test_a_report_of_a_model_without_trials_is_refused(leaky):
    """With the message of ``predict``."""
    auto = copy.copy(leaky).set_params(use="networks")

    with pytest.raises(ValueError, match="'use' parameter .* must be one of the trained"):
        auto_page(auto)


def test_missing_importance_has_a_reason(tuned):
    """Among the notes of the page."""
    hurried = copy.copy(tuned)
    hurried._effects, hurried.column_importance_reason_ = None, "There was no time."

    assert hurried.column_importance_ is None
    assert "There was no time." in auto_page(hurried).notes
    assert tuned.column_importance_reason_ == ""


def test_columns_have_their_importance(tuned, leaky):
    """The most important of the used columns comes first; here it is the leak."""
    for auto in (tuned, leaky):
        table = auto.column_importance_
        assert list(table) == ["column", "importance", "std"]
        assert set(table["column"]) == set(auto.kinds_.used)
        assert table["importance"].is_monotonic_decreasing
        page = auto_page(auto)
        assert page.effects.columns == tuple(table["column"])
    assert leaky.column_importance_["column"][0] == "<b>told</b>"
