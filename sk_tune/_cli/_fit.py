# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""``sk-tune fit``, ``demo`` and ``resume``: from a table to a saved model."""

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from sk_tune._automl import AutoClassifier, AutoRegressor, n_set_aside
from sk_tune._cli._output import (
    SavedModel,
    as_json,
    check_output_folder,
    reason_of,
    resumable_output,
    write_output,
)
from sk_tune._cli._parser import CONFIG, in_options, resume_file
from sk_tune._cli._printing import (
    StepLines,
    print_outcome,
    print_problem,
    print_texts,
    say,
)
from sk_tune._cli._tables import (
    LoadedTable,
    Target,
    column_hint,
    demo_table,
    read_table,
    read_target,
)
from sk_tune._prepare import (
    ColumnKinds,
    check_used,
    decide_columns,
    format_of_column,
    with_texts,
)
from sk_tune._report import package_versions
from sk_tune._splits import as_times
from sk_tune._training import slowdown
from sk_tune.exceptions import LeakWarning, OptionError, SkTuneWarning, TableError

# Least seconds for models, because at least one model is always tried.
_LEAST_BUDGET = 1e-3
# Seconds for writing files on an idle machine, and their largest share of the budget.
_SECONDS_OF_FILES, _MOST_FOR_FILES = 0.5, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """The options of ``sk-tune fit``, each checked, but not against the table.

    `started` is the start of the budget by ``time.monotonic``; None is the default of
    `scoring` and `positive` (by the target) and `models` (all).
    """

    target: str = ""
    groups: str | None = None
    times: str | None = None
    task: str
    time_budget: float
    scoring: str | None
    positive: str | None
    threshold: float | str
    models: list[str] | None
    use: str
    max_predict_ms: float | None
    test_size: float | str
    output: Path
    overwrite: bool
    random_state: int
    n_jobs: int
    json: bool
    verbose: bool
    started: float


def _rows_text(options: FitOptions, n_rows: int) -> str:
    """Return how many rows are set aside, and how they are split; "" if none are."""
    n_test = n_set_aside(options.test_size, n_rows)
    if not n_test:
        return ""
    if options.groups is None and options.times is None:
        return f"{n_test} set aside for a final check; {n_rows - n_test} to train on"
    # Rows of a group or time are on the same side of a split.
    text = f"about {n_test} set aside for a final check"
    if options.groups is None:
        return text
    return f"{text}; rows with the same {options.groups!r} stay together"


def fit(
    table: LoadedTable,
    options: FitOptions,
    *,
    source: Path | None = None,
    resumes: bool = False,
) -> None:
    """Find models for a table, print their scores, and save them.

    `source` is the file of the table, for a later resume; `resumes` continues the fit in
    the output folder. Raises KeyboardInterrupt on Ctrl-C, after writing finished models.
    """
    check_output_folder(options.output, overwrite=options.overwrite)
    target = read_target(table.frame, options.target, options.task)
    structure = _structure(table.frame, options)
    named = {target.name, options.groups, options.times} - {None}
    X = table.frame.drop(columns=[*named])
    kinds, notes = _kinds(X)
    if not options.json:
        noted = replace(table, notes=(*table.notes, *notes))
        print_problem(noted, target, kinds, _rows_text(options, len(X)))
    left_out = {"started", "output", "overwrite", "n_jobs", "verbose", "json"}
    config = {k: value for k, value in asdict(options).items() if k not in left_out}
    config["data"] = None if source is None else str(source.absolute())
    config["most_rows"] = table.most_rows
    with resumable_output(options.output, config, resumes=resumes) as folder:
        auto, was_interrupted = _train(X, target, options, structure, folder)
        texts, kinds = kinds.texts, auto.kinds_
        summary = _summary(table, target, kinds, auto, options)
        types = {n: pd.api.types.infer_dtype(X[n], skipna=True) for n in kinds.dropped}
        texts_left_out = [name for name, kind in types.items() if kind == "string"]
        model = SavedModel(
            model=auto,
            task=target.task,
            target=target.name,
            columns=kinds.used,
            texts=(*kinds.categories, *kinds.texts, *kinds.formats, *texts_left_out),
            ignored=(*kinds.dropped, *sorted(map(str, named))),
        )
        title = f"{target.name} in {table.name}"
        seconds = time.monotonic() - options.started
        try:
            with _calm(verbose=options.verbose):
                written = _write_somewhere(options.output, model, summary, title)
        finally:
            # After the files are written: the reader of a pipe may have closed it.
            if options.json:
                print(as_json(summary), end="")
            else:
                print_texts(texts, kinds)
                print_outcome(auto, seconds)
    if not options.json:
        say("Written", f"{', '.join(written)} in {options.output}/")
    if was_interrupted:
        raise KeyboardInterrupt(str(options.output))


