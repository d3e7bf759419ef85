"""The leak guard: planted leaks are detected, clean data pass."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn import datasets
from sklearn.datasets import load_diabetes
from sklearn.model_selection import GroupKFold, KFold, TimeSeriesSplit
from sklearn.preprocessing import QuantileTransformer, RobustScaler, StandardScaler

from sk_tune._diagnosis import find_leaks, group_copies
from sk_tune._diagnosis._leaks import outliers_of
from sk_tune._prepare import TablePreparer

CLEAN = {
    "iris": datasets.load_iris(return_X_y=True),
    "wine": datasets.load_wine(return_X_y=True),
    "breast cancer": datasets.load_breast_cancer(return_X_y=True),
    "digits": tuple(part[:800] for part in datasets.load_digits(return_X_y=True)),
    "friedman": datasets.make_friedman1(600, noise=1.0, random_state=0),
    "moons": datasets.make_moons(400, noise=0.2, random_state=0),
}
SHUFFLED = KFold(5, shuffle=True, random_state=0)


def _issues(*data, **options):
    return {f.name for f in find_leaks(*data, **options) if f.outcome == "issue"}


def _outcomes(*data, **options):
    return {f.name: f.outcome for f in find_leaks(*data, **options)}


@pytest.mark.parametrize("name", CLEAN)
def test_clean_data_pass(name):
    """Real data sets, and independent rows; no outliers either."""
    outcomes = _outcomes(*CLEAN[name])

    assert "issue" not in outcomes.values()
    assert (len(outcomes), outcomes["outliers"]) == (8, "passed")


@pytest.fixture(params=CLEAN)
def clean(request):
    """Features and targets of each clean data set."""
    return CLEAN[request.param]


def test_the_findings_print_as_a_report():
    """As findings of a diagnosis, in a terminal and in a notebook."""
    findings = find_leaks(*CLEAN["iris"])

    assert repr(findings).startswith("No check found an issue.\nPassed: duplicates")
    assert "<td>duplicates across folds, " in findings._repr_html_()


def test_repeated_rows_are_found(clean, rng):
    """Half of the rows are repeated elsewhere, which changes the score."""
    X, y = clean
    again = rng.choice(len(X), len(X) // 2, replace=False)
    X, y = np.concatenate([X, X[again]]), np.concatenate([y, y[again]])

    assert "duplicates across folds" in _issues(X, y, cv=SHUFFLED)


@pytest.mark.parametrize("name", ["breast cancer", "friedman", "moons", "wine"])
def test_copies_with_noise_are_found(name, rng):
    """Augmented before the split: each column of a copy is off by a thousandth."""
    X, y = CLEAN[name]
    again = rng.choice(len(X), len(X) // 5, replace=False)
    noise = 1e-3 * X.std(axis=0) * rng.normal(size=(len(again), X.shape[1]))
    X = np.concatenate([X, X[again] + noise])

    issues = _issues(X, np.concatenate([y, y[again]]), cv=SHUFFLED)

    assert issues == {"near duplicates across folds"}


def test_leaking_columns_are_found(clean, rng):
    """The target in other units or with noise, and scaling before the split."""
    X, y = clean
    told = np.exp((y - y.mean()) / y.std()) * (1 + 1e-3 * rng.normal(size=len(y)))

    assert "target among the features" in _issues(np.column_stack([X, 3 - 2 * y]), y)
    assert _issues(np.column_stack([X, told]), y) == {"feature that gives the target away"}
    assert "scaled over all rows" in _issues(StandardScaler().fit_transform(X), y)


def test_the_diabetes_data_of_scikit_learn_were_scaled_over_all_rows():
    """According to its documentation, columns are centred with equal norms."""
    assert _issues(*datasets.load_diabetes(return_X_y=True)) == {"scaled over all rows"}


def test_groups_on_both_sides_are_found():
    """Rows of a patient in training and test; a split by patient passes."""
    X, y = CLEAN["breast cancer"]
    groups = np.arange(len(X)) // 4

    assert _issues(X, y, cv=SHUFFLED, groups=groups) == {"groups across folds"}
    assert _issues(X, y, cv=GroupKFold(5), groups=groups) == set()


@pytest.mark.parametrize(("column", "outcome"), [("patient_id", "tip"), ("age", None)])
def test_a_column_that_looks_like_groups_is_a_tip(column, outcome):
    """Only the user knows whether new data have new patients."""
    X, y = CLEAN["breast cancer"]
    frame = pd.DataFrame(X).rename(columns=str).assign(**{column: np.arange(len(X)) // 4})

    found = _outcomes(frame, y, cv=SHUFFLED)

    assert found["groups across folds"] == (outcome or "not applicable")


def test_training_on_the_future_is_found():
    """Shuffled folds of a time series; a split by time passes."""
    X, y = CLEAN["friedman"]
    times = pd.date_range("2020-01-01", periods=len(X))

    assert _issues(X, y, cv=SHUFFLED, times=times) == {"future in the training rows"}
    # Samples of the same time do not precede each other.
    assert _issues(X, y, times=np.zeros(len(X))) == set()
    assert _issues(X, y, cv=TimeSeriesSplit(5), times=times) == set()


def test_times_of_text_are_in_the_order_of_the_calendar():
    """As text, 2024-10 would precede 2024-9."""
    X, y = CLEAN["friedman"]
    times = [f"2024-{9 + row // 28 % 2}-{row % 28 + 1}" for row in range(56)]

    found = _issues(X[:56], y[:56], cv=TimeSeriesSplit(5), times=times)

    assert "future in the training rows" not in found
    with pytest.raises(ValueError, match="begin with the year"):
        find_leaks(X[:56], y[:56], times=[f"{row}/1/2024" for row in range(56)])


@pytest.mark.parametrize(
    "as_column",
    [
        lambda dates: dates,
        lambda dates: dates.strftime("%Y-%m-%d"),
        lambda dates: dates.strftime("%Y-%m-%d %H:%M").astype(object),
        lambda dates: dates.strftime("%Y-%m-%dT%H:%M:%SZ").where(dates.day > 3),
        lambda dates: dates.strftime("%m/%d/%Y"),
        lambda dates: dates.strftime("%d.%m.%Y %H:%M"),
        lambda dates: dates.strftime("%d %b %Y"),
    ],
    ids=["dates", "text", "objects", "zone", "month first", "day first", "name"],
)
def test_a_column_of_dates_is_a_tip(as_column):
    """Dates may be text in any common format; rows may be independent in time."""
    X, y = CLEAN["friedman"]
    frame = pd.DataFrame(X).rename(columns=str)
    frame = frame.assign(when=as_column(pd.date_range("2020-01-01", periods=len(X))))

    assert _outcomes(frame, y, cv=SHUFFLED)["future in the training rows"] == "tip"
    assert (
        _outcomes(frame, y, cv=TimeSeriesSplit(5))["future in the training rows"]
        == "passed"
    )


@pytest.mark.parametrize(
    "text", ["2020", "31/31/2020", "2020-13-41", "2020-01-01 or so", None]
)
def test_text_that_is_not_a_date_has_no_order(text):
    """Neither numbers, days that do not exist, nor empty columns count."""
    X, y = CLEAN["friedman"]
    frame = pd.DataFrame(X).rename(columns=str).assign(when=[text] * len(X))

    assert _outcomes(frame, y)["future in the training rows"] == "not applicable"


def test_tables_with_few_distinct_rows_repeat_them(rng):
    """Three columns of three categories have 27 distinct rows."""
    X = pd.DataFrame(rng.integers(0, 3, (300, 3)).astype(str), columns=list("abc"))
    y = rng.integers(0, 2, 300)

    found = _outcomes(X, y)

    assert found["duplicates across folds"] == "tip"
    assert "issue" not in found.values()


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_tables_with_text_and_missing_values_are_checked(make, rng, monkeypatch):
    """For every kind of frame, also without pyarrow, which polars needs for to_pandas."""
    monkeypatch.delattr(pl.DataFrame, "to_pandas")
    n = 200
    data = {
        "number": [
            None if i % 7 == 0 else float(v) for i, v in enumerate(rng.normal(size=n))
        ],
        "text": [f"word {i % 5}" for i in range(n)],
        "other": rng.normal(size=n),
    }
    y = np.array(["yes", "no"])[rng.integers(0, 2, n)]

    assert _issues(make(data), y) == set()
    assert _issues(make({**data, "answer": [f"{v}!" for v in y]}), y) == {
        "target among the features"
    }


@pytest.mark.parametrize("target", ["classes", "numbers"])
def test_infinity_is_missing_and_durations_are_seconds(target, rng):
    """As in TablePreparer: findings equal a converted table."""
    plain = pd.DataFrame(rng.normal(size=(200, 3)), columns=["a", "b", "c"])
    plain["stay"] = rng.permutation(200) * 60.0
    plain.loc[3, "a"] = np.nan
    y = rng.normal(size=200) if target == "numbers" else np.arange(200) % 2
    own = plain.assign(stay=pd.to_timedelta(plain["stay"], unit="s"))
    own.loc[3, "a"] = -np.inf

    assert find_leaks(own, y) == find_leaks(plain, y)


def test_images_and_several_targets_are_checked(rng):
    """Images are flattened; checks of a single target are not applicable."""
    images, y = CLEAN["digits"][0].reshape(-1, 8, 8), CLEAN["digits"][1]
    targets = np.column_stack([y, y]).astype(float) + rng.normal(size=(len(y), 2))

    found = _outcomes(images, targets)

    assert "issue" not in found.values()
    assert found["target among the features"] == "not applicable"


def test_outliers_are_a_tip(rng):
    """A code for a missing value in one column."""
    X, y = CLEAN["breast cancer"]
    X = X.copy()
    X[rng.choice(len(X), 5, replace=False), 3] = 1e6

    *_, finding = find_leaks(X, y)

    assert finding.outcome == "tip"
    assert "'column 3'" in finding.message


@pytest.mark.parametrize(
    "y", [[0, 1, 0, 1], [0.5, 1.5, 2.0, 1.0]], ids=["classes", "numbers"]
)
def test_few_samples_have_fewer_folds(y):
    """As many as the largest class has samples, or as there are numbers."""
    X = np.array([[0.1, 3.0], [0.5, 1.0], [0.2, 2.5], [0.3, 0.2]])

    assert {f.outcome for f in find_leaks(X, y)} == {"passed", "not applicable"}


def test_lengths_must_agree():
    """With the error of scikit-learn."""
    X, y = CLEAN["iris"]

    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        find_leaks(X, y[:-1])


FOLDS = [(np.arange(8), np.arange(8, 12))]


@pytest.mark.parametrize(("n_shared", "outcome"), [(0, "passed"), (3, "issue")])
def test_the_share_counts_test_rows_with_their_group_in_training(n_shared, outcome):
    """Of four test rows; the index of a frame has no effect."""
    groups = np.arange(12)
    groups[8 : 8 + n_shared] = 0
    X = pd.DataFrame({"a": np.arange(12.0)}, index=[7] * 12)

    finding = find_leaks(X, np.zeros(12), cv=FOLDS, groups=groups)[2]

    assert finding.outcome == outcome
    assert finding.evidence["share"] == n_shared / 4


IDENTITIES = ["patient", "Customer ID", "customerID", "user_id", "id"]
OTHERS = ["number_customer_service_calls", "user_rating", "paid"]


@pytest.mark.parametrize("name", [*IDENTITIES, *OTHERS])
def test_identities_need_their_whole_name(name):
    """A word within a name is not enough."""
    X = pd.DataFrame({name: np.arange(40) // 2})
    folds = [(np.arange(0, 40, 2), np.arange(1, 40, 2))]

    outcome = _outcomes(X, np.zeros(40), cv=folds)["groups across folds"]

    assert (outcome == "tip") is (name in IDENTITIES)


def test_test_rows_before_the_last_training_row_are_counted():
    """Times need not be sorted."""
    X, times = np.arange(12.0)[:, None], np.arange(12)
    along, backwards = (
        find_leaks(X, np.zeros(12), cv=FOLDS, times=own)[3] for own in (times, times[::-1])
    )

    assert along.outcome == "passed"
    assert backwards.outcome == "issue"
    assert backwards.evidence["share"] == 1.0


RNG = np.random.default_rng(0)
Y = RNG.normal(size=120)
CLASSES = np.arange(120) % 3


def _found(name, X, y):
    return next(f for f in find_leaks(X, y, cv=3) if f.name == name)


TARGET, GIVEAWAY = "target among the features", "feature that gives the target away"


@pytest.mark.parametrize(
    ("column", "y", "outcome"),
    [
        # Each value belongs to one class, and each class to one value.
        (np.array(["red", "green", "blue"])[CLASSES], CLASSES, "issue"),
        (CLASSES * -2.5, CLASSES, "issue"),
        (CLASSES % 2, CLASSES, "passed"),
        (np.arange(120), CLASSES, "passed"),
        (np.where(np.arange(120) == 5, 0, CLASSES), CLASSES, "passed"),
        # A number in other units counts, an approximation does not.
        (32 + 1.8 * Y, Y, "issue"),
        (Y + 0.01 * RNG.normal(size=120), Y, "passed"),
    ],
)
def test_the_target_under_another_name_is_found(column, y, outcome):
    """Renamed or in other units, but not coarser, finer or approximate."""
    assert _found(TARGET, pd.DataFrame({"a": column}), y).outcome == outcome


@pytest.mark.parametrize(("n_wrong", "outcome"), [(0, "issue"), (5, "passed")])
@pytest.mark.parametrize("seed", range(5))
def test_a_column_that_separates_the_classes_is_found(seed, n_wrong, outcome):
    """Cross-validated trees err near the limit, so they find it in large tables only."""
    rng = np.random.default_rng(seed)
    days = rng.normal(270, 20, size=100)
    preterm = (days < 259).astype(int)
    preterm[rng.choice(100, n_wrong, replace=False)] ^= 1

    assert _found(GIVEAWAY, pd.DataFrame({"days": days}), preterm).outcome == outcome


@pytest.mark.parametrize("n_each", [1, 5])
def test_a_column_of_identities_numbered_by_class_is_found(n_each):
    """As where trees 1 to 54 are treated; several rows of a tree are a group."""
    trees = np.repeat(np.arange(80), n_each)

    finding = _found(GIVEAWAY, pd.DataFrame({"tree": trees}), trees < 54)

    assert finding.outcome == "issue"
    assert ("as groups" in finding.remedy) == (n_each == 5)


@pytest.mark.parametrize("kind", [int, "patient {}".format], ids=["numbers", "texts"])
@pytest.mark.parametrize("is_number", [False, True], ids=["classes", "numbers"])
def test_an_identity_of_rows_with_one_target_is_found(kind, is_number):
    """In random order, where only equal values tell the target; not of random targets."""
    rng = np.random.default_rng(0)
    patients = rng.permutation(60)[rng.integers(60, size=300)]
    of_patient = rng.normal(size=60) if is_number else rng.choice(["no", "yes"], size=60)
    X = pd.DataFrame({"who": [kind(i) for i in patients], "a": rng.normal(size=300)})

    finding = _found(GIVEAWAY, X, of_patient[patients])

    assert finding.outcome == "issue"
    assert "as groups" in finding.remedy
    assert _found(GIVEAWAY, X, rng.permutation(of_patient[patients])).outcome == "passed"


def test_a_constant_target_is_given_away_by_no_column():
    """Every column predicts it without error."""
    X = np.random.default_rng(0).normal(size=(60, 3))

    assert _outcomes(X, np.ones(60))[GIVEAWAY] == "not applicable"


@pytest.mark.parametrize("limits", [[5.5], [4.0, 6.0, 8.0]], ids=["two", "four"])
def test_a_column_of_ranges_of_the_target_is_found(limits):
    """As a low weight at birth is, where the weight is predicted, also if it is rounded."""
    rng = np.random.default_rng(0)
    weights = rng.normal(7, 1.5, size=1000)
    X = pd.DataFrame({"a": rng.normal(size=1000)})
    X["range"] = np.array(["low", "fair", "good", "high"])[np.digitize(weights, limits)]

    finding = _found(GIVEAWAY, X, weights.round(2))

    assert finding.outcome == "issue"
    assert f"'range' divides the target into {len(limits) + 1} ranges" in finding.message


def test_a_group_that_excludes_zeros_is_no_giveaway():
    """Who does not smoke, smokes nothing."""
    rng = np.random.default_rng(0)
    smokes = rng.integers(2, size=200)
    X = pd.DataFrame({"smokes": smokes == 1, "a": rng.normal(size=200)})

    assert _found(GIVEAWAY, X, smokes * rng.integers(21, size=200)).outcome == "passed"


@pytest.mark.parametrize("height", [1.0, 12.0], ids=["overlaps", "has a gap"])
def test_a_strong_effect_of_a_group_is_no_giveaway(height):
    """Ranges overlap, or are further apart than those of a divided target."""
    rng = np.random.default_rng(0)
    is_treated = rng.integers(2, size=200)
    y = height * is_treated + rng.uniform(0, 6, size=200)
    X = pd.DataFrame({"treated": is_treated == 1, "a": rng.normal(size=200)})

    assert _found(GIVEAWAY, X, y).outcome == "passed"


def test_an_identity_is_no_giveaway_in_folds_that_respect_it():
    """No test row has a value of the training rows; nor do copies of whole rows count."""
    rng = np.random.default_rng(0)
    patients = rng.permutation(60).repeat(5)
    y = rng.integers(2, size=60)[patients]
    X = pd.DataFrame({"who": patients, "a": rng.normal(size=300)})
    folds = {"cv": GroupKFold(3), "groups": patients}

    grouped = {f.name: f.outcome for f in find_leaks(X, y, **folds)}
    copied = _found(GIVEAWAY, X.iloc[::5].loc[X.index[::5].repeat(5)], y)

    assert grouped[GIVEAWAY] == "passed"
    assert copied.outcome == "passed"


def test_a_column_that_predicts_alone_is_found():
    """Among many columns, and with a rare class."""
    rng = np.random.default_rng(0)
    many = {f"c{i}": rng.normal(size=120) for i in range(150)}
    many["told"] = CLASSES + 0.1 * rng.normal(size=120)
    rare = np.zeros(2000, dtype=int)
    rare[::100] = 1
    two = {"a": rng.normal(size=2000), "told": rare * rng.uniform(10, 90, size=2000)}

    for columns, y in ((many, CLASSES), (two, rare)):
        finding = _found(GIVEAWAY, pd.DataFrame(columns), y)
        assert finding.outcome == "issue"
        assert "'told'" in finding.message


@pytest.mark.parametrize(
    "as_input",
    [
        csr_array,
        lambda X: pd.DataFrame(X, columns=["a"] * X.shape[1]),
    ],
    ids=["sparse", "equal names"],
)
def test_tables_of_any_kind_have_the_findings_of_an_array(as_input):
    """Sparse tables and tables with repeated names."""
    X, y = CLEAN["friedman"]
    X = np.where(X < 0.3, 0.0, X)

    assert _outcomes(as_input(X), y) == _outcomes(X, y)


def test_two_rows_of_two_classes_are_checked():
    """They cannot be stratified."""
    assert len(find_leaks(np.eye(2), [0, 1])) == 8


def test_all_columns_that_give_the_target_away_are_named():
    """Whoever drops one of them would find the next in the next run."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=120)})
    X["told"], X["again"] = (CLASSES + 0.1 * rng.normal(size=(2, 120))).tolist()
    X["same"], X["other"] = CLASSES, 1 - CLASSES

    for name, columns in ((GIVEAWAY, ("told", "again")), (TARGET, ("same", "other"))):
        finding = _found(name, X, CLASSES)
        for column in columns:
            assert repr(column) in finding.message
            assert repr(column) in finding.remedy


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_noise_is_not_reported():
    """Guessing the common class is right in 99.6 %, with any column."""
    rng = np.random.default_rng(1)
    rare = np.zeros(500, dtype=int)
    rare[:2] = 1

    for y in (Y, rare):
        X = pd.DataFrame({"a": rng.normal(size=len(y))})
        assert _found(GIVEAWAY, X, y).outcome == "passed"


