"""Which trials are averaged."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, r2_score

from sk_tune._metric import scorer_metric
from sk_tune.automl._choice import choose, without_worse_than
from sk_tune.automl._trials import Trial
from sk_tune.ensemble import Library


def _trial(name, predictions, y, part, classes, score=0.5):
    return Trial(
        n_rows=100,
        label="",
        name=name,
        family=name.split()[0],
        params={},
        score=score,
        std=0.0,
        fold_scores=np.array([score]),
        seconds=1.0,
        models=(),
        library=Library(
            candidates=np.arange(1),
            predictions=predictions[None],
            y=y,
            part=part,
            classes=classes,
        ),
    )


@pytest.fixture
def regression(make_problem):
    """Return a problem and two trials whose errors cancel."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=300)
    problem = make_problem(np.zeros((300, 1)), y, is_classification=False)
    part = np.empty(300, dtype=int)
    for fold, (_, held) in enumerate(problem.folds):
        part[held] = fold
    noise = rng.normal(size=300)
    trials = [
        _trial("MLP 1", y + noise, y, part, None),
        _trial("boosting 1", y - noise, y, part, None),
        _trial("linear 1", y + 3 * noise, y, part, None),
    ]
    return problem, trials


def test_members_whose_errors_cancel_are_averaged(regression):
    """Half of each has hardly any error; what is worse in the same way has no weight."""
    problem, trials = regression

    chosen = choose(trials, problem, scorer_metric("r2"), calibrate=False)

    by_name = {t.name: w for t, w in zip(chosen.trials, chosen.weights, strict=True)}
    assert by_name["MLP 1"] == pytest.approx(0.5, abs=0.1)
    assert by_name["boosting 1"] == pytest.approx(0.5, abs=0.1)
    assert by_name["linear 1"] < 0.1
    assert chosen.score > 0.9
    assert chosen.corrected.low <= chosen.corrected.score <= chosen.corrected.high


def test_the_score_of_one_member_is_its_own(regression):
    """The mean of the folds' R^2 of what it predicts of rows that it did not see."""
    problem, trials = regression

    chosen = choose(trials[:1], problem, scorer_metric("r2"), calibrate=False)

    own = trials[0].library
    expected = [
        r2_score(own.y[held], own.predictions[0][held]) for _, held in problem.folds
    ]
    assert chosen.weights.tolist() == [1.0]
    assert chosen.score == pytest.approx(np.mean(expected))
    assert chosen.std == pytest.approx(np.std(expected))


def test_chance_is_not_mistaken_for_skill(make_problem):
    """On labels that are noise the score of the best of 20 is about one half."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 600)
    problem = make_problem(np.zeros((600, 1)), y)
    part = np.empty(600, dtype=int)
    for fold, (_, held) in enumerate(problem.folds):
        part[held] = fold
    trials = []
    for i in range(20):
        p = rng.uniform(0.2, 0.8, 600)
        proba = np.column_stack([1 - p, p])
        score = accuracy_score(y, p > 0.5)
        trials.append(_trial(f"MLP {i}", proba, y, part, np.array([0, 1]), score=score))

    chosen = choose(trials, problem, scorer_metric("accuracy"), calibrate=True)

    assert chosen.score == pytest.approx(0.5, abs=0.05)
    assert chosen.temperature > 1


def test_one_held_out_part_has_one_score(make_problem):
    """With a single split the ensemble is scored on all of its rows."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=100)
    folds = [(np.arange(60), np.arange(60, 100))]
    problem = make_problem(np.zeros((100, 1)), y, is_classification=False, folds=folds)
    held = y[60:]
    trial = _trial("MLP 1", held + 0.1, held, np.arange(40) % 5, None)

    chosen = choose([trial], problem, scorer_metric("r2"), calibrate=False)

    assert chosen.score == pytest.approx(r2_score(held, held + 0.1))
    assert np.isnan(chosen.std)


def test_what_scores_less_than_the_dummy_is_no_member_of_a_regression(regression):
    """It is far off somewhere, as a linear model on rows unlike those it was fitted on."""
    _, (first, *_) = regression
    library = first.library

    def scored(score):
        return _trial(
            "linear 9", library.predictions[0], library.y, library.part, None, score
        )

    dummy, bad, good = scored(-0.1), scored(-2.0), scored(0.3)

    assert without_worse_than(dummy, [bad, good]) == [good]
    assert without_worse_than(dummy, [bad]) == [bad]
    assert without_worse_than(None, [bad, good]) == [bad, good]


def test_classes_are_judged_by_log_loss(make_problem):
    """A rare class is never guessed by accuracy; who tells it apart is kept."""
    y = np.repeat([0, 1], [90, 10])
    part = np.arange(100) % 5
    share = np.full(100, 0.1)
    better = np.where(y == 1, 0.4, 0.07)
    sure_and_wrong = np.where(y == 1, 0.001, 0.1)
    dummy, knows, harms = (
        _trial(name, np.stack([1 - p, p], axis=1), y, part, np.array([0, 1]), score=0.9)
        for name, p in [("dummy 1", share), ("MLP 1", better), ("MLP 2", sure_and_wrong)]
    )

    assert without_worse_than(dummy, [knows, harms]) == [knows]
