"""A collapsed ensemble predicts like the ensemble, in one call and from one file."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import ensemble
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)

from sk_tune import (
    BaggingClassifier,
    BaggingRegressor,
    BoostingClassifier,
    GridSearchCV,
    MLPClassifier,
    MLPRegressor,
    TablePreparer,
    TrialEnsembleClassifier,
)
from sk_tune._ensemble import CollapsedClassifier, CollapsedRegressor, collapse
from sk_tune._estimators import read_file

ATOL = 1e-6  # of float32, summed in another order


class Weighted:
    """Any ensemble with estimators_ and weights_."""

    def __init__(self, estimators, weights, **learnt):
        self.estimators_, self.weights_ = estimators, np.asarray(weights)
        vars(self).update(learnt)

    def fit(self, X, y):
        """Be an estimator for check_is_fitted."""

    def __sklearn_is_fitted__(self):
        return True

    def __sklearn_tags__(self):
        return self.estimators_[0].__sklearn_tags__()

    def predict_proba(self, X):
        found = 0
        for member, weight in zip(self.estimators_, self.weights_, strict=True):
            aligned = np.zeros((len(X), len(self.classes_)))
            columns = np.searchsorted(self.classes_, member.classes_)
            aligned[:, columns] = member.predict_proba(X)
            found = found + weight * aligned
        return found / self.weights_.sum()


@pytest.fixture
def names(iris):
    """Return flowers with the names of their species."""
    return iris.X, np.array(["setosa", "versicolor", "virginica"])[iris.y]


@pytest.fixture
def stage():
    """Return a small network to boost."""
    return MLPRegressor(n_layers=1, width=8, max_epochs=3, learning_rate=0.01)


@pytest.fixture
def mixed(names, make_estimator):
    """Return members of three kinds: two architectures, one twice, and a linear model."""
    X, y = names
    make = make_estimator
    some = y != "setosa"
    members = [
        make("MLPClassifier", random_state=0).fit(X, y),
        make("MLPClassifier", hidden_layer_sizes=(5, 5)).fit(X, y),
        make("MLPClassifier", random_state=1, dropout=0.2).fit(X, y),
        LogisticRegression().fit(X[some], y[some]),
        make_pipeline(StandardScaler(), make("MLPClassifier", optimizer="sgd")).fit(X, y),
    ]
    return Weighted(members, [1, 2, 3, 4, 5], classes_=np.unique(y), n_features_in_=4)


@pytest.mark.parametrize("options", [{}, {"max_features": 0.5}], ids=["all", "some"])
@pytest.mark.parametrize("task", ["Classifier", "Regressor"])
def test_bags_collapse(task, options, make_estimator, names, diabetes, outputs, tmp_path):
    """To one call with the labels of the ensemble, and one file that is as exact."""
    X, y = data = names if task == "Classifier" else diabetes
    cls = BaggingClassifier if task == "Classifier" else BaggingRegressor
    bag = cls(make_estimator(f"MLP{task}"), 5, random_state=0, **options).fit(*data)
    small, path = collapse(bag), tmp_path / "ensemble.safetensors"

    small.save(path)
    loaded = type(small).load(path)

    # Predictions of diabetes are of the order of 100.
    assert_allclose(outputs(small, X), outputs(bag, X), rtol=1e-6, atol=ATOL)
    assert_array_equal(small.predict(X) == y, bag.predict(X) == y)
    assert small.n_stacks_ == 1
    assert small.score(*data) == pytest.approx(bag.score(*data))
    if task == "Classifier":
        # Those of networks in float32 do so in float32 only.
        assert_allclose(small.predict_proba(X).sum(axis=1), 1, rtol=1e-14)
    assert_array_equal(outputs(loaded, X), outputs(small, X))
    assert_array_equal(loaded.predict(X), small.predict(X))
    assert loaded.n_features_in_ == X.shape[1]
    assert [p.name for p in tmp_path.iterdir()] == ["ensemble.safetensors"]
    with pytest.raises(FileExistsError):
        small.save(path)


def test_collapsed_ensembles_predict_inside_estimators_but_refuse_fit(iris, make_estimator):
    """scikit-learn's tools take them frozen; cross-validation says how to fit again."""
    bag = BaggingClassifier(make_estimator("MLPClassifier"), 2, random_state=0).fit(*iris)
    small = collapse(bag)

    frozen = make_pipeline(FrozenEstimator(small)).fit(*iris)

    assert_array_equal(frozen.predict(iris.X), small.predict(iris.X))
    assert_array_equal(clone(small).predict(iris.X), small.predict(iris.X))
    with pytest.raises(TypeError, match="made by collapse .* Fit the ensemble and"):
        cross_val_score(small, *iris, error_score="raise")


