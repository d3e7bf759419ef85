# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""All checks together, findings with their codes, and verdicts."""

import copy
import dataclasses
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, make_friedman1
from sklearn.model_selection import GroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import GridSearchCV, HyperbandSearchCV, MLPClassifier, MLPRegressor, diagnose
from sk_tune._diagnosis import Curves, Finding, apply_remedies, to_act_on, verdict
from sk_tune._diagnosis._findings import RULES, good_fit

KNOWN = [
    ("healthy", "good fit"),
    ("overfitting", "overfitting"),
    ("underfitting", "underfitting"),
    ("improving", "still improving"),
    ("creeping", "learning rate too low"),
    ("jumping", "learning rate too high"),
    ("one_fold_apart", "folds disagree"),
    ("few_rows", "too few rows"),
    ("no_signal", "no better than the baseline"),
]
MORE = {"creeping": {"underfitting"}, "no_signal": {"overfitting"}}
SHAPES = st.sampled_from([shape for shape, _ in KNOWN])


def outcomes(findings):
    return [(f.code, f.outcome, f.severity) for f in findings]


@pytest.mark.parametrize(("shape", "name"), KNOWN)
def test_curves_get_their_known_verdict(shapes, shape, name):
    """Each shape has its verdict and no other issues."""
    findings = diagnose(getattr(shapes, shape)())

    assert verdict(findings).name == name
    issues = {f.name for f in findings if f.outcome == "issue"}
    assert issues - {name} == MORE.get(shape, set())


@given(shape=SHAPES, seed=st.integers(0, 99))
def test_the_order_of_the_folds_does_not_matter(shapes, shape, seed):
    """Folds are exchangeable."""
    curves = getattr(shapes, shape)()
    order = np.random.default_rng(seed).permutation(curves.n_folds)
    names = ("train_loss", "valid_loss", "valid_score")
    permuted = replace(curves, **{name: getattr(curves, name)[order] for name in names})

    assert outcomes(diagnose(permuted)) == outcomes(diagnose(curves))


@given(shape=SHAPES, scale=st.floats(1e-3, 1e3))
def test_the_scale_of_the_losses_does_not_matter(shapes, shape, scale):
    """Verdicts depend on ratios of losses only."""
    curves = getattr(shapes, shape)()
    scaled = replace(
        curves,
        train_loss=scale * curves.train_loss,
        valid_loss=scale * curves.valid_loss,
        baseline_loss=scale,
    )

    assert outcomes(diagnose(scaled)) == outcomes(diagnose(curves))


@given(noise=st.floats(0, 0.3), seed=st.integers(0, 999))
@settings(max_examples=50)
def test_noise_causes_no_severe_issues(shapes, noise, seed):
    """A healthy training with noise has no severe issues."""
    curves = shapes.healthy()
    rng = np.random.default_rng(seed)
    shape = curves.valid_loss.shape
    noisy = curves.valid_loss * np.exp(noise * rng.normal(size=shape))

    findings = diagnose(replace(curves, valid_loss=noisy))

    assert [f.name for f in findings if f.severity == "high"] == []


@pytest.mark.parametrize("shape", [shape for shape, _ in KNOWN])
def test_every_check_has_one_finding_with_evidence(shapes, shape):
    """Messages are one sentence, numbers are finite, passed checks are included."""
    findings = diagnose(getattr(shapes, shape)())

    assert len(findings) == len({f.name for f in findings}) == 11
    for finding in findings:
        assert finding.message.endswith(".")
        if finding.outcome in {"issue", "tip"}:
            assert finding.severity is not None
            assert np.isfinite(list(finding.evidence.values())).all()
            assert {type(value) for value in finding.evidence.values()} == {float}
        else:
            assert finding.changes == ()


def test_most_checks_need_held_out_rows(shapes):
    """Without them they are not applicable, with the reason."""
    curves = shapes.overfitting()
    blank = np.full_like(curves.valid_loss, np.nan)

    findings = diagnose(replace(curves, valid_loss=blank, valid_score=blank))

    assert {f.outcome for f in findings} <= {"passed", "not applicable"}
    assert verdict(findings).outcome == "not applicable"
    assert str(findings).startswith("Without a held-out loss, overfitting can")
    overfitting = next(f for f in findings if f.name == "overfitting")
    assert "No held-out loss" in overfitting.message


