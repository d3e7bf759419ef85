"""Fitted objects in files, without pickle."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import sklearn
from marks import one_in
from modules import OneLayer
from numpy.testing import assert_array_equal
from sklearn.base import is_regressor
from sklearn.compose import (
    ColumnTransformer,
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import KNNImputer, MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)

from sk_tune import (
    BaggingClassifier,
    GridSearchCV,
    MLPClassifier,
    MLPRegressor,
    NetClassifier,
    TablePreparer,
    TrialEnsembleClassifier,
    load,
    save,
)
from sk_tune._ensemble import CollapsedClassifier, collapse
from sk_tune._estimators import read_file, write_file
from sk_tune._saving._save import Packer, Unpacker
from sk_tune.exceptions import SkTuneWarning

_RNG = np.random.default_rng(0)
N = 120
X = pd.DataFrame({
    "age": _RNG.normal(40, 10, size=N),
    "visits": _RNG.integers(0, 2, size=N).astype(float),
    "town": _RNG.choice(["Bern", "Ulm", "Köln"], size=N),
    "street": _RNG.choice([f"street {k}" for k in range(12)], size=N),
    "since": pd.date_range("2021-03-05", periods=N, freq="31h").strftime("%d.%m.%Y"),
    "seen": pd.date_range("2024-01-01", periods=N, freq="7h"),
})
X.loc[::7, "age"] = np.nan
X.loc[::11, "town"] = None
Y = np.where(X["age"].fillna(30) > 40, "yes", "no")
TARGET = X["age"].fillna(30).to_numpy() / 7
# Rows that were not in `fit`, with other gaps and categories.
NEW = (
    X.iloc[::-1].assign(town=X["town"].where(X.index % 5 > 0, "Rom")).reset_index(drop=True)
)


def _mlp(**params):
    own = {"max_epochs": 2, "width": 8, "random_state": 0, "lr_schedule": "constant"}
    return MLPClassifier(**{**own, **params})


def _numbers(*steps):
    """Return a network after transformers of numerical columns."""
    chosen = make_column_transformer((SimpleImputer(), ["age", "visits"]))
    return make_pipeline(chosen, *steps, _mlp())


def _texts(encoder):
    blocks = [("text", encoder, ["town", "street"]), ("age", SimpleImputer(), [0])]
    return make_pipeline(ColumnTransformer(blocks), StandardScaler(with_mean=False), _mlp())


_SELECTED = make_column_transformer(
    (
        make_pipeline(KNNImputer(add_indicator=True), RobustScaler()),
        make_column_selector(dtype_include=np.number),
    ),
    (OneHotEncoder(drop="if_binary", sparse_output=False), make_column_selector("town")),
    ("drop", slice(3, 6)),
    remainder=OrdinalEncoder(),
).set_params(transformer_weights={"onehotencoder": 2.0})
PIPELINES = {
    "table": make_pipeline(TablePreparer(), _mlp()),
    "embeddings": make_pipeline(TablePreparer(embeddings=True, max_categories=4), _mlp()),
    "quantiles": make_pipeline(TablePreparer(numeric="quantile"), _mlp()),
    "as it is": make_pipeline(TablePreparer(numeric=None), "passthrough", _mlp()),
    "pandas": make_pipeline(TablePreparer(), StandardScaler(), _mlp()).set_output(
        transform="pandas"
    ),
    "regression": make_pipeline(TablePreparer(), MLPRegressor(max_epochs=2)),
    "target": TransformedTargetRegressor(
        make_pipeline(TablePreparer(), MLPRegressor(max_epochs=2)),
        transformer=StandardScaler(),
    ),
    "log target": TransformedTargetRegressor(
        make_pipeline(TablePreparer(), MLPRegressor(max_epochs=2)),
        func=np.log1p,
        inverse_func=np.expm1,
    ),
    "selected": make_pipeline(_SELECTED, _mlp()),
    "one-hot": _texts(OneHotEncoder(handle_unknown="ignore")),
    "rare": _texts(
        OneHotEncoder(
            handle_unknown="infrequent_if_exist", min_frequency=10, dtype=np.float32
        )
    ),
    "ordinal": _texts(
        OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=-1,
            encoded_missing_value=-2,
            min_frequency=5,
        )
    ),
    "by target": _texts(TargetEncoder(cv=StratifiedKFold(2))),
    "scalers": _numbers(
        StandardScaler(), MinMaxScaler(clip=True), MaxAbsScaler(), RobustScaler()
    ),
    "shapes": _numbers(
        PowerTransformer(),
        QuantileTransformer(n_quantiles=20, random_state=0),
        Normalizer(),
    ),
    "parts": _numbers(
        PolynomialFeatures(),
        StandardScaler(),
        VarianceThreshold(),
        PCA(3, random_state=0),
        TruncatedSVD(2, random_state=0),
    ),
    "union": _numbers(
        make_union(
            Binarizer(threshold=40.0),
            KBinsDiscretizer(2, encode="ordinal", strategy="uniform"),
            FunctionTransformer(np.log1p),
            MissingIndicator(features="all"),
        )
    ),
}


def _fitted(name):
    y = TARGET if is_regressor(PIPELINES[name]) else Y
    return PIPELINES[name].fit(X, y)


@pytest.mark.filterwarnings("ignore:Found unknown categories:UserWarning")
@pytest.mark.filterwarnings("ignore:.*could also be:sk_tune.exceptions.SkTuneWarning")
@pytest.mark.parametrize("name", one_in(2, PIPELINES))
def test_a_pipeline_predicts_the_same_from_its_file(name, tmp_path):
    """Bit-identical, for rows with gaps and new categories, and it can be fitted again."""
    model = _fitted(name)
    path = tmp_path / "model.safetensors"

    save(model, path)
    result = load(path)

    if "mlpclassifier" in getattr(model, "named_steps", {}):
        # The file has the optimizer's state, as a network's own file does.
        rows, nets = model[:-1].transform(X), (model[-1], result[-1])
        for net in nets:
            net.partial_fit(rows, Y)
    for rows in (X, NEW) if name != "selected" else (X,):
        assert_array_equal(result.predict(rows), model.predict(rows))
        if hasattr(model, "predict_proba"):
            assert_array_equal(result.predict_proba(rows), model.predict_proba(rows))
    assert re.sub(" at 0x.*", "", str(result)) == re.sub(" at 0x.*", "", str(model))
    y = TARGET if is_regressor(model) else Y
    result.fit(X, y)


def test_a_frame_with_other_columns_is_refused_after_loading(tmp_path):
    """The file has names and dtypes of columns; it is replaced only with `overwrite`."""
    model = _fitted("table")
    save(model, tmp_path / "model")
    with pytest.raises(FileExistsError):
        save(model, tmp_path / "model")
    result = load(tmp_path / "model")

    assert result[0].kinds_ == model[0].kinds_
    assert list(result[0].get_feature_names_out()) == list(model[0].get_feature_names_out())
    with pytest.raises(ValueError, match="feature names"):
        result.predict(X.rename(columns={"age": "years"}))


def test_save_takes_networks_and_collapsed_ensembles(tmp_path):
    """The files equal those of the methods."""
    rows = X[["visits"]].to_numpy()
    net = _mlp().fit(rows, Y)
    small = collapse(BaggingClassifier(_mlp(), 2, random_state=0).fit(rows, Y))
    for number, model in enumerate([net, small]):
        save(model, tmp_path / f"door{number}")
        model.save(tmp_path / f"own{number}")

        for result in (
            load(tmp_path / f"door{number}"),
            load(tmp_path / f"own{number}"),
            type(model).load(tmp_path / f"door{number}"),
        ):
            assert type(result) is type(model)
            assert_array_equal(result.predict_proba(rows), model.predict_proba(rows))


def _trials():
    widths = {"mlpclassifier__width": [4, 8]}
    search = GridSearchCV(PIPELINES["table"], widths, cv=2, keep_models="all")
    return TrialEnsembleClassifier(search.fit(X, Y))


def _voting():
    members = [(name, PIPELINES[name]) for name in ("table", "rare")]
    return VotingClassifier(members, voting="soft")


@pytest.mark.parametrize("make", [_trials, _voting])
def test_an_ensemble_of_pipelines_is_one_file(make, tmp_path):
    """Each member with the preparation of its own fold."""
    small = collapse(make().fit(X, Y))
    path = tmp_path / "ensemble"

    small.save(path)
    result = CollapsedClassifier.load(path)

    for rows in (X, NEW):
        assert_array_equal(result.predict_proba(rows), small.predict_proba(rows))
    assert list(result.weights_) == list(small.weights_)
    assert result.n_stacks_ == small.n_stacks_


def test_users_modules_are_passed_to_load(tmp_path):
    """The file lacks their code; load's message names the file."""
    model = make_pipeline(TablePreparer(), NetClassifier(OneLayer, max_epochs=1)).fit(X, Y)
    path = tmp_path / "model"
    save(model, path)

    assert_array_equal(load(path, module=OneLayer).predict(X), model.predict(X))
    with pytest.raises(
        ValueError, match=r"is code, which .*model does not contain. Pass it"
    ):
        load(path)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (SplineTransformer(), "Got a SplineTransformer in the step 'own'. Write the whole"),
        (FunctionTransformer(lambda x: x), "the function <lambda>, .* in the step 'own'"),
        (make_union(SplineTransformer()), "in the step 'own' > 'splinetransformer'"),
    ],
    ids=["transformer", "function", "nested"],
)
def test_unsupported_objects_are_named_with_their_step(step, message, tmp_path):
    """Then no file is written."""
    model = _numbers()
    model.steps.insert(1, ("own", step))
    model.fit(X, Y)

    with pytest.raises(TypeError, match=message):
        save(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_messages_say_what_to_save_of_searches_and_ensembles(tmp_path):
    """The best estimator of a search; the result of collapse for an ensemble."""
    rows = X[["visits"]]
    search = GridSearchCV(_mlp(), {"width": [4]}, cv=2).fit(rows, Y)
    bag = BaggingClassifier(_mlp(), 2, random_state=0).fit(rows, Y)

    with pytest.raises(TypeError, match="Got a GridSearchCV. Save its best_estimator_"):
        save(search, tmp_path / "model")
    search.best_estimator_ = object()  # It may be unsupported.
    with pytest.raises(
        TypeError, match="Got a GridSearchCV. Write the whole model with joblib"
    ):
        save(search, tmp_path / "model")
    with pytest.raises(TypeError, match="Save the result of sk_tune.collapse"):
        save(bag, tmp_path / "model")
    with pytest.raises(TypeError, match="Got a LogisticRegression"):
        save(LogisticRegression().fit(rows, Y), tmp_path / "model")
    with pytest.raises(NotFittedError):
        save(_numbers(), tmp_path / "model")
    with pytest.raises(FileNotFoundError, match=r"folder does not exist.*none'$"):
        save(bag.estimators_[0], tmp_path / "none" / "model")
    with pytest.raises(TypeError, match="class"):
        save(MLPClassifier, tmp_path / "model")


def test_a_users_cache_is_not_saved(tmp_path):
    """The folder holds pickles, and may not exist where the file is loaded."""
    model = make_pipeline(StandardScaler(), _mlp(), memory=str(tmp_path / "cache"))
    save(model.fit(X[["visits"]], Y), tmp_path / "model")

    assert load(tmp_path / "model").memory is None
    tensors, description = read_file(tmp_path / "model")
    description["state"]["memory"] = "elsewhere"
    write_file(tmp_path / "model", tensors, description, overwrite=True)
    assert load(tmp_path / "model").memory is None


def test_vectorizers_that_open_files_are_refused(tmp_path):
    """A file of somebody else would otherwise open files that the texts name."""
    vectorizer = TfidfVectorizer().fit(["red chair", "blue desk"])
    save(vectorizer, tmp_path / "model")
    tensors, description = read_file(tmp_path / "model")
    description["state"]["input"] = "filename"
    write_file(tmp_path / "model", tensors, description, overwrite=True)

    with pytest.raises(ValueError, match="must have input='content'"):
        load(tmp_path / "model")
    with pytest.raises(TypeError, match="a TfidfVectorizer that opens files"):
        save(vectorizer.set_params(input="filename"), tmp_path / "other")


def _rewritten(path, change):
    tensors, description = read_file(path)
    text = change(json.dumps(description))
    write_file(path, tensors, json.loads(text), overwrite=True)


def test_another_version_of_scikit_learn_warns(tmp_path):
    """Its transformers may compute something else."""
    path = tmp_path / "model"
    save(_fitted("table"), path)
    _rewritten(path, lambda text: text.replace(f'"{sklearn.__version__}"', '"1.8.0"'))

    with pytest.warns(SkTuneWarning, match=r"model was saved with scikit-learn 1\.8\.0"):
        load(path)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"StandardScaler"', '"GridSearchCV"', "Got a 'GridSearchCV'"),
        ('"log1p"', '"save"', "Got 'save'"),
        ('"array0"', '"array99"', "array99"),
        # The checksum covers the transformers, too.
        (None, None, "is damaged"),
    ],
)
def test_unknown_names_are_refused(old, new, named, tmp_path):
    """The message names the file and the unknown name."""
    path = tmp_path / "model"
    save(_numbers(FunctionTransformer(np.log1p), StandardScaler()).fit(X, Y), path)
    if old is None:
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    else:
        _rewritten(path, lambda text: text.replace(old, new))

    with pytest.raises(ValueError, match=named) as caught:
        load(path)
    assert str(path) in str(caught.value)


