# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tables and the figure of search_quality.py."""

import math
import statistics

import numpy as np
from search_quality import CASES, FACTOR, QUIET, SIDES, cost_to, first_at

# Candidates of the additional, smaller random search.
FEW = FACTOR**3
# Searches to compare with easier targets.
HYPERBANDS = ("hyperband", "bohb", "hyperband best", "one fold", "bohb best")
# A negligible difference in score.
NEARLY = 0.002
DPI = 110


def print_report(results, cases):
    for case in cases:
        if results.of(case, "random"):
            print_case(results, case)
    print_default(results, [c for c in cases if results.of(c, "one fold")])


def print_case(results, case):
    targets = results.targets(case)
    middle = statistics.median(targets.values())
    print(f"\n### {CASES[case].title}\n")
    print(
        f"Targets of {len(targets)} seeds: median {CASES[case].score_name} {middle:.4f} "
        f"({min(targets.values()):.4f} to {max(targets.values()):.4f}).\n"
    )
    print_costs(results, case, targets)
    print_ends(results, case)
    print_few(results, case)


def print_costs(results, case, targets):
    """Print the cost of the target for each side."""
    random, optuna = (results.timed(case, side) for side in ("skorch random", "optuna"))
    print_row([
        "to the target",
        "reached, of seeds",
        "epochs",
        "times fewer than random search",
        "seconds, of seeds",
        "times fewer than RandomizedSearchCV",
        "times fewer than Optuna",
    ])
    print("|---|" + "---:|" * 6)
    for side, records, timed in measured(results, case):
        costs = [cost_to(r, targets[seed]) for seed, r in records.items()]
        seconds = [cost_to(r, targets[seed]) for seed, r in timed.items()]
        print_row([
            SIDES[side][1],
            f"{sum(cost is not None for cost in costs)} of {len(costs)}",
            spread([cost[1] if cost else math.inf for cost in costs], 0),
            spread(epoch_ratios(records, targets), 1),
            spread([cost[0] if cost else math.inf for cost in seconds], 1, count=True),
            spread(ratios(timed, random, targets), 1, count=True),
            spread(ratios(timed, optuna, targets), 1, count=True),
        ])


def print_ends(results, case):
    """Print cost and result of one search."""
    print()
    print_row(["one search", "seeds", "seconds", "epochs", "score in CV", "on test rows"])
    print("|---|" + "---:|" * 5)
    for side, records, timed in measured(results, case):
        seconds = [r["seconds"] for r in timed.values()]
        print_row([
            SIDES[side][1],
            str(len(records)),
            f"{statistics.median(seconds):.1f}" if seconds else "",
            f"{statistics.median(r['epochs'] for r in records.values()):,.0f}",
            mean_and_deviation(records, "final"),
            mean_and_deviation(records, "test"),
        ])


def print_default(results, cases):
    """Print how one default search compares with one search of each other side."""
    others = ("random", "skorch random", "optuna")
    print("\n### Default of HyperbandSearchCV: one search\n")
    print_row([
        "data set", "seeds", "epochs", "times fewer than random search",
        "score in CV less random's", "on test rows less random's", "seconds",
        *(f"times fewer than {SIDES[side][1]}" for side in others),
    ])  # fmt: skip
    print("|---|" + "---:|" * 9)
    for case in cases:
        ours, random = results.of(case, "one fold"), results.of(case, "random")
        epochs = statistics.median(r["epochs"] for r in ours.values())
        budget = next(iter(ours.values()))["budget"]
        timed = results.timed(case, "one fold")
        pairs = [
            [
                r[seed]["seconds"] / timed[seed]["seconds"]
                for seed in r.keys() & timed.keys()
            ]
            for r in (results.timed(case, side) for side in others)
        ]
        differences = [difference(ours, random, name) for name in ("final", "test")]
        print_row([
            CASES[case].title,
            str(len(ours)),
            f"{epochs:,.0f}",
            f"{budget / epochs:.1f}",
            *(f"{mean:+.4f} ± {error:.4f}".removesuffix(" ± nan")
              for mean, error in differences),
            f"{statistics.median(r['seconds'] for r in timed.values()):.1f}",
            *(spread(ratios, 1, count=True) for ratios in pairs),
        ])  # fmt: skip


def print_row(cells):
    print(f"| {' | '.join(cells)} |")


def measured(results, case):
    """Return sides with records, their records, and the timed records."""
    rows = [(s, results.of(case, s), results.timed(case, s)) for s in SIDES]
    return [row for row in rows if row[1]]


def print_few(results, case):
    """Print how the sides compare with easier targets, and their final candidates."""
    random = results.timed(case, "skorch random")
    few, nearly = {}, {}
    for seed, target in results.targets(case).items():
        record = results.of(case, "random")[seed]
        paid = random[seed]["seconds"] if seed in random else math.nan
        nearly[seed] = target - NEARLY, paid, record["budget"]
        if seed in random and full_candidates(random[seed]) > FEW:
            share = FEW / full_candidates(random[seed])
            epochs = round(record["budget"] * share)
            points = random[seed]["curve"]
            best = max(score for _, spent, score in points if spent <= epochs)
            few[seed] = best, paid * share, epochs
    if random:
        shares = [r["curve"][-1][1] / r["epochs"] for r in random.values()]
        print(
            "\nRandomizedSearchCV had its best candidate after "
            f"{statistics.median(shares):.0%} of its epochs (median of {len(shares)} "
            "seeds), known only at its end.\n"
        )
    for side in HYPERBANDS:
        if not results.of(case, side):
            continue
        timed = results.timed(case, side)
        cells = [
            f"against random search's first {FEW} candidates {gains(few, timed)}",
            f"to within {NEARLY} of the target {gains(nearly, results.of(case, side))}",
        ]
        test = difference(results.of(case, side), results.of(case, "random"), "test")
        print(
            f"- {SIDES[side][1]}: {'; '.join(cells)}; test score relative to "
            f"sk_tune's random search {test[0]:+.4f} ± {test[1]:.4f}."
        )


