# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Copies of a case, and test rows that repeat training rows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold

from sk_tune._diagnosis import find_leaks, group_copies


@settings(deadline=None, max_examples=20)
@given(n_times=st.integers(2, 5), seed=st.integers(0, 50))
def test_copies_of_a_case_have_its_group(n_times, seed):
    """With some noise, at least nine in ten cases are grouped completely."""
    rng = np.random.default_rng(seed)
    cases = np.repeat(np.arange(60), n_times)
    X = rng.normal(size=(60, 6))[cases] + 0.05 * rng.normal(size=(len(cases), 6))

    groups = group_copies(X)

    whole = [len(np.unique(groups[cases == case])) == 1 for case in range(60)]
    assert np.mean(whole) >= 0.9
    assert max(len(np.unique(cases[groups == group])) for group in groups) <= 2
    # Two rows in a hundred may be near each other by chance.
    assert len(np.unique(group_copies(rng.normal(size=(500, 5))))) > 480


def test_units_and_order_do_not_matter(rng):
    """Grams instead of kilograms, and rows in reverse order."""
    X = np.repeat(rng.normal(size=(50, 4)), 2, axis=0)
    X += 0.02 * rng.normal(size=X.shape)

    groups = group_copies(X)
    others = group_copies(1000 * X[::-1])[::-1]

    same = groups[:, None] == groups
    assert ((others[:, None] == others) == same).all()


def test_of_few_rows_only_equal_rows_are_grouped():
    """Six rows do not define a usual distance."""
    X = np.array([[0.0], [0.0], [1.0], [1.001], [5.0], [9.0]])

    groups = group_copies(X)

    assert groups[0] == groups[1]
    assert len(np.unique(groups)) == 5
    assert group_copies(X[:1]).tolist() == [0]


def test_a_table_is_compared_by_its_numbers(rng):
    """Text has no distance, and missing values count as the median."""
    X = pd.DataFrame(rng.normal(size=(40, 3)), columns=list("abc"))
    X.loc[3, "a"] = np.nan
    doubled = pd.concat([X, X], ignore_index=True).assign(name="x")

    groups = group_copies(doubled)

    assert (groups[:40] == groups[40:]).all()