def _there_and_back(value):
    packer = Packer(for_training=True)
    packed = json.loads(json.dumps(packer(value)))
    return Unpacker(packer.tensors, None)(packed)


ARRAYS = {
    "float64": np.array([1.5, np.nan, np.inf, -0.0]),
    "float32": np.array([[0.1, 0.2]], dtype=np.float32),
    "uint64": np.array([2**64 - 1], dtype=np.uint64),
    "bool": np.array([True, False]),
    "empty": np.empty((0, 3)),
    "single": np.array(1e-300),
    "big-endian": np.array([1, 2], dtype=">i4"),
    "text": np.array([["a", "é"], ["", "\0x"]]),
    "objects": np.array([["a", None], [0.5, 3]], dtype=object),
    # Even if all elements have the same length.
    "arrays": np.array([np.arange(3), np.arange(3.0), None], dtype=object)[:2],
    "times": np.array(["2024-01-01", "NaT"], dtype="datetime64[D]"),
    "turned": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_restored_exactly(name):
    """With dtype, shape and memory order."""
    array = ARRAYS[name]

    result = _there_and_back(array)

    assert result.dtype == array.dtype
    assert result.flags.c_contiguous == array.flags.c_contiguous
    assert result.shape == array.shape
    assert repr(result) == repr(array)
    assert_array_equal(result.tolist(), array.tolist())


@pytest.mark.parametrize(
    "value",
    [
        np.float32(0.1), np.int8(3), np.dtype("float32"), np.dtype(object), np.float64,
        np.number, object, str, slice(1, None, 2), np.log1p, (1, [2, {"a": None, 3: "b"}]),
    ],
    ids=str,
)  # fmt: skip
def test_values_are_restored_with_their_types(value):
    """Numpy scalars stay numpy scalars, which round differently from Python numbers."""
    result = _there_and_back(value)

    assert result == value
    assert type(result) is type(value)
    # An index of pandas becomes a list; an unfitted network has its parameters.
    assert _there_and_back(pd.Index(["a", "b"])) == ["a", "b"]
    net = _there_and_back(MLPClassifier(width=3, augmentation=["noise"]))
    assert net.get_params()["width"] == 3
    assert not hasattr(net, "net_")


def _shadow(x):
    return x


_shadow.__name__ = "log1p"


def test_generators_and_routing_are_left_out():
    """The files of networks do not have states of generators either."""
    pca = PCA(2, random_state=np.random.RandomState(0)).set_output(transform="pandas")
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=True)

    assert _there_and_back(pca).random_state is None
    assert _there_and_back(scaler).get_params() == scaler.get_params()