@pytest.mark.parametrize("kind", ["CNN", "RNN", "Net"])
def test_other_networks_collapse_too(kind, make_estimator, task_data, outputs):
    """Convolutions, recurrences and users' modules are stacked like perceptrons."""
    X, y = task_data(f"{kind}Classifier")
    bag = BaggingClassifier(make_estimator(f"{kind}Classifier"), 3, random_state=0)
    bag.fit(X, y)

    small = collapse(bag)

    mean = np.mean([outputs(member, X) for member in bag.estimators_], axis=0)
    assert_allclose(small.predict_proba(X), mean, atol=ATOL)
    assert small.n_stacks_ == 1


def test_padded_sequences_collapse(make_estimator, task_data, outputs):
    """Padded and full sequences are distinguished."""
    X, y = task_data("RNNClassifier")
    X = X.copy()
    X[::3, 6:] = np.nan
    net = make_estimator("RNNClassifier")
    members = [clone(net).set_params(random_state=seed).fit(X, y) for seed in (0, 1)]
    small = collapse(Weighted(members, [1, 1], classes_=np.unique(y)))

    for rows in (X, X[1::3]):
        mean = np.mean([outputs(member, rows) for member in members], axis=0)
        assert_allclose(small.predict_proba(rows), mean, atol=ATOL)
    assert small.n_stacks_ == 1


def test_members_of_several_kinds_run_in_groups(mixed, names):
    """Equal architectures are stacked, also behind a scaler; the rest runs alone."""
    small = collapse(mixed)

    assert_allclose(small.predict_proba(names[0]), mixed.predict_proba(names[0]), atol=ATOL)
    assert small.n_stacks_ == 1


