"""scikit-learn's own tests of its searches, by our classes, and inside a ``fleet`` block.

They run from the installed wheel, in processes of their own.  A plugin of pytest puts our
classes in the place of scikit-learn's, or every test into a block.
"""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import sklearn

TESTS = Path(sklearn.__file__).parent / "model_selection" / "tests"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (TESTS / "test_search.py").exists(),
        reason="this scikit-learn comes without its tests",
    ),
]

IN_A_BLOCK = """
import pytest
from sk_tune import fleet

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    with fleet(n_jobs=1):
        yield
"""
# Replaces names in the test modules, and values of parametrised tests.
BY_OUR_CLASSES = """
import sk_tune
from sklearn import model_selection
from sklearn.experimental import enable_halving_search_cv

NAMES = (
    "GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"
)
OURS = {getattr(model_selection, name): getattr(sk_tune, name) for name in NAMES}


def replaced(value):
    if isinstance(value, type):
        return OURS.get(value, value)
    if type(value) in OURS:
        return OURS[type(value)](**value.get_params(deep=False))
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(replaced(v) for v in value)
    return value


def pytest_collection_modifyitems(items):
    for item in items:
        module = item.module
        for theirs, ours in OURS.items():
            if getattr(module, theirs.__name__, None) is theirs:
                setattr(module, theirs.__name__, ours)
        if hasattr(item, "callspec"):
            params = item.callspec.params
            params.update({name: replaced(value) for name, value in params.items()})
"""


def _outcomes(folder, module, plugin=""):
    """Run a module of tests in a folder; return the outcome of each, and what it prints."""
    folder.mkdir()
    (folder / "our_plugin.py").write_text(plugin)
    report, root = folder / "report.xml", str(Path(__file__).parents[2])
    paths = [str(folder), root, os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--pyargs", "-q", "-p", "no:randomly"),
            *("-p", "no:cacheprovider", "-p", "our_plugin", "--disable-warnings"),
            *(f"--junitxml={report}", "--rootdir", str(folder), "--tb=short"),
            *("-o", "addopts=", f"sklearn.model_selection.tests.{module}"),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert report.exists(), done.stdout[-3000:] + done.stderr[-3000:]
    found = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        kinds = {"failure", "error", "skipped"} & {child.tag for child in case}
        found[case.get("name")] = kinds.pop() if kinds else "passed"
    return found, done.stdout[-12000:]


# It compares dir() of GridSearchCV with that of a search of its own, which lacks the
# attributes that ours have besides.
EXCLUDED = {"test_custom_run_search"}


@pytest.mark.parametrize("module", ["test_search", "test_successive_halving"])
def test_scikit_learns_tests_pass_with_our_searches(module, tmp_path):
    """Every test passes or is skipped; an exclusion that is not needed is to be deleted."""
    found, printed = _outcomes(tmp_path / "ours", module, BY_OUR_CLASSES)

    failed = {name for name, outcome in found.items() if outcome in {"failure", "error"}}
    assert not {name for name in failed if name.split("[")[0] not in EXCLUDED}, printed
    assert sum(outcome == "passed" for outcome in found.values()) > 40
    assert {found[name] for name in EXCLUDED & set(found)} <= {"failure"}


def test_the_block_changes_no_outcome(tmp_path):
    """Each test ends as it does without the block, also those of prints and callbacks."""
    outside, _ = _outcomes(tmp_path / "outside", "test_search")
    inside, printed = _outcomes(tmp_path / "inside", "test_search", IN_A_BLOCK)

    assert "passed" in outside.values()
    assert inside == outside, printed