N = 300


def _raw(seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(3, 2, size=(N, 3)), columns=["a", "b", "c"])
    return X.assign(
        area=np.exp(rng.normal(size=N)),
        gain=np.where(rng.random(N) < 0.9, 0.0, rng.random(N) * 5000),
        rooms=rng.integers(0, 3, size=N),
        town=rng.choice(["Bern", "Köln", "Ulm"], N),
        day=pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(900, size=N), "D"),
    )


def _numbers(seed=0):
    return _raw(seed).drop(columns=["town", "day"])


def _finding(X):
    y = np.random.default_rng(9).integers(2, size=N)
    return _found("scaled over all rows", X, y)


@pytest.mark.parametrize(
    "scale",
    [
        lambda X: (X - X.mean()) / X.std(ddof=0),
        lambda X: (X - X.mean()) / X.std(ddof=1),
        RobustScaler().fit_transform,
        QuantileTransformer(n_quantiles=N, output_distribution="normal").fit_transform,
    ],
    ids=["scikit-learn", "pandas", "quartiles", "normal ends"],
)
def test_columns_scaled_alike_are_recognised(scale):
    """By mean and deviation, by quartiles, or by the ends of scalers."""
    finding = _finding(scale(_numbers()[["a", "b", "c", "area"]]))

    assert finding.outcome == "issue"
    assert "100 % of the numeric columns have the same" in finding.message


