# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""``sk-tune fit``: from a table to a saved network and an honest account of it."""

import difflib
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import sklearn
import torch
from sklearn.metrics import get_scorer_names
from sklearn.pipeline import Pipeline

from sk_tune import __version__
from sk_tune.cli._baselines import Score, score_baselines, score_on_test
from sk_tune.cli._output import SavedModel, check_output_folder, results_table, write_output
from sk_tune.cli._printing import print_outcome, print_problem
from sk_tune.cli._progress import Progress
from sk_tune.cli._search import TableSearchCV, n_failed
from sk_tune.cli._space import (
    build_pipeline,
    default_candidate,
    relative_cost,
    search_space,
)
from sk_tune.cli._split import Split, build_folds, split_rows
from sk_tune.cli._summary import labelled, verdict
from sk_tune.cli._tables import Table
from sk_tune.cli._target import N_FOLDS, Target, read_target
from sk_tune.exceptions import OptionError, SearchError
from sk_tune.prepare import ColumnKinds, column_kinds
from sk_tune.report import Baseline, write_html

__all__ = ["FitOptions", "fit"]

_LEAST_BUDGET = 1e-3
_DEFAULT_SCORING = {"classification": "accuracy", "regression": "r2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """The options of ``sk-tune fit``, checked one by one but not against the table.

    Parameters
    ----------
    target : str
        Column to predict.
    task : {"auto", "classification", "regression"}
        The kind of problem.
    budget : float
        Seconds for everything.
    scoring : str or None
        Name of a scorer; None takes the task's default.
    test_size : float
        Share of the rows to set aside.
    output : Path
        Folder to write.
    overwrite : bool
        Whether a model in that folder may be replaced.
    random_state : int
        Seed of everything that is drawn.
    n_jobs : int or None
        Processes; None takes one for each CPU.
    verbose : bool
        Whether to print each candidate and all warnings.
    started : float
        When the budget began, by ``time.monotonic``.
    """

    target: str
    task: str
    budget: float
    scoring: str | None
    test_size: float
    output: Path
    overwrite: bool
    random_state: int
    n_jobs: int | None
    verbose: bool
    started: float

    @property
    def n_workers(self) -> int:
        """Processes, counted."""
        return self.n_jobs or joblib.cpu_count()


def fit(table: Table, options: FitOptions) -> None:
    """Search a network for a table, print how it did, and save it.

    Parameters
    ----------
    table : Table
        Rows with the target among the columns.
    options : FitOptions
        What the user asked for.

    Raises
    ------
    TableError
        If the table cannot be used.
    OptionError
        If an option does not suit it.
    SearchError
        If no network could be trained.
    """
    check_output_folder(options.output, overwrite=options.overwrite)
    target = read_target(table.frame, options.target, options.task)
    scoring = _scoring(options.scoring, target.task)
    X = table.frame.drop(columns=target.name)
    split = split_rows(X, target, options.test_size, options.random_state)
    kinds = column_kinds(split.X_train)
    pipeline = build_pipeline(target.task, options.random_state)
    print_problem(table, target, split, kinds, scoring)
    with _calm(verbose=options.verbose):
        folds = build_folds(target.task, options.random_state)
        dummy, linear = score_baselines(
            split, target.task, scoring=scoring, folds=folds, n_jobs=options.n_workers
        )
        search = _search(pipeline, split, scoring, folds, options)
        network = _network_score(search, split, scoring)
    scores = (dummy, linear, network)
    seconds = time.monotonic() - options.started
    print_outcome(scores, search, scoring, seconds)
    model = SavedModel(
        pipeline=search.best_estimator_,
        task=target.task,
        target=target.name,
        columns=kinds.used,
        texts=kinds.categories,
        ignored=(*kinds.dropped, target.name),
    )
    summary = _summary(table, target, split, kinds, scores, search, scoring, options)
    with _calm(verbose=options.verbose):
        write_output(
            options.output,
            model,
            results_table(search),
            summary,
            lambda path: _write_report(path, search, split, scores),
        )
    print(
        labelled(
            "Written",
            f"model.joblib, results.csv, summary.json, report.html in {options.output}/",
        )
    )


def _scoring(name: str | None, task: str) -> str:
    if name is None:
        return _DEFAULT_SCORING[task]
    known = get_scorer_names()
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    listed = ", ".join(near or ("accuracy", "balanced_accuracy", "roc_auc", "r2"))
    raise OptionError(
        f"--scoring must be the name of a scorer of scikit-learn, such as {listed}. Got "
        f"{name!r} instead."
    )


def _search(
    pipeline: Pipeline, split: Split, scoring: str, folds: Any, options: FitOptions
) -> TableSearchCV:
    n_rows = len(split.X_train)
    n_fold_rows = n_rows - n_rows // N_FOLDS
    space = search_space(n_rows)
    deadline = options.started + options.budget
    progress = Progress(deadline, n_folds=N_FOLDS, every_batch=options.verbose)
    search = TableSearchCV(
        pipeline,
        space,
        first_candidate=default_candidate(pipeline, space),
        cost=lambda params: relative_cost(params, n_fold_rows),
        on_batch=progress.update,
        # The first candidate is evaluated even if nothing is left.
        time_budget=max(deadline - time.monotonic(), _LEAST_BUDGET),
        progress=progress,
        scoring=scoring,
        n_jobs=options.n_workers,
        cv=folds,
        random_state=options.random_state,
    )
    with progress:
        search.fit(split.X_train, split.y_train)
    if np.isnan(search.best_score_):
        raise SearchError(
            f"At least one network must get a score by {scoring!r} in each fold. Got none "
            f"in {len(search.cv_results_['params'])} tries. Choose another with --scoring."
        )
    return search


def _network_score(search: TableSearchCV, split: Split, scoring: str) -> Score:
    return Score(
        name="network",
        mean=float(search.best_score_),
        std=float(search.cv_results_["std_test_score"][search.best_index_]),
        test=score_on_test(search.best_estimator_, split, scoring),
    )


def _write_report(
    path: Path, search: TableSearchCV, split: Split, scores: tuple[Score, Score, Score]
) -> None:
    baselines = [
        Baseline(name=score.name, mean=score.mean, std=score.std) for score in scores[:2]
    ]
    write_html(search, path, X=split.X_train, y=split.y_train, baselines=baselines)


def _summary(
    table: Table,
    target: Target,
    split: Split,
    kinds: ColumnKinds,
    scores: tuple[Score, Score, Score],
    search: TableSearchCV,
    scoring: str,
    options: FitOptions,
) -> dict[str, Any]:
    """Return the content of ``summary.json``."""
    return {
        "table": table.name,
        "target": target.name,
        "task": target.task,
        "scoring": scoring,
        "n_rows": {"train": len(split.X_train), "test": len(split.X_test)},
        "test_stratified": split.stratified,
        "columns": asdict(kinds),
        "scores": [asdict(score) for score in scores],
        "verdict": verdict(*scores),
        "n_candidates": len(search.cv_results_["params"]),
        "n_failed": n_failed(search),
        "best_params": search.best_params_,
        "budget_seconds": options.budget,
        "seconds": round(time.monotonic() - options.started, 1),
        "random_state": options.random_state,
        "versions": {
            "sk_tune": __version__,
            "sklearn": sklearn.__version__,
            "torch": torch.__version__,
        },
    }


@contextmanager
def _calm(*, verbose: bool) -> Iterator[None]:
    """Hide warnings of fits, which the summary counts, and give torch one thread.

    The processes of the search take the CPUs, and small networks gain nothing from more.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            if not verbose:
                warnings.simplefilter("ignore", UserWarning)
                warnings.simplefilter("ignore", RuntimeWarning)
            yield
    finally:
        torch.set_num_threads(n_threads)