def demo(options: FitOptions) -> None:
    table, target = demo_table()
    # The default folder is only written by demos, so it may be overwritten.
    overwrite = options.overwrite or options.output == Path("sk_tune_demo")
    fit(table, replace(options, target=target, overwrite=overwrite))


def resume(folder: Path, *, data: Path | None, **changes: Any) -> None:
    """Resume the fit of a folder with `changes`; `data` is the table's new path."""
    resume_file(folder)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        old_source, most_rows = config.pop("data"), config.pop("most_rows")
        options = FitOptions(**{**config, **changes, "output": folder, "overwrite": True})
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise TableError(
            f"{str(folder / CONFIG)!r} must be a file that sk-tune fit wrote. Got: {error}"
        ) from error
    source = old_source if data is None else data
    if source is None or not Path(source).exists():
        why = "the fit had no file" if source is None else f"{str(source)!r} does not exist"
        raise OptionError(f"--data must name the table of the fit: {why}.")
    try:
        table = read_table(Path(source), most_rows, options.groups)
        fit(table, options, source=Path(source), resumes=True)
    except ValueError as error:
        if "earlier fit" in str(error):
            raise OptionError(
                f"The table must be the same as in fit. Got {str(source)!r} with "
                "other rows or columns."
            ) from error
        raise


def _kinds(X: pd.DataFrame) -> tuple[ColumnKinds, list[str]]:
    """Return the kinds of columns, and the warnings about cells of another kind."""
    with warnings.catch_warnings(record=True, action="always") as caught:
        kinds = with_texts(decide_columns(X)[2], X)
    check_used(kinds, len(X))
    return kinds, [str(w.message) for w in caught if issubclass(w.category, SkTuneWarning)]


def _train(
    X: pd.DataFrame,
    target: Target,
    options: FitOptions,
    structure: dict[str, Any],
    folder: Path,
) -> tuple[Any, bool]:
    """Return the fitted AutoML, and whether Ctrl-C ended its fit."""
    # A progress line that rewrites itself would clutter a log, and JSON must stay valid.
    verbose: Any = StepLines() if options.verbose else int(sys.stdout.isatty())
    budget = options.time_budget
    files = min(_SECONDS_OF_FILES * slowdown(), _MOST_FOR_FILES * budget)
    seconds_left = options.started + budget - files - time.monotonic()
    kind: Any = AutoRegressor
    of_classes: Any = {"positive": options.positive, "threshold": options.threshold}
    if target.task == "classification":
        kind = partial(AutoClassifier, **of_classes)
    elif of_classes != {"positive": None, "threshold": 0.5}:
        raise OptionError(
            "--positive and --threshold must be left out if the target is a number, "
            f"which has no classes. Got {options.positive!r} and {options.threshold!r}."
        )
    auto = kind(
        time_budget=round(max(seconds_left, _LEAST_BUDGET), 3),
        scoring=options.scoring,
        test_size=options.test_size,
        models=options.models or "auto",
        use=options.use,
        max_predict_ms=options.max_predict_ms,
        checkpoint_dir=folder,
        n_jobs=options.n_jobs,
        verbose=0 if options.json else verbose,
        random_state=options.random_state,
    )
    was_interrupted = False
    with _calm(verbose=options.verbose):
        try:
            auto.fit(X, target.y, **structure)
        except KeyboardInterrupt:
            if not hasattr(auto, "ensemble_"):
                raise
            was_interrupted = True
        except ValueError as error:
            if str(error).startswith("The '"):
                raise OptionError(str(error)) from error
            raise
    auto.set_params(verbose=0, checkpoint_dir=None)
    if auto.use not in auto.blends_:
        reason = auto.failures_.get(auto.use, "It was not trained in time.")
        why = f"because {auto.use!r} is not available. {reason}"
        print(f"sk-tune fit: predictions come from the ensemble, {why}", file=sys.stderr)
        auto.set_params(use="ensemble")
    return auto, was_interrupted


