"""The progress line of a search."""

import re
import sys
from types import SimpleNamespace

import pytest
from scipy.stats import loguniform
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from sk_tune import (
    BayesSearchCV,
    GridSearchCV,
    HalvingGridSearchCV,
    HyperbandSearchCV,
    RandomizedSearchCV,
)
from sk_tune._search._search_plan import SearchLine, _refit_work
from sk_tune.engine import Progress

RATES = {"learning_rate": loguniform(1e-3, 1e-1)}


@pytest.fixture
def net(make_estimator):
    """Return a small classifier."""
    return make_estimator("MLPClassifier")


@pytest.fixture
def every_text(monkeypatch):
    """All texts of a line, in turn."""
    texts = []
    show = "sk_tune._text.LiveLine.show"
    monkeypatch.setattr(show, lambda self, text: texts.append(text))
    return texts


def test_a_file_gets_the_last_line_without_escape_codes(net, iris, capsys):
    """A short search leaves one line with all counts, after scikit-learn's."""
    GridSearchCV(net, {"learning_rate": [0.01, 0.1]}, cv=3, verbose=1).fit(*iris)

    printed = capsys.readouterr().out
    assert not re.search("[\r\x1b\b]", printed)
    line = [text for text in printed.splitlines() if text.startswith("candidates")][-1]
    assert re.fullmatch(
        r"candidates 2/2, epochs 12/12, best score 0\.\d+, .* s in total", line
    )
    assert printed.startswith(
        "Fitting 3 folds for each of 2 candidates, totalling 6 fits\n"
    )


def test_a_terminal_has_one_line_that_is_overwritten(net, iris, capsys, monkeypatch):
    """It is cleared each time, and ended once."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)

    RandomizedSearchCV(net, RATES, n_iter=3, cv=3, verbose=1).fit(*iris)

    printed = capsys.readouterr().out
    of_scikit_learn, line = printed.split("\n", 1)
    assert "Fitting 3 folds" in of_scikit_learn
    assert line.startswith("\r\x1b[Kcandidates ")
    assert line.count("\n") == 1
    assert line.endswith("s in total\n")


@pytest.mark.parametrize("search", [HyperbandSearchCV, HalvingGridSearchCV])
def test_what_scikit_learn_prints_does_not_follow_the_line(
    net, iris, capsys, monkeypatch, search
):
    """On a terminal scikit-learn's sentences start on an empty line."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    options = {"max_resources": 4, "resource": "max_epochs", "factor": 2, "verbose": 1}

    search(net, {"learning_rate": [0.01, 0.02, 0.03, 0.04]}, cv=3, **options).fit(*iris)

    lines = capsys.readouterr().out.split("\n")
    shown = [line.split("\r\x1b[K")[-1] for line in lines]
    assert sum("Fitting 3 folds" in line for line in shown) >= 2
    assert all("candidates " in line for line in lines[-2:-1])
    assert not any("best score" in line and "Fitting" in line for line in shown)
    assert all(line.startswith("Fitting") for line in shown if "Fitting" in line)


def test_a_notebook_has_one_output_that_is_updated(net, iris, capsys, monkeypatch):
    """Only as text, without further output."""
    shown = []
    handle = SimpleNamespace(update=lambda data, raw: shown.append(data["text/plain"]))

    def display(data, raw, display_id):
        shown.append(data["text/plain"])
        return handle

    ipython = SimpleNamespace(
        get_ipython=lambda: SimpleNamespace(kernel=object()),
        display=SimpleNamespace(display=display),
    )
    monkeypatch.setitem(sys.modules, "IPython", ipython)

    RandomizedSearchCV(net, RATES, n_iter=3, cv=3, verbose=1).fit(*iris)

    assert shown[-1].startswith("candidates 3/3, epochs 18/18")
    assert "candidates" not in capsys.readouterr().out.partition("\n")[2]


def test_the_line_covers_all_brackets_and_the_refit(net, iris, every_text):
    """Totals are the plan's from the first text on; the time left includes the refit."""
    options = {"max_resources": 9, "factor": 3, "select_epoch": "last"}
    search = HyperbandSearchCV(net, RATES, cv=3, random_state=0, **options)
    plan = search.plan()

    search.set_params(verbose=1).fit(*iris)

    counts = [
        [int(n) for n in re.findall(r"\d+", text.split(", best")[0])[:4]]
        for text in every_text
    ]
    assert {(match[1], match[3]) for match in counts} == {
        (plan.n_candidates, plan.n_epochs)
    }
    for done in (0, 2):
        column = [match[done] for match in counts]
        assert column == sorted(column)
    assert counts[-1] == [plan.n_candidates] * 2 + [plan.n_epochs] * 2
    best = f"best score {search.best_score_:.4g} after 9 epochs"
    assert every_text[-1].endswith(f"{best}, refit")
    assert every_text[-2].endswith(" left")