@pytest.mark.parametrize("numeric", ["smooth_clip", "quantile", "standard"])
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_tables_prepared_over_all_rows_are_recognised(numeric, missing):
    """With dates, categories and columns with missing values."""
    X = _raw()
    X.loc[np.random.default_rng(1).random(N) < missing, ["a", "area"]] = np.nan

    prepared = TablePreparer(numeric=numeric).fit_transform(X)

    assert _finding(X).outcome == "passed"
    assert _finding(prepared).outcome == "issue"


@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler(),
        RobustScaler(),
        TablePreparer(numeric="smooth_clip"),
        TablePreparer(numeric="standard"),
    ],
)
def test_rows_scaled_by_training_rows_pass(scaler):
    """Their means and quartiles are only approximate."""
    scaled = scaler.fit(_numbers(seed=1)).transform(_numbers())

    assert _finding(scaled).outcome == "passed"


def test_counts_with_the_quartiles_of_a_scaler_pass():
    """Half of the values 0 and a quarter 1 make a median of 0 and quartiles 0 and 1."""
    counts = np.random.default_rng(0).permutation(np.repeat([0, 0, 1, 2], N // 4))
    X = np.column_stack([counts, np.roll(counts, 1), np.roll(counts, 5)])

    assert _finding(X).outcome == "passed"


def test_pairs_of_sine_and_cosine_do_not_count():
    """Their mean is 0 if hours are uniform."""
    angle = 2 * np.pi * np.arange(N) / 24

    finding = _finding(np.column_stack([np.sin(angle), np.cos(angle)]))

    assert finding.outcome == "not applicable"


def _drawn(kind, n=1000, seed=0):
    rng = np.random.default_rng(seed)
    drawn = {
        "normal": rng.normal,
        "uniform": rng.uniform,
        "exponential": rng.exponential,
        "lognormal": rng.lognormal,
        "counts": lambda size: rng.poisson(20, size=size),
    }
    return np.asarray(drawn[kind](size=n), dtype=float)


def _outliers(X, y=None):
    y = np.arange(len(X)) % 2 if y is None else y
    return _found("outliers", X, y)


def test_a_column_of_lists_is_checked():
    """Cells are compared by their repr."""
    y = np.arange(60) % 3
    X = pd.DataFrame({"tags": [[k] for k in y], "x": np.arange(60.0)})

    found = {finding.name: finding for finding in find_leaks(X, y)}

    assert "'tags'" in found["target among the features"].message
    assert found["duplicates across folds"].outcome == "passed"


KINDS = ["normal", "uniform", "exponential", "lognormal", "counts"]


def _rows(values):
    return np.flatnonzero(outliers_of(pd.Series(values)).rows).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_misplaced_decimal_point_is_found(kind):
    """A hundred times its value; skewed columns alone have no outliers."""
    assert all(_rows(_drawn(kind, seed=seed)) == [] for seed in range(5))
    if kind != "lognormal":
        values = _drawn(kind)
        values[17] = 100 * np.abs(values).max()
        assert _rows(values) == [17]


def test_codes_for_missing_values_are_found():
    """9999 in 3 % of the rows; missing values neither are nor hide outliers."""
    coded, missing = _drawn("normal"), _drawn("normal")
    coded[:30] = 9999
    missing[:50], missing[60] = np.nan, 1e4

    assert _rows(coded) == list(range(30))
    assert _rows(missing) == [60]


def test_tails_that_widen_the_deviation_are_outliers():
    """Student's t with 1.3 degrees of freedom has no variance."""
    values = np.random.default_rng(0).standard_t(1.3, size=2000)
    deviation = 1.4826 * np.median(np.abs(values - np.median(values)))

    own = outliers_of(pd.Series(values))

    far = np.abs(values - np.median(values)) > 10 * deviation
    assert own.widened > 5
    assert 10 < far.sum() < 100
    np.testing.assert_array_equal(own.rows, far)


@given(
    shift=st.floats(-1e3, 1e3), scale=st.floats(1e-3, 1e3), sign=st.sampled_from([-1, 1])
)
def test_units_do_not_matter(shift, scale, sign):
    """Shift, scale and sign do not change the outliers."""
    values = _drawn("normal", 100)
    values[:2] = [60.0, -50.0]

    assert _rows(sign * scale * values + shift) == [0, 1]


@pytest.mark.parametrize(
    "values",
    [
        np.arange(10.0),
        np.arange(200) % 5,
        np.append(np.zeros(100), np.arange(100)),
        np.full(100, np.nan),
    ],
    ids=["few rows", "few values", "a lump", "nothing"],
)
def test_columns_without_a_scale_are_not_checked(values):
    """A mostly white pixel has no usual spread."""
    assert outliers_of(pd.Series(values)) is None
    assert _outliers(values[:, None].astype(float)).outcome == "not applicable"


def test_the_kind_of_targets_can_be_passed():
    """Five different amounts are numbers, and are checked for outliers."""
    X, y = np.random.default_rng(0).normal(size=(200, 2)), np.arange(200) % 5

    told = [find_leaks(X, y, is_classification=kind) for kind in (None, True, False)]

    assert told[0] == told[1] != told[2]


def test_many_integer_classes_are_not_copies():
    """Samples of a class are similar and share a target."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(60), 12)
    X = rng.normal(size=(60, 6))[y] * 3 + rng.normal(size=(len(y), 6))

    found = {f.name: f.outcome for f in find_leaks(X, y)}

    assert found["near duplicates across folds"] == "passed"
    assert len(np.unique(group_copies(X, y))) > 600


def test_targets_of_a_regression_are_checked():
    """Outliers in targets are more severe and have another remedy."""
    X, y = load_diabetes(return_X_y=True)
    wrong = y.copy()
    wrong[5] = 1e5

    clean, found = (_outliers(X, own) for own in (y, wrong))

    assert clean.outcome == "passed"
    assert (found.code, found.outcome, found.severity) == ("SKT208", "tip", "medium")
    assert "the target" in found.message
    assert "TransformedTargetRegressor" in found.remedy
    assert "RobustScaler" not in found.remedy
    assert found.evidence["share"] == pytest.approx(1 / len(y))


def test_only_the_worst_columns_are_named():
    """The three with the furthest values, and the number of the rest."""
    X = np.random.default_rng(0).normal(size=(200, 5))
    X[0] = [1e2, 1e3, 1e4, 1e5, 1e6]

    finding = _outliers(X)

    assert "'column 4', 'column 3', 'column 2' and 2 more" in finding.message
    assert "RobustScaler" in finding.remedy
    assert finding.severity == "low"


def test_sequences_of_unequal_length_are_refused(rng):
    """The guard compares columns."""
    sequences = [rng.normal(size=(n, 2)) for n in (3, 4, 5, 6)]

    with pytest.raises(ValueError, match=r"must have equal lengths. Got unequal lengths"):
        find_leaks(sequences, [0, 1, 0, 1])
