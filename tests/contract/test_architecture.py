"""The form of the package: size of modules, layers, cost of imports."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import sk_tune

PACKAGE = Path(sk_tune.__file__).parent
TESTS = Path(__file__).parent.parent
MODULES = sorted(PACKAGE.rglob("*.py"))

MAX_LINES = 500
MAX_BODY = 50


@cache
def _tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def _named(found):
    """Return non-empty findings by module name."""
    return {path.relative_to(PACKAGE).as_posix(): own for path, own in found if own}


def _docstrings(tree):
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            yield node.body[0]


def _too_long(module):
    """Return functions of a module that are too long, and its lines if they are many."""
    tree, found = _tree(module), []
    in_docstrings = {
        line for d in _docstrings(tree) for line in range(d.lineno, d.end_lineno + 1)
    }
    n_lines = len(module.read_text().splitlines()) - len(in_docstrings)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1:] if ast.get_docstring(node) else node.body
            length = first[-1].end_lineno - first[0].lineno + 1 if first else 0
            found += [(node.name, length)] * (length > MAX_BODY)
    return found + [n_lines] * (n_lines > MAX_LINES)


def test_modules_are_of_readable_size():
    """A module has at most 500 lines without docstrings, a function at most 50."""
    assert len(MODULES) > 100
    assert _named((module, _too_long(module)) for module in MODULES) == {}


def _private_names(module):
    own = ".".join(("sk_tune", *module.relative_to(PACKAGE).parts[:-1]))
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sk_tune."):
            home, _, name = node.module.rpartition(".")
            # Also from the package around it.
            is_within = home == "sk_tune" or f"{own}.".startswith(f"{home}.")
            if name.startswith("_") and not is_within:
                yield node.module


def test_other_packages_are_used_by_their_public_names():
    """A sub-package imports from another by its root, not from its private modules."""
    assert _named((module, [*_private_names(module)]) for module in MODULES) == {}


def _imported(module):
    """Yield the modules of the package that a module imports, also inside functions."""
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sk_tune"):
            home = PACKAGE.parent.joinpath(*node.module.split("."))
            for path in [home / f"{alias.name}.py" for alias in node.names]:
                own = [path, home.with_suffix(".py"), home / "__init__.py"]
                yield next(path for path in own if path.exists())


def test_modules_do_not_import_each_other_in_a_circle():
    """Imports have an order, with those inside functions."""
    TopologicalSorter({m: {*_imported(m)} for m in MODULES}).prepare()


def test_licence_is_named_in_every_file():
    """The first two lines are SPDX lines."""
    lines = [
        "# SPDX-FileCopyrightText: sk_tune contributors",
        "# SPDX-License-Identifier: BSD-3-Clause",
    ]

    assert [m for m in MODULES if m.read_text().splitlines()[:2] != lines] == []


PAGE = TESTS.parent / "docs" / "how-it-works.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the pages are in a checkout only")
def test_the_page_on_how_it_works_names_existing_objects():
    """Modules and packages named on the page exist."""
    places = set(re.findall(r"`(sk_tune/[\w/.]+)`", PAGE.read_text(encoding="utf-8")))

    assert len(places) > 30
    assert sorted(p for p in places if not (TESTS.parent / p).exists()) == []


_HEAVY = {"torch", "sklearn", "skorch", "skopt", "numpy", "pandas", "scipy"}


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        # What is in the root is imported when a name is asked for.
        ("import sk_tune", _HEAVY),
        ("import sk_tune; dir(sk_tune)", _HEAVY),
        (
            "import sk_tune._nets, sk_tune._training, sk_tune._augment",
            {"sklearn", "skorch", "skopt", "pandas"},
        ),
        ("import sk_tune._space, sk_tune._sampler", {"torch", "skorch", "optuna"}),
    ],
)
def test_imports_import_nothing_heavy(code, heavy):
    """Networks need no scikit-learn; spaces and samplers, for any estimator, no torch."""
    code += f"; import sys; print(sorted({heavy} & set(sys.modules)))"

    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_every_test_has_a_docstring():
    """The docstring states the behaviour in one sentence."""
    for path in TESTS.rglob("test_*.py"):
        tests = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        ]

        assert tests, path
        assert [test.name for test in tests if ast.get_docstring(test) is None] == []
