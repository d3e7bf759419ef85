"""Searches as studies of Optuna."""

import optuna
import pytest
from optuna.trial import TrialState
from scipy.stats import loguniform
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV as SklearnGridSearchCV

from sk_tune import GridSearchCV, HalvingRandomSearchCV, HyperbandSearchCV, MLPClassifier
from sk_tune.search import OptunaExport, to_optuna

NET = MLPClassifier(width=4, max_epochs=4, batch_size=16, random_state=0)
SPACE = {
    "learning_rate": loguniform(1e-4, 1e-1),
    "hidden_layer_sizes": [(4,), (2, 2)],
    "activation": ["relu", "tanh"],
}


@pytest.fixture(autouse=True)
def _quiet():
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(level)


@pytest.fixture(params=["memory", "sqlite"])
def storage(request, tmp_path):
    """A storage that can be opened again."""
    if request.param == "memory":
        return optuna.storages.InMemoryStorage()
    return f"sqlite:///{tmp_path / 'study.db'}"


def _hyperband(**options):
    return HyperbandSearchCV(NET, SPACE, factor=2, cv=3, random_state=0, **options)


def _facts(study):
    return sorted(
        (t.user_attrs["row"], t.state.name, t.value, tuple(sorted(t.params.items())))
        for t in study.trials
    )


def test_a_search_becomes_a_study(iris, storage):
    """With one trial a configuration, and its epochs."""
    search = _hyperband().fit(*iris)

    to_optuna(search, storage, study_name="iris")
    study = optuna.load_study(study_name="iris", storage=storage)

    assert len(study.trials) == len(search.search_record_.last_rows)
    assert study.best_value == search.best_score_
    best = study.best_trial
    assert best.user_attrs["row"] == search.best_index_
    assert best.params == {
        **{n: v for n, v in search.best_params_.items() if n in SPACE},
        "hidden_layer_sizes": repr(search.best_params_["hidden_layer_sizes"]),
    }
    assert list(best.intermediate_values) == [1, 2, 3, 4]
    rate = best.distributions["learning_rate"]
    assert (rate.low, rate.high, rate.log) == pytest.approx((1e-4, 1e-1, True))
    pruned = study.get_trials(states=[TrialState.PRUNED])
    assert pruned
    assert all(max(t.intermediate_values) < 4 for t in pruned)


def test_what_is_there_is_not_added_again(iris, storage):
    """A script may run twice."""
    search = _hyperband().fit(*iris)
    first = _facts(to_optuna(search, storage, study_name="iris"))

    assert _facts(to_optuna(search, storage, study_name="iris")) == first


def test_trials_come_while_a_search_runs(iris, storage, monkeypatch):
    """At the end the study is that of the fitted search."""
    seen = []
    write = OptunaExport._write

    def writing(self, *args, **options):
        write(self, *args, **options)
        study = optuna.load_study(study_name="live", storage=storage)
        seen.append(len(study.trials))

    monkeypatch.setattr(OptunaExport, "_write", writing)
    search = _hyperband().set_callbacks(OptunaExport(storage, "live")).fit(*iris)

    study = optuna.load_study(study_name="live", storage=storage)
    assert seen == sorted(seen)
    # Whoever is in the first rung may still be promoted, until the second one has ended.
    assert seen[0] == 0 < seen[1] < seen[-1] == len(study.trials)
    assert _facts(study) == _facts(to_optuna(search))


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_failures_say_why(iris):
    """In the trial's attributes."""
    grid = {"learning_rate": [1e-3, -1.0]}
    with pytest.warns(Warning, match="fits failed"):
        search = GridSearchCV(NET, grid, cv=3).fit(*iris)
    good, bad = to_optuna(search).trials

    assert (good.state, bad.state) == (TrialState.COMPLETE, TrialState.FAIL)
    assert "learning_rate" in bad.user_attrs["failure_reason"]


def test_rungs_are_the_steps_of_other_metrics(iris):
    """Curves of networks are of accuracy."""
    search = HalvingRandomSearchCV(
        NET, SPACE, resource="max_epochs", max_resources=4, factor=2, cv=3,
        scoring="neg_log_loss", random_state=0, n_candidates=4, min_resources=1,
    ).fit(*iris)  # fmt: skip
    study = to_optuna(search)

    assert len(study.trials) == 4
    assert study.best_value == search.best_score_
    assert list(study.best_trial.intermediate_values) == [1, 2, 4]


def test_searches_of_scikit_learn_are_written_too(iris):
    """They have results of the same form."""
    grid = {"C": [0.1, 1.0, 10.0], "solver": ["lbfgs", "newton-cg"]}
    search = SklearnGridSearchCV(LogisticRegression(max_iter=500), grid, cv=3).fit(*iris)
    study = to_optuna(search)

    assert len(study.trials) == 6
    assert study.best_params == search.best_params_


def test_optunas_pictures_can_be_drawn(iris):
    """By matplotlib, since plotly is not everywhere."""
    study = to_optuna(_hyperband().fit(*iris))
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        axes = optuna.visualization.matplotlib.plot_intermediate_values(study)

    assert len(axes.lines) == len(study.trials)


def test_a_study_that_minimizes_is_refused(storage):
    """Its best trial would be the worst."""
    optuna.create_study(storage=storage, study_name="less", direction="minimize")
    search = SklearnGridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=3)
    search.fit([[0], [1], [2]] * 3, [0, 1, 1] * 3)

    with pytest.raises(ValueError, match="'less' must maximize"):
        to_optuna(search, storage, study_name="less")


def test_a_search_that_is_not_fitted_is_refused():
    """There is nothing to write."""
    with pytest.raises(NotFittedError):
        to_optuna(_hyperband())


def test_optuna_is_asked_for_by_name(iris, monkeypatch):
    """With the command that installs it."""
    search = GridSearchCV(NET, {"width": [2]}, cv=3).fit(*iris)
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)

    with pytest.raises(ImportError, match=r"pip install 'sk-tune\[study\]'"):
        to_optuna(search)