def test_no_curve_at_all_is_a_failed_training():
    """Without a finite loss in any fold, training diverged."""
    blank = np.full((3, 2), np.nan)

    findings = diagnose(Curves(train_loss=blank, valid_loss=blank, valid_score=blank))

    assert verdict(findings).name == "diverged"


def test_early_stopping_takes_care_of_a_rise():
    """If the best weights are used, a later rise is not an issue."""
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    params = {"width": 128, "max_epochs": 60, "learning_rate": 0.02, "random_state": 0}
    network = MLPClassifier(**params, early_stopping=True, n_iter_no_change=40).fit(X, y)

    findings = diagnose(network)

    assert [f for f in findings if f.name == "overfitting" and f.outcome == "issue"] == []


@pytest.fixture(scope="module")
def noisy_rows():
    X, y = load_breast_cancer(return_X_y=True)
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(y))[:250]
    y = np.where(rng.random(len(y)) < 0.25, 1 - y, y)
    return X[rows], y[rows]


def test_a_search_is_diagnosed_and_repaired(noisy_rows):
    """A large network memorises flipped labels; the remedy lowers the loss."""
    network = MLPClassifier(
        width=256, learning_rate=0.01, weight_decay=0.0, max_epochs=40, random_state=0
    )
    pipe = make_pipeline(StandardScaler(), network)
    search = GridSearchCV(pipe, {"mlpclassifier__n_layers": [2]}, cv=4).fit(*noisy_rows)

    findings = diagnose(search)
    applied = apply_remedies(findings, search)
    mended = applied.target.fit(*noisy_rows)

    assert verdict(findings).name == "overfitting"
    assert verdict(findings).result_row == 0
    assert applied.changes
    before, after = (
        own.learning_curves_.query("result_row == 0").groupby("fold")["valid_loss"].last()
        for own in (search, mended)
    )
    assert after.mean() < 0.7 * before.mean()


def test_a_better_larger_network_reveals_underfitting():
    """A candidate is compared with larger candidates."""
    X, y = make_friedman1(600, random_state=0)
    regressor = MLPRegressor(
        learning_rate=0.02, max_epochs=60, lr_schedule="constant", random_state=0
    )
    search = GridSearchCV(regressor, {"width": [1, 64]}, cv=3).fit(X, y)

    small = {f.name: f for f in diagnose(search, result_row=0)}

    assert small["underfitting"].outcome == "issue"
    assert small["underfitting"].evidence["ahead"] > 0
    (wider, *_) = small["underfitting"].changes
    assert (wider.parameter, wider.action) == ("width", "at least")


@pytest.mark.parametrize("space", [{}, [{}]], ids=["dict", "list"])
def test_one_network_is_diagnosed_by_a_search_of_one_candidate(space, noisy_rows):
    """A finding states that no parameter varies."""
    X = StandardScaler().fit_transform(noisy_rows[0])
    network = MLPClassifier(width=8, max_epochs=5, random_state=0)
    findings = diagnose(GridSearchCV(network, space, cv=3).fit(X, noisy_rows[1]))

    (edge,) = [f for f in findings if f.name == "optimum at the edge"]
    assert (edge.outcome, edge.message) == (
        "not applicable",
        "The search does not vary any parameter.",
    )


def test_findings_of_a_search_as_a_whole_name_no_candidate(noisy_rows):
    """They come after the findings on a candidate."""
    network = MLPClassifier(width=8, random_state=0)
    rates = {"learning_rate": loguniform(1e-4, 1e-1)}
    X = StandardScaler().fit_transform(noisy_rows[0])
    search = HyperbandSearchCV(network, rates, max_resources=9, cv=3, random_state=0)

    findings = diagnose(search.fit(X, noisy_rows[1]))

    own = [f.name for f in findings if f.result_row is None]
    assert own == [
        "optimum at the edge",
        "noise ceiling",
        "optimistic best score",
        "search cut short",
        "failed candidates",
    ]
    assert {f.result_row for f in findings} == {None, search.best_index_}


@pytest.fixture
def findings(shapes):
    """Findings of a network that overfits."""
    return diagnose(shapes.overfitting())


