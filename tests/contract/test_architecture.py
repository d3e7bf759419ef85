"""The form of the package: size of modules, layers, cost of imports."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sk_tune

PACKAGE = Path(sk_tune.__file__).parent
TESTS = Path(__file__).parent.parent
MODULES = sorted(PACKAGE.rglob("*.py"))

MAX_LINES = 500
MAX_BODY = 50


def _name(path):
    return path.relative_to(PACKAGE).as_posix()


def _docstrings(tree):
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            yield node.body[0]


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_modules_are_of_readable_size(module):
    """A module has at most 500 lines without docstrings, a function at most 50."""
    text = module.read_text()
    tree = ast.parse(text)
    in_docstrings = {
        line for d in _docstrings(tree) for line in range(d.lineno, d.end_lineno + 1)
    }

    n_lines = len(text.splitlines()) - len(in_docstrings)

    assert n_lines <= MAX_LINES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1:] if ast.get_docstring(node) else node.body
            length = first[-1].end_lineno - first[0].lineno + 1 if first else 0
            assert length <= MAX_BODY, node.name


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_other_packages_are_used_by_their_public_names(module):
    """A sub-package imports from another by its root, not from its private modules."""
    own = ".".join(("sk_tune", *module.relative_to(PACKAGE).parts[:-1]))
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sk_tune."):
            home, _, name = node.module.rpartition(".")
            private = name.startswith("_") and home != "sk_tune"
            assert not private or home == own, node.module


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_licence_is_named_in_every_file(module):
    """The first two lines are those of SPDX."""
    assert module.read_text().splitlines()[:2] == [
        "# SPDX-FileCopyrightText: sk_tune contributors",
        "# SPDX-License-Identifier: BSD-3-Clause",
    ]


def _python(code):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


PAGE = TESTS.parent / "docs" / "how-it-works.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the pages are in a checkout only")
def test_the_page_on_how_it_works_names_what_there_is():
    """Modules and packages that the page leads to are there."""
    places = set(re.findall(r"`(sk_tune/[\w/.]+)`", PAGE.read_text(encoding="utf-8")))

    assert len(places) > 30
    assert sorted(p for p in places if not (TESTS.parent / p).exists()) == []


@pytest.mark.parametrize("code", ["import sk_tune", "import sk_tune; dir(sk_tune)"])
def test_importing_the_root_imports_nothing_heavy(code):
    """torch, scikit-learn and the rest are imported when a name is asked for."""
    heavy = {"torch", "sklearn", "skorch", "skopt", "numpy", "pandas", "scipy"}

    result = _python(f"{code}; import sys; print(sorted({heavy} & set(sys.modules)))")

    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_networks_and_training_steps_need_no_scikit_learn():
    """sk_tune.nets, training and augment import torch, numpy and scipy only."""
    result = _python(
        "import sk_tune.nets, sk_tune.training, sk_tune.augment, sys; "
        "print(sorted({'sklearn', 'skorch', 'skopt', 'pandas'} & set(sys.modules)))"
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_spaces_and_samplers_need_no_torch():
    """sk_tune.space and sk_tune.sampler are for any estimator, and quick to import."""
    result = _python(
        "import sk_tune.space, sk_tune.sampler, sys; "
        "print(sorted({'torch', 'skorch', 'optuna'} & set(sys.modules)))"
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda p: p.stem)
def test_every_test_says_what_behaviour_it_is_for(path):
    """Each test function has a docstring, which is the requirement in one sentence."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tests = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]

    assert tests
    assert [test.name for test in tests if ast.get_docstring(test) is None] == []
