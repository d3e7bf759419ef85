# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Types of the public names, which `__init__.py` imports on first use."""

from sk_tune._automl import AutoClassifier as AutoClassifier
from sk_tune._automl import AutoProgress as AutoProgress
from sk_tune._automl import AutoRegressor as AutoRegressor
from sk_tune._backend import FleetReport as FleetReport
from sk_tune._backend import fleet as fleet
from sk_tune._declaration import parameters as parameters
from sk_tune._diagnosis import Applied as Applied
from sk_tune._diagnosis import AppliedChange as AppliedChange
from sk_tune._diagnosis import Change as Change
from sk_tune._diagnosis import Curves as Curves
from sk_tune._diagnosis import Finding as Finding
from sk_tune._diagnosis import SampleCurve as SampleCurve
from sk_tune._diagnosis import apply_remedies as apply_remedies
from sk_tune._diagnosis import check_classes as check_classes
from sk_tune._diagnosis import curves_of as curves_of
from sk_tune._diagnosis import find_leaks as find_leaks
from sk_tune._diagnosis import group_copies as group_copies
from sk_tune._diagnosis import skore_checks as skore_checks
from sk_tune._diagnosis import verdict as verdict
from sk_tune._ensemble import BaggingClassifier as BaggingClassifier
from sk_tune._ensemble import BaggingRegressor as BaggingRegressor
from sk_tune._ensemble import BoostingClassifier as BoostingClassifier
from sk_tune._ensemble import BoostingRegressor as BoostingRegressor
from sk_tune._ensemble import CollapsedClassifier as CollapsedClassifier
from sk_tune._ensemble import CollapsedRegressor as CollapsedRegressor
from sk_tune._ensemble import GreedyOptions as GreedyOptions
from sk_tune._ensemble import StackingClassifier as StackingClassifier
from sk_tune._ensemble import StackingRegressor as StackingRegressor
from sk_tune._ensemble import TrialEnsembleClassifier as TrialEnsembleClassifier
from sk_tune._ensemble import TrialEnsembleRegressor as TrialEnsembleRegressor
from sk_tune._ensemble import collapse as collapse
from sk_tune._ensemble import distill as distill
from sk_tune._estimators import CNNClassifier as CNNClassifier
from sk_tune._estimators import CNNRegressor as CNNRegressor
from sk_tune._estimators import MLPClassifier as MLPClassifier
from sk_tune._estimators import MLPRegressor as MLPRegressor
from sk_tune._estimators import NetClassifier as NetClassifier
from sk_tune._estimators import NetRegressor as NetRegressor
from sk_tune._estimators import RNNClassifier as RNNClassifier
from sk_tune._estimators import RNNRegressor as RNNRegressor
from sk_tune._numerical_embedding import Periodic as Periodic
from sk_tune._numerical_embedding import PiecewiseLinear as PiecewiseLinear
from sk_tune._prepare import CategoryCodes as CategoryCodes
from sk_tune._prepare import SmoothClipScaler as SmoothClipScaler
from sk_tune._prepare import TablePreparer as TablePreparer
from sk_tune._prepare import table_pipeline as table_pipeline
from sk_tune._prepare import train_valid_test_split as train_valid_test_split
from sk_tune._report import EpochCurveDisplay as EpochCurveDisplay
from sk_tune._report import (
    HyperparameterImportanceDisplay as HyperparameterImportanceDisplay,
)
from sk_tune._report import RungDisplay as RungDisplay
from sk_tune._reporting import report as report
from sk_tune._saving import load as load
from sk_tune._saving import save as save
from sk_tune._scores import Ledger as Ledger
from sk_tune._scores import ScoreEstimate as ScoreEstimate
from sk_tune._scores import expected_score as expected_score
from sk_tune._search import BayesSearchCV as BayesSearchCV
from sk_tune._search import GridSearchCV as GridSearchCV
from sk_tune._search import HalvingGridSearchCV as HalvingGridSearchCV
from sk_tune._search import HalvingRandomSearchCV as HalvingRandomSearchCV
from sk_tune._search import HyperbandSearchCV as HyperbandSearchCV
from sk_tune._search import Improvement as Improvement
from sk_tune._search import RandomizedSearchCV as RandomizedSearchCV
from sk_tune._search import SearchPlan as SearchPlan
from sk_tune._search import diagnose as diagnose
from sk_tune._search import improve as improve
from sk_tune._space import Choice as Choice
from sk_tune._space import table_space as table_space
from sk_tune._versions import show_versions as show_versions

__version__: str
__all__: list[str]