def test_findings_print_as_a_report(findings):
    """Issues come first with remedies; passed checks share a line."""
    lines = str(findings).splitlines()

    found = verdict(findings)
    text = f"{found.name} (issue, {found.severity}): {found.message} {found.remedy}"
    assert lines[0] == text == str(found)
    (passed,) = [line for line in lines if line.startswith("Passed: ")]
    assert all(f.name in passed for f in findings if f.outcome == "passed")
    assert lines[-1].startswith(("Passed", "Not applicable"))
    assert len(lines) < len(findings)
    assert repr(findings) == str(findings)
    html = findings._repr_html_()
    assert f"<td>{found.name}</td><td>issue, " in html
    assert "<td>passed</td>" in html
    assert f"<td>{found.message} {found.remedy}</td>" in html
    assert f"<td>{found.message} {found.remedy}</td>" in found._repr_html_()


def test_findings_are_a_tuple(findings):
    """They can be iterated, pickled and copied; each is frozen."""
    assert isinstance(findings, tuple)
    assert all(isinstance(finding, Finding) for finding in findings)
    assert pickle.loads(pickle.dumps(findings)) == copy.deepcopy(findings) == findings
    with pytest.raises(dataclasses.FrozenInstanceError):
        findings[0].outcome = "issue"


# Written out, because a published code is never given to another check.
PUBLISHED = {
    "SKT101": "overfitting",
    "SKT102": "underfitting",
    "SKT103": "good fit",
    "SKT104": "still improving",
    "SKT105": "converged long ago",
    "SKT106": "diverged",
    "SKT107": "learning rate too high",
    "SKT108": "learning rate too low",
    "SKT109": "optimum at the edge",
    "SKT110": "folds disagree",
    "SKT111": "noise ceiling",
    "SKT112": "too few rows",
    "SKT113": "more data",
    "SKT114": "no better than the baseline",
    "SKT115": "optimistic best score",
    "SKT116": "fold that does harm",
    "SKT117": "failed candidates",
    "SKT118": "features not scaled",
    "SKT119": "search cut short",
    "SKT201": "duplicates across folds",
    "SKT202": "near duplicates across folds",
    "SKT203": "groups across folds",
    "SKT204": "future in the training rows",
    "SKT205": "target among the features",
    "SKT206": "feature that gives the target away",
    "SKT207": "scaled over all rows",
    "SKT208": "outliers",
    "SKT301": "class imbalance",
}


def test_each_finding_links_to_its_line_of_the_documentation():
    """The page has an anchor for each code; the retired SKT116 has none."""
    text = (Path(__file__).parents[2] / "docs/how-to/diagnosis.md").read_text()
    findings = [rule.passed("Fine.") for rule in RULES.values() if rule.code != "SKT116"]

    places = [f.page.rpartition("#")[2] for f in findings if not f.is_of_leaks]

    assert len(places) > 15
    assert all(f'<a id="{place}"></a>{place.upper()} |' in text for place in places)


def test_codes_of_checks_are_stable():
    """Each check keeps its published code."""
    codes = {check.code: check.name for check in RULES.values()}

    assert codes == PUBLISHED


def named(name, outcome, severity=None):
    return Finding(code="", name=name, outcome=outcome, severity=severity, message="")


HELD_OUT = named("overfitting", "passed")


@pytest.mark.parametrize(
    ("findings", "outcome", "words", "matters"),
    [
        # A cause explains its consequences, and a fault replaces a good fit.
        (
            [named("overfitting", "issue"), named("learning rate too high", "issue")],
            "not applicable",
            "Issues were found: overfitting, learning rate too high",
            "learning rate too high",
        ),
        # A tip that does not concern the fit does not prevent a good fit.
        (
            [HELD_OUT, named("converged long ago", "tip")],
            "passed",
            "No check found a fault",
            "good fit",
        ),
        # A possible underfit is not called good at the same time.
        *(
            ([HELD_OUT, named(name, "tip", "medium")], "not applicable", name, name)
            for name in ("underfitting", "no better than the baseline")
        ),
        # Minor tips are mentioned with the good fit.
        (
            [HELD_OUT, named("still improving", "tip", "low")],
            "passed",
            "only slight signs of: still improving.",
            "good fit",
        ),
        # Without a held-out loss a fit cannot be called good.
        (
            [named("overfitting", "not applicable")],
            "not applicable",
            "overfitting cannot be checked. Diagnose a search",
            "good fit",
        ),
    ],
)
def test_the_most_important_finding_is_the_verdict(findings, outcome, words, matters):
    """A fit is called good only if no issue and no grave doubt speaks against it."""
    good = good_fit(findings)

    assert good.outcome == outcome
    assert words in good.message
    assert verdict([good, *findings]).name == matters


