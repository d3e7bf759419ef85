# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How much of sk_tune one small Hyperband fit passes through, for whoever reads it.

    python benchmarks/functions_of_a_fit.py [--list] [--folder PATH]

Six candidates of an MLP are searched by ``HyperbandSearchCV``; counted are the named
functions of sk_tune that are called on the way, once each, and the modules that they stand
in.  ``--list`` prints them in the order of their first calls.  ``--folder`` is the checkout
whose package is counted, this one if it is left out.
"""

import argparse
import sys
import threading
import warnings
from collections import Counter
from pathlib import Path


def fit():
    """Return a function that fits a search of six candidates, with all imports done."""
    from scipy.stats import loguniform
    from sklearn.datasets import load_iris

    from sk_tune import HyperbandSearchCV, MLPClassifier

    X, y = load_iris(return_X_y=True)
    net = MLPClassifier(width=8, max_epochs=3, batch_size=16, random_state=0)
    space = {"learning_rate": loguniform(1e-3, 1e-1)}

    def run():
        # A bracket of three candidates in two rungs, and one of two: five new ones and one
        # that is promoted.
        search = HyperbandSearchCV(net, space, cv=3, factor=3, random_state=0).fit(X, y)
        return len(search.cv_results_["params"])

    return run


def functions_called(run, package):
    """Return (module, function) of each named function of a package that `run` calls."""
    calls = {}

    def note(frame, event, _):
        if event == "call":
            code = frame.f_code
            if code.co_filename.startswith(package) and not code.co_name.startswith("<"):
                calls[code.co_filename.removeprefix(package), code.co_qualname] = None

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        n_rows = run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return list(calls), n_rows


def main():
    """Count, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--folder", default=str(Path(__file__).parents[1]))
    arguments = parser.parse_args()
    folder = str(Path(arguments.folder).resolve())
    sys.path.insert(0, folder)
    warnings.simplefilter("ignore")
    run = fit()
    run()  # What is imported and cached once does not count.
    functions, n_rows = functions_called(run, f"{folder}/sk_tune/")
    if arguments.list:
        for module, name in functions:
            print(f"{module:45} {name}")
    modules = {module for module, _ in functions}
    parts = Counter(module.partition("/")[0] for module, _ in functions)
    print(f"{n_rows} result rows: {len(functions)} functions in {len(modules)} modules")
    print(", ".join(f"{part} {n}" for part, n in parts.most_common()))


if __name__ == "__main__":
    main()