def gains(goals, records):
    """Return the factors of seconds and epochs by which random search costs more."""
    seconds, epochs = [], []
    for seed in sorted(goals.keys() & records.keys()):
        target, seconds_paid, epochs_paid = goals[seed]
        cost = first_at(records[seed], target)
        epochs.append(epochs_paid / cost[1] if cost else 0.0)
        if seconds_paid == seconds_paid and records[seed]["others"] < QUIET:
            seconds.append(seconds_paid / cost[0] if cost else 0.0)
    return (
        f"{spread(epochs, 1, count=True) or 'not measured:'} times fewer epochs, "
        f"{spread(seconds, 1, count=True) or 'not measured:'} times fewer seconds"
    )


def difference(records, others, name):
    """Return the mean difference between records, and its standard error."""
    seeds = sorted(records.keys() & others.keys())
    more = [records[seed][name] - others[seed][name] for seed in seeds]
    error = statistics.stdev(more) / math.sqrt(len(more)) if len(more) > 1 else math.nan
    return statistics.mean(more), error


def full_candidates(record):
    # The first point belongs to the first candidate.
    return record["epochs"] // record["curve"][0][1]


def ratios(records, peers, targets):
    """Return, for each common seed, the factor by which the peer takes longer."""
    factors = []
    for seed in sorted(records.keys() & peers.keys()):
        ours, peer = (cost_to(r[seed], targets[seed]) for r in (records, peers))
        # A peer below the target costs at least its whole run.
        theirs = (peer or peers[seed]["spent"])[0]
        factors.append(theirs / ours[0] if ours else 0.0)
    return factors


def epoch_ratios(records, targets):
    """Return the factor of epochs by which random search takes longer, for each seed."""
    costs = {seed: cost_to(r, targets[seed]) for seed, r in records.items()}
    return [
        records[seed]["budget"] / cost[1] if cost else 0.0 for seed, cost in costs.items()
    ]


def spread(values, digits, *, count=False):
    """Return the median with the quartiles, or with the extremes of few values."""
    if not values:
        return ""
    low, middle, high = (number(value, digits) for value in quartiles(values))
    number_of = f"; {len(values)}" if count else ""
    if low == high:
        return f"{middle}{f' ({len(values)})' if count else ''}"
    return f"{middle} ({low} to {high}{number_of})"


def quartiles(values):
    ranked = sorted(values)
    if len(ranked) < 5:
        return ranked[0], statistics.median(ranked), ranked[-1]
    n = len(ranked) - 1
    return ranked[n // 4], statistics.median(ranked), ranked[n - n // 4]


def number(value, digits):
    return "not" if math.isinf(value) else f"{value:,.{digits}f}"


def mean_and_deviation(records, name):
    values = [r[name] for r in records.values()]
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4f} ± {deviation:.4f}"


def draw(results, cases, path):
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    cases = [case for case in cases if results.of(case, "random")]
    figure, axes = plt.subplots(
        2, len(cases), figsize=(3.6 * len(cases) + 0.4, 7.6), squeeze=False
    )
    for column, case in enumerate(cases):
        for which in (0, 1):
            draw_panel(axes[which, column], results, case, which)
        axes[0, column].set_title(CASES[case].title)
    for which, text in enumerate(("seconds", "epochs of all candidates and folds")):
        axes[which, 0].set_ylabel("best score so far\nless random search's at its end")
        for axis in axes[which]:
            axis.set_xlabel(text)
    # A panel lacks sides without times on its data.
    handles = {}
    for axis in axes.flat:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        handles.values(), handles.keys(), loc="lower center", ncols=4, frameon=False
    )
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    figure.savefig(path, dpi=DPI)


def draw_panel(axis, results, case, which):
    from matplotlib.ticker import LogLocator, NullFormatter

    targets = results.targets(case)
    lowest = []
    for side, (is_peer, label, colour, line, _) in SIDES.items():
        records = (results.of if which else results.timed)(case, side)
        if not records:
            continue
        most = max(max(r["spent"][which], r["curve"][-1][which]) for r in records.values())
        first = min(r["curve"][0][which] for r in records.values())
        grid = np.geomspace(0.98 * first, most, 400)
        curves = [
            steps(r["curve"], which, grid) - targets[seed] for seed, r in records.items()
        ]
        low, middle, high = np.array([quartiles(list(c)) for c in np.array(curves).T]).T
        shown = np.isfinite(middle)
        width = 1.6 if is_peer else 2.0
        axis.plot(grid[shown], middle[shown], line, color=colour, label=label, lw=width)
        # The first fully trained candidate of a search.
        axis.plot(grid[shown][:1], middle[shown][:1], "o", color=colour, ms=4)
        banded = shown & np.isfinite(low)
        axis.fill_between(
            grid[banded], low[banded], high[banded], color=colour, alpha=0.13, lw=0
        )
        lowest.append(middle[shown][0])
    axis.axhline(0, color="#555555", lw=0.8)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    # Very low values only mean that a search has just begun.
    bottom = max(min(lowest), -4 * statistics.median(-min(0.0, v) for v in lowest) - 1e-3)
    top = axis.get_ylim()[1]
    axis.set_ylim(bottom, min(top, -bottom))
    axis.grid(alpha=0.25)


def steps(curve, which, grid):
    """Return the best score at each point of a grid; minus infinity before the first."""
    spent = [point[which] for point in curve]
    scores = np.array([-math.inf, *(point[2] for point in curve)])
    return scores[np.searchsorted(spent, grid, side="right")]