@pytest.mark.parametrize(("severity", "place"), [("high", 1), ("medium", 2), ("low", 2)])
def test_checks_of_users_are_ranked_by_severity(severity, place, shapes):
    """They come before findings of less severity, and their issues prevent a good fit."""
    own = Finding(
        code="ACME1", name="own", outcome="issue", severity=severity, message="Slow."
    )
    others = [
        Finding(code=f"SKT{k}", name=n, outcome="issue", severity=s, message="")
        for k, n, s in ((106, "diverged", "high"), (101, "overfitting", "medium"))
    ]

    assert to_act_on([own, *others]).index(own) == place
    findings = diagnose(shapes.healthy(), extra_checks=[lambda _: own])
    assert verdict(findings).name == "own"
    assert own.page == ""


def test_a_check_must_return_a_finding(shapes):
    """A number would fail much later."""
    with pytest.raises(TypeError, match=r"must return a Finding. Got 1 instead"):
        diagnose(shapes.healthy(), extra_checks=[lambda _: 1])


def test_a_verdict_needs_findings():
    """An empty list is a mistake of the caller."""
    with pytest.raises(ValueError, match="at least one finding"):
        verdict([])


def test_issues_come_before_tips_and_the_severe_ones_first():
    """Among the findings to act on."""
    kinds = [("tip", "high"), ("passed", None), ("issue", "low"), ("issue", "high")]
    findings = [
        Finding(code="SKT100", name="x", outcome=kind, severity=level, message="")
        for kind, level in kinds
    ]

    found = [(f.outcome, f.severity) for f in to_act_on(findings)]

    assert found == [kinds[3], kinds[2], kinds[0]]


def test_leaks_are_part_of_the_diagnosis_when_data_are_given():
    """Random labels with copied rows look like a good fit in the curves."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 5)).repeat(3, axis=0)
    y = rng.integers(0, 2, size=150).repeat(3)
    network = MLPClassifier(width=64, max_epochs=60, learning_rate=0.01, random_state=0)
    cv = StratifiedKFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(network, {}, cv=cv).fit(X, y)

    blind, found = verdict(diagnose(search)), verdict(diagnose(search, X, y))

    assert search.best_score_ > 0.8
    assert blind.name == "good fit"
    assert (found.name.endswith("duplicates across folds"), found.outcome) == (
        True,
        "issue",
    )
    # On folds that keep copies together nothing leaks.
    grouped = GridSearchCV(network, {}, cv=GroupKFold(3))
    groups = np.arange(150).repeat(3)
    findings = diagnose(grouped.fit(X, y, groups=groups), X, y, groups=groups)
    assert [f.name for f in findings if f.is_of_leaks and f.outcome == "issue"] == []


def test_of_one_network_only_columns_are_checked():
    """It has no folds that could share rows."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, size=100)
    X = np.column_stack([rng.normal(size=100), y])

    findings = diagnose(MLPClassifier(max_epochs=2).fit(X, y), X, y)

    own = {f.name: f.outcome for f in findings if f.is_of_leaks}
    assert set(own) == {
        "target among the features",
        "feature that gives the target away",
        "outliers",
    }
    assert verdict(findings).name == "target among the features"


@pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.FitFailedWarning", "ignore:.*non-finite"
)
def test_a_chosen_candidate_that_failed_is_the_verdict():
    """With reason and remedy, if some or all folds failed."""
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    network = MLPClassifier(optimizer="sgd", max_epochs=5, random_state=0)
    rates = {"learning_rate": [0.01, 1e12]}
    search = GridSearchCV(network, rates, cv=3).fit(X, y)

    findings = diagnose(search, result_row=1)
    found = verdict(findings)

    assert (found.name, found.outcome) == ("failed candidates", "issue")
    assert "Lower learning_rate" in found.message
    assert found.changes[0].value == pytest.approx(0.03)
    assert verdict(diagnose(search)).name != "failed candidates"
    tip = next(f for f in diagnose(search) if f.name == "failed candidates")
    assert (tip.outcome, tip.severity) == ("tip", "low")
    # The best score is NaN, because each candidate failed on a fold.
    search.cv_results_["split0_test_score"][:] = np.nan
    search.cv_results_["failure_reason"][:] = search.cv_results_["failure_reason"][1]
    assert verdict(diagnose(search)).name == "failed candidates"