class _MyScaler(MaxAbsScaler):
    """A user's own code."""


_MyScaler.__name__ = "MaxAbsScaler"


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (lambda x: x, "<lambda>"),
        (_shadow, "log1p"),
        (np.where, "where"),
        (_MyScaler(), "MaxAbsScaler"),
        (int.__class__, "type"),
        (np.timedelta64(1, "s"), "timedelta"),
        (pd.Timestamp("2024-01-01"), "Timestamp"),
        ([("log", FunctionTransformer(_shadow))], "in the step 'log'"),
    ],
    ids=["lambda", "known name", "no ufunc", "subclass", "class", "span", "time", "step"],
)
def test_code_and_unknown_objects_are_refused(value, named):
    """Even under the names of known classes; the message names the step."""
    with pytest.raises(TypeError, match=named):
        Packer(for_training=True)(value)


@pytest.mark.parametrize(
    "packed",
    [
        {"function": "system"}, {"function": "save"}, {"function": "where"},
        {"type": "memmap"}, {"type": "Path"}, {"class": "FitPreparer", "state": {}},
        {"class": "GridSearchCV", "state": {}}, {"kind": "V1000000000"},
        {"objects": [], "shape": [10**12]}, {"tensor": "array7", "turned": False}, {},
    ],
    ids=str,
)  # fmt: skip
def test_unlisted_names_are_not_loaded(packed):
    """Names in a file are never imported, and sizes in a file are checked."""
    with pytest.raises((ValueError, LookupError, AttributeError)):
        Unpacker({}, None)(packed)