def test_a_temperature_is_kept(mixed, names):
    """Calibrated probabilities stay calibrated: p ** (1 / T), normalised."""
    plain = collapse(mixed).predict_proba(names[0])
    mixed.temperature_ = 2.0

    warm = collapse(mixed).predict_proba(names[0])

    expected = np.sqrt(plain) / np.sqrt(plain).sum(axis=1, keepdims=True)
    assert_allclose(warm, expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_boosting_classifiers_collapse(n_classes, names, stage):
    """The sum of the stages, from its start to probabilities."""
    keep = np.isin(names[1], np.unique(names[1])[:n_classes])
    X, y = names[0][keep], names[1][keep]
    boosting = BoostingClassifier(stage, 4, random_state=0).fit(X, y)
    small = collapse(boosting)

    assert_allclose(small.predict_proba(X), boosting.predict_proba(X))
    assert_array_equal(small.predict(X), boosting.predict(X))
    first = list(boosting.staged_predict_proba(X))[1]
    assert_allclose(small.prune(max_members=2).predict_proba(X), first, rtol=1e-5)


def test_soft_voting_of_scikit_learn_collapses(names, make_estimator):
    """Weights are the voting's; members that were dropped have none."""
    nets = [(f"net{i}", make_estimator("MLPClassifier", random_state=i)) for i in range(3)]
    voting = ensemble.VotingClassifier(nets, voting="soft", weights=[1, 2, 3])
    voting.set_params(net1="drop").fit(*names)

    small = collapse(voting)

    assert_allclose(small.weights_, [0.25, 0.75])
    assert_allclose(
        small.predict_proba(names[0]), voting.predict_proba(names[0]), atol=ATOL
    )
    assert_array_equal(small.predict(names[0]), voting.predict(names[0]))


@pytest.mark.parametrize(
    "wrong",
    [
        ensemble.AdaBoostClassifier(LogisticRegression(), n_estimators=2),
        ensemble.VotingClassifier([("a", LogisticRegression(max_iter=1000))]),
        ensemble.RandomForestClassifier(2),
    ],
    ids=["adaboost", "hard voting", "forest"],
)
def test_what_is_no_mean_is_refused(wrong, iris):
    """An ensemble that predicts otherwise would be changed by collapsing it."""
    with pytest.raises(TypeError, match="to be collapsed"):
        collapse(wrong.fit(*iris))


def test_pruning_keeps_the_heaviest_members(mixed, names, outputs):
    """The remaining weights sum to 1."""
    small = collapse(mixed).prune(max_members=2)

    assert small.estimators_ == [mixed.estimators_[3], mixed.estimators_[4]]
    assert_allclose(small.weights_, [4 / 9, 5 / 9])
    assert len(collapse(mixed).prune(max_members=99)) == 5
    with pytest.raises(ValueError, match="at least 1. Got 0"):
        small.prune(max_members=0)
    assert_allclose(small.predict_proba(names[0]).sum(axis=1), 1)


@pytest.mark.parametrize("from_file", [False, True])
@pytest.mark.parametrize("kind", ["bagging", "boosting"])
def test_columns_match_the_ensemble(kind, from_file, names, stage, tmp_path):
    """A frame gives the same predictions; another column order is refused."""
    X = pd.DataFrame(names[0], columns=list("abcd"))
    members = {"max_features": 0.5, "n_estimators": 3, "random_state": 0}
    model = (
        BaggingClassifier(MLPClassifier(width=8, max_epochs=2), **members)
        if kind == "bagging"
        else BoostingClassifier(stage, 3, random_state=0)
    ).fit(X, names[1])

    small = collapse(model)
    if from_file:
        small.save(tmp_path / "ensemble")
        small = CollapsedClassifier.load(tmp_path / "ensemble")

    with warnings.catch_warnings(action="error"):
        for rows in (X, X.to_numpy(), X.to_numpy().tolist()):
            assert_allclose(small.predict_proba(rows), model.predict_proba(X), atol=ATOL)
    with pytest.raises(ValueError, match=r"in the same order: \['a', 'b', 'c', 'd'\]"):
        small.predict(X[list("bacd")])
    with pytest.raises(ValueError, match="must have 4 features"):
        small.predict(X.to_numpy()[:, :3])


def test_users_modules_are_passed_to_load(make_estimator, task_data, tmp_path):
    """Their code is not in the file, and load says so."""
    X, y = task_data("NetClassifier")
    net = make_estimator("NetClassifier")
    small = collapse(BaggingClassifier(net, 2, random_state=0).fit(X, y))
    small.save(tmp_path / "nets")

    loaded = CollapsedClassifier.load(tmp_path / "nets", module=net.module)

    assert_array_equal(loaded.predict_proba(X), small.predict_proba(X))
    with pytest.raises(ValueError, match="is code"):
        CollapsedClassifier.load(tmp_path / "nets")


def test_files_of_other_classes_are_refused(diabetes, make_estimator, tmp_path):
    """A file names its class; a single network is not an ensemble."""
    net = make_estimator("MLPRegressor").fit(*diabetes)
    net.save(tmp_path / "net")
    collapse(Weighted([net], [1])).save(tmp_path / "ensemble")

    with pytest.raises(ValueError, match="must hold a CollapsedClassifier"):
        CollapsedClassifier.load(tmp_path / "ensemble")
    with pytest.raises(ValueError, match="must hold a CollapsedRegressor"):
        CollapsedRegressor.load(tmp_path / "net")


def test_code_is_not_written_to_files(mixed, names, make_estimator, tmp_path):
    """Linear models and unknown transformers have no place in a file of numbers."""
    with pytest.raises(TypeError, match="Got a LogisticRegression"):
        collapse(mixed).save(tmp_path / "mixed")
    mixed.estimators_ = [
        make_pipeline(SplineTransformer(), make_estimator("MLPClassifier")).fit(*names)
    ]
    mixed.weights_ = np.ones(1)
    with pytest.raises(TypeError, match="in the step 'splinetransformer'"):
        collapse(mixed).save(tmp_path / "splines")
    with pytest.raises(TypeError, match="member 0 with a SplineTransformer"):
        collapse(mixed).to_onnx(tmp_path / "splines")


def test_a_file_is_small_and_its_networks_train_on(iris, make_estimator, tmp_path):
    """Optimizers' states and histories are not in it; training starts from the weights."""
    net = make_estimator("MLPClassifier").fit(iris.X, iris.y)
    collapse(Weighted([net], [1], classes_=net.classes_)).save(tmp_path / "small")

    tensors, description = read_file(tmp_path / "small")
    member = CollapsedClassifier.load(tmp_path / "small").estimators_[0]

    networks = [name.split(".") for name in tensors if name.startswith("network")]
    assert {kind for _, kind, *_ in networks} == {"module"}
    assert len(json.dumps(description)) < 4000
    member.partial_fit(iris.X, iris.y, n_epochs=2)
    assert member.n_epochs_ == 2


def _scaled(kind, make_estimator, data):
    """Return pipelines with scalers of their own, fitted on different samples."""
    steps = {
        "scaler": [StandardScaler()],
        "several": ["passthrough", MinMaxScaler(), RobustScaler()],
        "imputer": [SimpleImputer(strategy="median"), StandardScaler()],
        "nothing": ["passthrough"],
        "alone": [],
    }[kind]
    X, y = data
    return [
        make_pipeline(
            *[clone(s) if s != "passthrough" else s for s in steps],
            make_estimator("MLPClassifier", random_state=seed),
        ).fit(X[seed::2], y[seed::2])
        for seed in (0, 1)
    ]


@pytest.mark.parametrize("kind", ["scaler", "several", "imputer", "nothing", "alone"])
def test_scalers_are_in_the_file(kind, make_estimator, names, tmp_path):
    """Members behind scalers are numbers too, and predict the same by themselves."""
    X, y = names
    members = _scaled(kind, make_estimator, names)
    small = collapse(Weighted(members, [1, 3], classes_=np.unique(y), n_features_in_=4))
    rows = X.copy()
    if kind == "imputer":
        rows[::3, 2] = np.nan

    small.save(tmp_path / "scaled")
    loaded = CollapsedClassifier.load(tmp_path / "scaled")

    assert_array_equal(loaded.predict_proba(X), small.predict_proba(X))
    assert_allclose(loaded.predict_proba(rows), small.predict_proba(rows), atol=ATOL)
    for own, member in zip(loaded.estimators_, members, strict=True):
        assert_allclose(own.predict_proba(rows), member.predict_proba(rows), atol=ATOL)
    assert loaded.n_stacks_ == 1


def test_columns_names_are_in_the_file(make_estimator, names, tmp_path):
    """A frame with other columns is refused before and after."""
    frame = pd.DataFrame(names[0], columns=list("abcd"))
    pipe = make_pipeline(StandardScaler(), make_estimator("MLPClassifier"))
    pipe.fit(frame, names[1])
    small = collapse(Weighted([pipe], [1], classes_=np.unique(names[1])))
    small.save(tmp_path / "named")
    loaded = CollapsedClassifier.load(tmp_path / "named")

    assert_array_equal(loaded.predict_proba(frame), small.predict_proba(frame))
    for own in (small, loaded):
        with pytest.raises(ValueError, match="feature names"):
            own.predict_proba(frame[list("badc")])


def _of_trials(net, X, y):
    """Return the average of the fold models of three candidates."""
    grid = {"learning_rate": [1e-3, 3e-3, 1e-2]}
    search = GridSearchCV(net, grid, cv=2, keep_models="all").fit(X, y)
    options = {"method": "average", "calibrate": False, "random_state": 0}
    return TrialEnsembleClassifier.from_search(search, **options)


def test_several_labels_a_sample_collapse(make_estimator, tmp_path):
    """Probabilities of labels are averaged label by label, in the file too."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 4))
    y = (X[:, :3] > 0).astype(int)
    ensemble = _of_trials(make_estimator("MLPClassifier", max_epochs=10), X, y)

    assert ensemble.classes_.tolist() == [0, 1, 2]
    small = collapse(ensemble)
    small.save(tmp_path / "labels")
    loaded = CollapsedClassifier.load(tmp_path / "labels")

    members = [m.predict_proba(X) for m in ensemble.estimators_]
    expected = np.average(members, axis=0, weights=ensemble.weights_)
    for own in (ensemble, small, loaded):
        assert_allclose(own.predict_proba(X), expected, atol=ATOL)
        assert_array_equal(own.predict(X), expected > 0.5)
        right = (y == (expected > 0.5)).all(axis=1)
        assert own.score(X, y) == pytest.approx(right.mean())


def _of_case(case, make, names, diabetes):
    """Return a fitted ensemble and the data that it was fitted to."""
    X, y = names
    options = {"n_estimators": 3, "random_state": 0}
    net, model = make("MLPClassifier"), BaggingClassifier
    data = names
    if case == "binary":
        net, model, data = make("MLPRegressor"), BoostingClassifier, (X[:100], y[:100])
    elif case == "regressor":
        net, model, data = make("MLPRegressor"), BaggingRegressor, diabetes
    elif case == "columns":
        options["max_features"] = 0.5
    elif case == "scalers":
        net = make_pipeline(SimpleImputer(), MinMaxScaler(clip=True), StandardScaler(), net)
        data = (np.where(np.arange(600).reshape(X.shape) % 16 == 1, np.nan, X + 1e3), y)
    elif case == "labels":
        data = (X, (X[:, :3] > [5.8, 3, 4]).astype(int))
    elif case == "images":
        net = make_pipeline(StandardScaler(), make("CNNClassifier"))
        data = (np.tile(X, 2), y)
    if case == "labels":
        fitted = _of_trials(make("MLPClassifier", max_epochs=10), *data)
    else:
        fitted = model(net, **options).fit(*data)
    if case in {"labels", "columns"}:
        fitted.temperature_ = 1.5
    return fitted, data


@pytest.mark.parametrize(
    "case", ["regressor", "columns", "binary", "scalers", "labels", "images"]
)
def test_it_is_one_onnx_model(case, make_estimator, names, diabetes, outputs, tmp_path):
    """Another runtime predicts the same from any number of samples."""
    runtime = pytest.importorskip("onnxruntime")
    fitted, data = _of_case(case, make_estimator, names, diabetes)
    small = collapse(fitted)
    path = tmp_path / "ensemble.onnx"

    small.to_onnx(path)

    session = runtime.InferenceSession(path)
    rows = data[0][:7].astype(np.float32)
    (found,) = session.run(None, {"X": rows})
    assert_allclose(found, outputs(small, rows).reshape(7, -1), rtol=1e-4, atol=1e-5)
    assert [p.name for p in tmp_path.iterdir()] == ["ensemble.onnx"]


@pytest.mark.parametrize("is_pipeline", [True, False])
def test_a_search_behind_a_table_preparer_is_one_onnx_model(is_pipeline, tmp_path):
    """Categories, known or not, are codes; missing values are NaN."""
    runtime = pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    town = rng.choice(["Bern", "Genf", "Ulm"], 120)
    X = pd.DataFrame({"age": rng.normal(40, 10, 120), "town": town})
    y = np.where((X["age"] > 40) ^ (town == "Ulm"), "yes", "no")
    X.loc[::9, "age"] = X.loc[::7, "town"] = None
    pipe = make_pipeline(TablePreparer(), MLPClassifier(width=8, max_epochs=3))
    search = GridSearchCV(
        pipe, {"mlpclassifier__dropout": [0.0, 0.1]}, cv=3, keep_models="all"
    ).fit(X, y)
    model = search.best_estimator_
    if not is_pipeline:
        model = TrialEnsembleClassifier.from_search(search)
    path = tmp_path / "ensemble.onnx"

    about = collapse(model).to_onnx(path)

    age, places = about["inputs"]
    assert (age["name"], age["kind"]) == ("age", "number")
    assert about["classes"] == ["no", "yes"]
    X.loc[:20, "town"] = "new"
    codes = X["town"].map({value: code for code, value in enumerate(places["values"])})
    codes = codes.fillna(-1).where(X["town"].notna())
    rows = np.column_stack([X["age"], codes])
    (found,) = runtime.InferenceSession(path).run(None, {"X": rows})
    assert_allclose(found, model.predict_proba(X), atol=1e-5)