def _write_somewhere(folder: Path, *content: Any) -> list[str]:
    """Write the files of a fit, in a temporary folder if its own is not writable."""
    try:
        return write_output(folder, *content)
    except OSError as error:
        # The path is resolved first: the name of a relative path may be "" or "..".
        name = folder.resolve().name or "output"
        other = Path(tempfile.mkdtemp(prefix="sk_tune.")) / name
        try:
            write_output(other, *content)
        except OSError:
            other.parent.rmdir()
            raise error from None
        raise OptionError(
            f"--output must be a writable folder. Got {str(folder)!r}: "
            f"{reason_of(error)}. The results are in {str(other)!r} instead."
        ) from error


def _structure(frame: pd.DataFrame, options: FitOptions) -> dict[str, Any]:
    """Return the values of the columns of groups and times, for ``fit``."""
    columns = [name for name in frame.columns if name != options.target]
    for option, column in (("--groups", options.groups), ("--times", options.times)):
        if column is None:
            continue
        if column not in columns:
            raise OptionError(
                f"{option} must name a column of the table that is not the target. Got "
                f"{column!r} instead.{column_hint(column, columns)}"
            )
        missing = int(frame[column].isna().sum())
        if missing:
            raise OptionError(
                f"{option} must have a value in each row. Got {missing} missing in "
                f"{column!r}."
            )
    if None not in {options.groups, options.times}:
        raise OptionError(
            "--times and --groups cannot be combined, because folds in time order cannot "
            f"also keep groups together. Got {options.times!r} and {options.groups!r}."
        )
    if options.groups is not None:
        return {"groups": pd.factorize(frame[options.groups])[0]}
    if options.times is None:
        return {}
    times = frame[options.times]
    if pd.api.types.is_string_dtype(times) or times.dtype == object:
        text_format = format_of_column(times)
        times = times if text_format is None else text_format.read(times)
    try:
        times = pd.Series(as_times(times)).infer_objects()
    except TableError as error:
        raise OptionError(
            f"--times must name a column of times. Got {options.times!r}. {error}"
        ) from error
    return {"times": times.rank(method="dense").to_numpy()}


def _summary(
    table: LoadedTable, target: Target, kinds: ColumnKinds, auto: Any, options: FitOptions
) -> dict[str, Any]:
    return {
        "table": table.name,
        "target": target.name,
        "task": target.task,
        "scoring": auto.scoring_,
        "scoring_reason": in_options(auto.scoring_reason_),
        "positive": getattr(auto, "positive_", None),
        "threshold": getattr(auto, "threshold_", None),
        "n_rows": len(table.frame),
        "kinds": kinds,
        "scores": list(auto.model_scores_.values()),
        "expected_score": auto.expected_score_,
        "summary": in_options(auto.summary_),
        "column_importance": auto._effects and auto._effects.table.to_dict("records"),
        "issues": [
            f"{f.subject}: {f.message}" if f.subject else f.message
            for f in auto.findings_
            if f.outcome == "issue"
        ],
        "pareto_front": auto
        .pareto_front_[["cv_score", "predict_ms", "megabytes"]]
        .reset_index()
        .to_dict("records"),
        "n_trials": auto.n_trials_,
        "failures": auto.failures_,
        "time_budget": options.time_budget,
        "seconds": round(time.monotonic() - options.started, 1),
        "random_state": options.random_state,
        "versions": package_versions(),
    }


@contextmanager
def _calm(*, verbose: bool) -> Iterator[None]:
    """Hide warnings of fits, which the summary counts."""
    with warnings.catch_warnings():
        if not verbose:
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
        # The outcome prints this warning.
        warnings.simplefilter("ignore", LeakWarning)
        yield
