"""Import lines for code that makes a search again."""

import numpy as np
import torch
from scipy.stats import loguniform, randint
from sklearn.datasets import load_iris
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skopt.space import Integer, Real

from sk_tune import BayesSearchCV, MLPClassifier, NetClassifier, RandomizedSearchCV
from sk_tune.augment import Noise
from sk_tune.report._reproduction import reproduction
from sk_tune.report._value_texts import import_lines
from sk_tune.search import Choice


def test_names_come_from_where_users_import_them():
    """Not from the private modules that they are defined in."""
    net = NetClassifier(torch.nn.Linear, augmentation=[Noise(0.1)])
    space = [
        {"width": randint(1, 9)},
        {"a": Choice({"b": {"c": loguniform(1, 2)}}), "d": [1, 2, None, "text"]},
        {"e": Real(0.1, 1.0), "f": Integer(1, 3), "g": np.arange(3)},
    ]

    assert import_lines([make_pipeline(StandardScaler(), net), space]) == [
        "from scipy.stats import loguniform, randint",
        "from sk_tune import NetClassifier",
        "from sk_tune.augment import Noise",
        "from sk_tune.space import Choice",
        "from sklearn.pipeline import Pipeline",
        "from sklearn.preprocessing import StandardScaler",
        "from skopt.space import Integer, Real",
        "from torch.nn import Linear",
    ]


def test_what_holds_itself_ends():
    """A page is written of any search."""
    space = []
    space.append(space)

    assert import_lines([space, FunctionTransformer()]) == [
        "from sklearn.preprocessing import FunctionTransformer"
    ]


def test_the_code_of_a_report_runs_as_it_is():
    """In an empty script that has X and y; it gives the same candidates and score."""
    X, y = load_iris(return_X_y=True)
    net = make_pipeline(StandardScaler(), MLPClassifier(max_epochs=2, random_state=0))
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    rates = {"mlpclassifier__learning_rate": loguniform(1e-3, 1e-1)}
    real = {"mlpclassifier__learning_rate": Real(1e-3, 1e-1, prior="log-uniform")}
    for search in (
        RandomizedSearchCV(net, rates, n_iter=2, cv=folds, random_state=0),
        BayesSearchCV(net, real, n_iter=2, cv=folds, random_state=0),
    ):
        search.fit(X, y)
        script = {"X": X, "y": y}

        exec(reproduction(search, None, X, y).code, script)

        assert script["search"].best_params_ == search.best_params_
        assert script["search"].best_score_ == search.best_score_