def test_infinity_is_missing_and_durations_are_seconds(rng):
    """Groups are the same as in a table with converted values."""
    plain = pd.DataFrame({"a": rng.normal(size=60), "stay": np.arange(60) // 2 * 60.0})
    plain.loc[5, "a"] = np.nan
    own = plain.assign(stay=pd.to_timedelta(plain["stay"], unit="s"))
    own.loc[5, "a"] = np.inf

    np.testing.assert_array_equal(group_copies(own), group_copies(plain))


def test_the_largest_numbers_can_be_compared(rng):
    """Some files have them for missing values; their squares overflow."""
    X = pd.DataFrame(rng.normal(size=(60, 3)), columns=[*"abc"])
    X.loc[::9, "a"] = np.finfo(np.float64).max

    assert len(np.unique(group_copies(X))) == 60
    assert all(found.outcome != "issue" for found in find_leaks(X, np.arange(60) % 2))


def test_columns_of_numbers_are_required():
    """Text has no distance."""
    with pytest.raises(ValueError, match="must have numeric columns"):
        group_copies(pd.DataFrame({"name": ["a", "b"]}))


def _noisy_copies(n_times, n_cases=100):
    """Return cases recorded with noise that hides copies among other rows."""
    rng = np.random.default_rng(0)
    cases = np.repeat(np.arange(n_cases), n_times)
    X = rng.normal(size=(n_cases, 4))[cases] + 0.1 * rng.normal(size=(len(cases), 4))
    return X, cases


@pytest.mark.parametrize("n_columns", [2, 4, 8])
def test_rows_that_lie_evenly_are_hardly_ever_grouped(n_columns):
    """Chance groups about one in fifty, in any dimension."""
    groups = group_copies(np.random.default_rng(0).random((1000, n_columns)))

    assert 940 < len(np.unique(groups)) < 1000
    assert np.unique(groups, return_counts=True)[1].max() <= 3


def test_rows_with_equal_numeric_targets_are_grouped():
    """Targets of other cases differ, so cases are grouped exactly."""
    X, cases = _noisy_copies(4)
    y = np.random.default_rng(1).normal(size=100)[cases]

    groups = group_copies(X, y)

    assert len(np.unique(groups)) == 100
    assert len(np.unique(groups + 1000 * cases)) == 100


def test_classes_keep_other_cases_out_of_a_group():
    """A row near another case is not linked if its class differs."""
    X, cases = _noisy_copies(3)
    y = cases % 2

    groups = group_copies(X, y)

    whole = [len(np.unique(groups[cases == case])) == 1 for case in range(100)]
    assert np.mean(whole) > 0.9
    assert max(np.bincount(groups)) <= 9


@pytest.mark.parametrize("n_values", [2, 30])
def test_common_targets_are_not_a_sign_of_copies(n_values):
    """Farther neighbours share them, too."""
    X = np.random.default_rng(0).normal(size=(300, 3))
    y = np.random.default_rng(1).integers(n_values, size=300)

    assert len(np.unique(group_copies(X, y))) == len(np.unique(group_copies(X)))


def _found(name, X, y=None, folds=None):
    y = np.zeros(len(X)) if y is None else y
    folds = _parts(np.arange(len(X))) if folds is None else folds
    return next(f for f in find_leaks(X, y, cv=folds) if f.name == f"{name} across folds")


def _parts(order):
    """Return five folds of rows in an order."""
    return [(np.setdiff1d(order, part), part) for part in np.array_split(order, 5)]


@settings(max_examples=12)
@given(n_copies=st.integers(0, 20), seed=st.integers(0, 9))
def test_the_share_counts_test_rows_with_a_twin(n_copies, seed):
    """Twins within one fold do not count."""
    X = np.random.default_rng(seed).normal(size=(100, 3))
    X[80 : 80 + n_copies] = X[:n_copies]
    folds = [(np.arange(80), np.arange(80, 100))]

    finding = _found("duplicates", X, folds=folds)

    assert finding.evidence["rows"] == n_copies
    assert finding.evidence["share"] == pytest.approx(n_copies / 20)
    assert finding.outcome == ("issue" if n_copies >= 3 else "passed")
    X[90:] = X[80:90] = np.random.default_rng(10 + seed).normal(size=(10, 3))
    assert _found("duplicates", X, folds=folds).outcome == "passed"


def _people(n=600):
    """Return dependent coarse columns of a survey, and fine wages."""
    rng = np.random.default_rng(0)
    age = rng.integers(20, 30, n)
    region = rng.integers(4, size=n)
    dummies = {f"region {k}": (region == k).astype(int) for k in range(4)}
    is_married = rng.random(n) < (age - 19) / 12
    X = pd.DataFrame({"age": age, "age squared": age**2, "married": is_married, **dummies})
    return X, np.exp(rng.normal(size=n))


def _with_copies(X, y, n_copies):
    return pd.concat([X, X[:n_copies]], ignore_index=True), np.append(y, y[:n_copies])


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_equal_rows_with_other_targets_are_other_cases(share):
    """Different people may have equal columns; copies also have equal wages.

    Copies are a tip, because a prediction of random wages is a mean over many people.
    """
    X, wages = _people()

    finding = _found("duplicates", X, wages)
    assert (finding.outcome, finding.evidence["rows"]) == ("passed", 0)
    assert "a different target" in finding.message
    n_copies = int(share * len(X))
    finding = _found("duplicates", *_with_copies(X, wages, n_copies))
    assert (finding.outcome, finding.evidence["rows"]) == ("tip", 2 * n_copies)


def test_targets_with_rounding_errors_are_equal():
    """As after writing and reading text."""
    X, wages = _people()
    again = np.array([float(f"{wage:.12g}") for wage in wages[:30]])

    finding = _found(
        "duplicates", pd.concat([X, X[:30]], ignore_index=True), np.append(wages, again)
    )

    assert finding.evidence["rows"] == 60


def test_expected_equal_rows_pass():
    """Squares and dummies of a column do not make rows rarer."""
    X, wages = _people()
    is_high = (wages > np.median(wages)).astype(int)
    X = X.assign(height=np.random.default_rng(1).integers(150, 200, len(X)))

    finding = _found("duplicates", X, is_high)

    assert finding.outcome == "passed"
    expected = finding.evidence["expected_share"]
    # About twenty pairs vary by a fifth.
    assert expected == pytest.approx(finding.evidence["share"], rel=0.3)


@pytest.mark.parametrize("n_values", [6, 10])
def test_the_expected_share_is_right_for_independent_columns(n_values):
    """Among n rows of k equal kinds, 1 - exp(-n / k) have a twin."""
    X = pd.DataFrame(np.random.default_rng(2).integers(n_values, size=(3000, 4)))
    y = np.random.default_rng(3).integers(2, size=3000)

    expected = _found("duplicates", X, y).evidence["expected_share"]

    chance = 1 - np.exp(-2400 / (2 * n_values**4))
    assert expected == pytest.approx(chance, rel=0.1)


def test_a_table_with_every_row_twice_is_an_issue(rng):
    """Only coarse columns have few distinct rows by nature."""
    X = np.tile(rng.normal(size=(100, 3)), (3, 1))

    assert _found("duplicates", X).outcome == "issue"


def test_distances_are_relative(rng):
    """A factor of a thousand does not change the result."""
    X = rng.normal(size=(200, 4))
    X[150:] = X[:50] + 1e-4 * rng.normal(size=(50, 4))
    folds = [(np.arange(150), np.arange(150, 200))]

    for scale in (1.0, 1000.0):
        finding = _found("near duplicates", scale * X, folds=folds)
        assert finding.outcome == "issue"
        assert finding.evidence["rows"] >= 49


TARGETS = np.random.default_rng(1).normal(size=300)
OF_CASES = np.repeat(TARGETS[:100], 3)


@pytest.mark.parametrize(
    ("noise", "n_columns", "y", "outcome"),
    [
        # Noise of a tenth of the variation between cases does not hide copies.
        *((noise, 6, OF_CASES, "issue") for noise in (0.003, 0.03, 0.1)),
        # A case that is measured again, including its target, is a different case.
        *((noise, 6, TARGETS, "passed") for noise in (0.003, 0.1)),
        # In four columns copies are no nearer than chance: groups or targets reveal them.
        (0.15, 4, OF_CASES, "issue"),
        (0.15, 4, (OF_CASES > 0).astype(int), "issue"),
    ],
)
def test_cases_that_were_recorded_three_times_are_found(noise, n_columns, y, outcome, rng):
    """Copies are near and share a target; folds with whole cases pass."""
    X = np.repeat(rng.normal(size=(100, n_columns)), 3, axis=0)
    X += noise * rng.normal(size=X.shape)

    finding = _found("near duplicates", X, y, _parts(rng.permutation(300)))

    assert finding.outcome == outcome
    if outcome == "issue":
        assert "group_copies" in finding.remedy
        assert finding.evidence["share"] > (0.2 if noise == 0.1 else 0.5)
    # 60 rows in a fold: 20 cases.
    assert _found("near duplicates", X, y).outcome == "passed"


@pytest.mark.parametrize("n_classes", [2, 5, None])
def test_rows_near_by_nature_are_not_copies(n_classes, rng):
    """Classes consist of neighbours, and round wages are common."""
    if n_classes is None:
        X = rng.normal(size=(300, 3))
        y = 100.0 * np.round(X.sum(axis=1) + rng.normal(size=300))
    else:
        y = rng.integers(n_classes, size=400)
        X = 4.0 * np.eye(n_classes, 5)[y] + rng.normal(size=(400, 5))

    finding = _found("near duplicates", X, y, _parts(rng.permutation(len(X))))

    assert finding.outcome == "passed"


def test_equal_rows_are_not_near_duplicates(rng):
    """Rounding errors give equal rows a distance, which does not count."""
    X = pd.DataFrame(rng.normal(loc=50.0, size=(400, 56)))
    y = pd.Series(rng.integers(0, 2, 400))
    X, y = (pd.concat([values, values[:30]], ignore_index=True) for values in (X, y))

    findings = find_leaks(X, y, cv=KFold(5, shuffle=True, random_state=0))

    outcomes = {finding.name: finding.outcome for finding in findings}
    assert outcomes["duplicates across folds"] == "issue"
    assert outcomes["near duplicates across folds"] == "passed"


@pytest.mark.parametrize(
    "columns", [{"a": np.ones(40)}, {"a": np.ones(40), "b": np.arange(40) % 4}]
)
def test_equal_values_of_one_column_are_no_copies(columns):
    """A row of one value is not a record that could be repeated."""
    finding = _found("duplicates", pd.DataFrame(columns), np.arange(40) % 2)

    assert finding.outcome == "not applicable"


def test_copies_that_do_not_change_the_score_are_a_tip():
    """A forest predicts the classes of two distant clusters without the copies, too."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 100)
    X = rng.normal(size=(200, 4)) + 20 * y[:, None]
    X, y = np.concatenate([X, X[::4]]), np.concatenate([y, y[::4]])

    findings = find_leaks(X, y, cv=KFold(5, shuffle=True, random_state=0))
    finding = next(f for f in findings if f.name == "duplicates across folds")

    assert (finding.outcome, finding.severity) == ("tip", "low")
    assert finding.evidence["error_rise"] == 0
    # A forest shows no effect, so the remedy is for other models.
    assert finding.remedy.startswith("To rule out an effect on your model: drop repeated")


def test_the_rise_of_the_error_is_the_share_of_copies_on_noise():
    """Only copies predict random targets, so without them the error is at chance."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 5)), rng.normal(size=400)
    X, y = np.concatenate([X, X[:80]]), np.concatenate([y, y[:80]])

    findings = find_leaks(X, y, cv=KFold(5, shuffle=True, random_state=0))
    finding = next(f for f in findings if f.name == "duplicates across folds")

    # 160 of 480 samples have a copy, which is in the training of another fold with
    # probability 0.8, and in the random part of it with about 0.8.
    assert finding.outcome == "issue"
    assert finding.evidence["error_rise"] == pytest.approx(0.8 * 0.8 / 3, abs=0.08)