def test_candidates_on_one_fold_count_as_their_fits_end(net, iris, every_text):
    """Half of the 17 candidates of the first rung have ended after half of its fits."""
    line = SearchLine(
        HyperbandSearchCV(net, RATES, cv=3, max_resources=9).plan(),
        refits=True,
        time_budget=None,
    )

    line.begin_round(17, is_streaming=False)
    counts = {"n_epochs": 17, "n_epochs_done": 8, "best_score": 0.5}
    line(Progress(n_fits=17, n_fits_done=8, seconds=1.0, seconds_left=1.0, **counts))

    assert every_text[-1].startswith("candidates 8/17, epochs 8/")
    assert "waiting" not in every_text[-1]


def test_the_line_says_that_other_processes_train(net, iris, every_text):
    """They share the store, and this process has no fits left to train."""
    search = HyperbandSearchCV(net, RATES, cv=3, max_resources=9)
    line = SearchLine(search.plan(), refits=True, time_budget=None)

    line.begin_round(17, is_streaming=False)
    counts = {"n_epochs": 17, "n_epochs_done": 15, "best_score": 0.5}
    times = {"seconds": 1.0, "seconds_left": 1.0}
    line(Progress(n_fits=17, n_fits_done=15, n_fits_elsewhere=2, **times, **counts))

    assert ", waiting for 2 fits of other processes, " in every_text[-1]


KINDS = {
    "hyperband": (HyperbandSearchCV, {"max_resources": 9}),
    "asynchronous": (HyperbandSearchCV, {"max_resources": 9, "asynchronous": True}),
    "halving": (
        HalvingGridSearchCV,
        {"resource": "max_epochs", "min_resources": 3, "aggressive_elimination": True},
    ),
    "rows": (HalvingGridSearchCV, {"min_resources": 30, "max_resources": 120, "factor": 2}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_score_falls_only_with_more_resources(net, iris, every_text, kind):
    """The line shows the resources, which explain the fall."""
    search, options = KINDS[kind]
    if kind == "halving":
        options = {"max_resources": 9, **options}
    rates = {"learning_rate": [0.1, 0.003, 0.01, 0.03, 0.001, 0.0003, 0.05, 0.2, 0.3]}

    search(net, rates, cv=3, random_state=0, verbose=1, **options).fit(*iris)

    pattern = r"best score ([\d.]+) (?:after|with) (\d+) (?:epoch|sample)s?,"
    shown = [re.search(pattern, text) for text in every_text if "best score" in text]
    pairs = [(int(match[2]), float(match[1])) for match in shown]
    assert pairs == sorted(pairs)
    assert len({resources for resources, _ in pairs}) > 1


@pytest.mark.parametrize("search", [BayesSearchCV, RandomizedSearchCV])
def test_other_estimators_count_by_candidate(iris, capsys, search):
    """They have no epochs."""
    space = {"C": loguniform(1e-2, 1e2)}
    fitted = search(
        LogisticRegression(max_iter=2000),
        space,
        n_iter=3,
        cv=3,
        random_state=0,
        verbose=1,
    )

    fitted.set_params(refit=False).fit(*iris)

    last = capsys.readouterr().out.splitlines()[-1]
    assert re.match(r"candidates 3/3, best score [\d.]+, ", last)


def test_a_callable_gets_the_progress_and_nothing_is_printed(net, iris, capsys):
    """scikit-learn, which compares `verbose` with numbers, never sees the callable."""
    reports = []
    search = GridSearchCV(net, {"learning_rate": [0.01, 0.1]}, cv=3, verbose=reports.append)

    search.fit(*iris)

    assert reports[-1].n_fits_done == reports[-1].n_fits == 6
    assert capsys.readouterr().out == ""
    assert search.verbose == reports.append


def test_the_refit_takes_as_many_epochs_as_the_longest_fit(net):
    """Rungs continue, for any name of the resource's parameter."""
    options = {"max_resources": 9, "min_resources": 1, "cv": 3}
    plans = [
        HalvingGridSearchCV(
            estimator,
            {f"{name}dropout": [0.0] * 9},
            resource=f"{name}max_epochs",
            **options,
        ).plan()
        for estimator, name in ((net, ""), (Pipeline([("net", net)]), "net__"))
    ]

    # On half as many samples again as in a fold.
    assert [_refit_work(plan) for plan in plans] == [9 * 3 / 2] * 2
