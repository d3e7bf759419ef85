"""The table of models."""

import numpy as np

from sk_tune.automl._blend import Trial
from sk_tune.automl._chosen import Chosen, Worth, leaderboard


def _trial(name, score):
    return Trial(
        n_rows=100,
        label="",
        name=name,
        family=name.split()[0],
        params={"a": 1},
        score=score,
        std=0.01,
        fold_scores=np.array([score]),
        seconds=2.0,
        models=(),
        library=None,
    )


def _chosen(trials, weights, score):
    return Chosen(
        trials=trials,
        weights=np.array(weights),
        temperature=1.0,
        worth=Worth(score=score, std=0.02, lead=0.1),
        alone={},
        held_out=(np.empty(0), np.empty(0)),
    )


def test_models_are_listed_from_the_best_to_the_worst():
    """Members have their weight, ensembles the seconds of their members."""
    net, trees, dummy = (
        _trial("MLP 1", 0.8),
        _trial("boosting 1", 0.7),
        _trial("dummy 1", 0.1),
    )

    table = leaderboard(
        [dummy, net, trees],
        _chosen([net, trees], [0.6, 0.4], 0.9),
        _chosen([net], [1.0], 0.8),
    )

    assert table.index[0] == "ensemble"
    assert table.index[-1] == "dummy 1"
    assert table.loc["MLP 1", ["in_ensemble", "weight"]].tolist() == [True, 0.6]
    assert table.loc["dummy 1", ["in_ensemble", "weight"]].tolist() == [False, 0.0]
    assert table.loc["ensemble", "seconds"] == 4.0
    assert table.loc["ensemble of networks", "cv_score"] == 0.8


def test_without_networks_there_is_no_ensemble_of_them():
    """The row is missing then."""
    trees = _trial("boosting 1", 0.7)

    table = leaderboard([trees], _chosen([trees], [1.0], 0.7), None)

    assert "ensemble of networks" not in table.index