@pytest.mark.filterwarnings("ignore:.*non-finite")
def test_where_all_candidates_fail_the_error_names_reason_and_remedy():
    """The search keeps its results for diagnosis and repair."""
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    network = MLPClassifier(optimizer="sgd", learning_rate=1e12, random_state=0)
    search = GridSearchCV(network, {}, cv=3)

    with pytest.raises(ValueError, match="became (nan|inf).*Lower learning_rate"):
        search.fit(X, y)

    findings = diagnose(search)
    assert verdict(findings).name == "failed candidates"
    assert apply_remedies(findings, search).target.fit(X, y).best_score_ > 0.9


def test_the_verdict_names_the_other_issues():
    """The first issue therefore does not hide the rest."""
    issues = [named("overfitting", "issue", "high"), named("diverged", "issue", "high")]

    found = verdict(issues)

    assert (found.name, found.other_issues) == ("diverged", ("overfitting",))
    assert str(found).endswith("Other issues: overfitting.")


def test_severe_leaks_come_before_all_other_issues():
    """Curves on leaking folds are not reliable."""
    leak = replace(named("groups across folds", "issue", "high"), code="SKT203")
    some = replace(leak, severity="medium")
    diverged, overfits = (named(n, "issue", "high") for n in ("diverged", "overfitting"))

    assert verdict([diverged, leak]).name == leak.name
    # A few copies matter less than a fault of the training.
    assert verdict([some, overfits]).other_issues == (some.name,)
    assert verdict([some]).name == some.name


def test_findings_at_too_high_a_rate_do_not_ask_for_more_epochs(shapes):
    """The trend of the curves would differ at a lower rate."""
    curves = shapes.jumping(n_epochs=6, params={"learning_rate": 1.0})
    curves.valid_loss[:] = np.linspace(20, 1, 6)

    findings = {f.name: f for f in diagnose(curves)}

    assert findings["learning rate too high"].outcome == "issue"
    assert findings["still improving"].outcome == "not applicable"


def test_an_overfitting_network_is_not_said_to_have_converged(shapes):
    """Two remedies would name two numbers of epochs."""
    findings = {f.name: f for f in diagnose(shapes.overfitting(n_epochs=60))}

    assert findings["overfitting"].outcome == "issue"
    assert findings["converged long ago"].outcome == "not applicable"


def test_groups_of_the_search_need_not_be_passed_again():
    """The search has recorded them."""
    X, y = load_breast_cancer(return_X_y=True)
    groups = np.arange(len(y)) // 4
    network = MLPClassifier(width=4, max_epochs=1)
    search = GridSearchCV(network, {}, cv=GroupKFold(3)).fit(X, y, groups=groups)

    findings = {f.name: f for f in diagnose(search, X, y)}

    assert findings["groups across folds"].outcome == "passed"


def test_a_pipeline_may_have_one_step():
    """Then the network gets the columns of X."""
    X, y = load_breast_cancer(return_X_y=True)
    network = MLPClassifier(width=4, max_epochs=1, random_state=0)

    alone, piped = (
        [str(finding) for finding in diagnose(model.fit(X, y), X, y)]
        for model in (network, make_pipeline(clone(network)))
    )

    assert piped == alone


@pytest.mark.filterwarnings("ignore:[\\s\\S]*fits failed")
def test_rows_that_failed_or_do_not_exist_are_named():
    """With a number as error_score, a failed candidate has a score, and no curve."""
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    network = MLPClassifier(width=4, max_epochs=2, random_state=0)
    rates = {"learning_rate": [1e-3, 1e30]}
    search = GridSearchCV(network, rates, cv=2, error_score=0.0).fit(X, y)

    findings = {f.name: f for f in diagnose(search, result_row=1)}

    assert findings["failed candidates"].outcome == "issue"
    assert "candidate 1, fold 0" in findings["failed candidates"].message
    with pytest.raises(ValueError, match="has 2. Got 99 instead"):
        diagnose(search, result_row=99)
