"""Networks inside the tools of scikit-learn and scikit-optimize, on real data.

Every composition must beat a baseline that is named in its test: mostly the share of the
most frequent class, or R^2 of 0, which the mean has; each by a margin.
"""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import (
    ColumnTransformer,
    TransformedTargetRegressor,
    make_column_selector,
)
from sklearn.datasets import fetch_california_housing  # noqa: F401 - documented as unused
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import RFE, SequentialFeatureSelector
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import brier_score_loss, f1_score, log_loss, make_scorer
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    LearningCurveDisplay,
    RandomizedSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    validation_curve,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sk_tune import CNNClassifier, MLPClassifier, MLPRegressor, RNNClassifier
from sk_tune.exceptions import TrainingDivergedError

SMALL = {"width": 16, "n_layers": 1, "batch_size": 16, "learning_rate": 0.02}
SMALL |= {"max_epochs": 6, "random_state": 0}


def _classifier(**params):
    return MLPClassifier(**{**SMALL, **params})


def _regressor(**params):
    return MLPRegressor(**{**SMALL, **params})


def _scaled(net):
    return make_pipeline(StandardScaler(), net)
