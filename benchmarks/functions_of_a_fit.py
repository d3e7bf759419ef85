# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How much of sk_tune's code one small Hyperband fit runs.

    python benchmarks/functions_of_a_fit.py [--list] [--top 20] [--folder PATH]

``HyperbandSearchCV`` searches an MLP on iris, twice: with six result rows, whose named
functions of sk_tune are counted once each, with their modules; and with 22 result rows,
whose calls of Python functions of sk_tune are counted, comprehensions included.  ``--list``
prints the functions in the order of their first calls, ``--top`` the most frequent calls.
``--folder`` is another checkout to count.
"""

import argparse
import sys
import threading
import warnings
from collections import Counter
from functools import partial
from pathlib import Path


def search(max_epochs):
    """Fit a search and return its number of result rows: 6 with 3 epochs, 22 with 9."""
    from scipy.stats import loguniform
    from sklearn.datasets import load_iris

    from sk_tune import HyperbandSearchCV, MLPClassifier

    X, y = load_iris(return_X_y=True)
    net = MLPClassifier(
        width=8, members=1, max_epochs=max_epochs, batch_size=16, random_state=0
    )
    space = {"learning_rate": loguniform(1e-3, 1e-1)}
    fitted = HyperbandSearchCV(net, space, cv=3, factor=3, random_state=0).fit(X, y)
    return len(fitted.cv_results_["params"])


def calls_of(run, package):
    """Return the number of calls of each (module, function) of a package in `run`."""
    run()  # Imports and caches of the process do not count.
    calls = Counter()

    def note(frame, event, _):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(package):
            calls[code.co_filename.removeprefix(package), code.co_qualname] += 1

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        n_rows = run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return calls, n_rows


def main():
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--top", type=int, default=0)
    parser.add_argument("--folder", default=str(Path(__file__).parents[1]))
    arguments = parser.parse_args()
    folder = str(Path(arguments.folder).resolve())
    sys.path.insert(0, folder)
    warnings.simplefilter("ignore")
    package = f"{folder}/sk_tune/"
    calls, n_rows = calls_of(partial(search, 3), package)
    functions = [(m, name) for m, name in calls if name.rpartition(".")[2][0] != "<"]
    if arguments.list:
        for module, name in functions:
            print(f"{module:45} {name}")
    modules = {module for module, _ in functions}
    parts = Counter(module.partition("/")[0] for module, _ in functions)
    print(f"{n_rows} result rows: {len(functions)} functions in {len(modules)} modules")
    print(", ".join(f"{part} {n}" for part, n in parts.most_common()))
    calls, n_rows = calls_of(partial(search, 9), package)
    for (module, name), n in calls.most_common(arguments.top):
        print(f"{n:7} {module:45} {name}")
    print(f"{n_rows} result rows: {calls.total()} calls")


if __name__ == "__main__":
    main()
