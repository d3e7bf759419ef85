"""Fitted estimators as files: round trips, refused files, and no execution of code."""

import json
import pickle
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import safetensors
import safetensors.torch
import torch
from skorch.callbacks import Callback, EpochScoring
from torch import nn

import sk_tune
from sk_tune._augment import AUGMENTATIONS
from sk_tune._estimators._persistence import _packed, _unpacked
from sk_tune._numerical_embedding import EMBEDDINGS
from sk_tune.exceptions import SkTuneWarning


def _reloaded(estimator, folder):
    path = folder / "estimator.safetensors"
    estimator.save(path, overwrite=True)
    code = {"module": estimator.module} if hasattr(estimator, "module") else {}
    return type(estimator).load(path, **code)


@pytest.fixture(scope="module")
def fitted(make_estimator, task_data):
    """A small classifier with all kinds of contents of a file."""
    X, y = task_data("MLPClassifier")
    frame = pd.DataFrame(X, columns=[f"c{i}" for i in range(8)])
    params = {"early_stopping": True, "class_weight": {"low": 1.0, "mid": 2, "top": 3}}
    return make_estimator("MLPClassifier", **params, max_epochs=3).fit(frame, y)


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory):
    """The bytes of its file."""
    path = tmp_path_factory.mktemp("saved") / "estimator.safetensors"
    fitted.save(path)
    return path.read_bytes()


VARIANTS = {
    "plain": ("MLPClassifier", {}),
    "instance": ("NetRegressor", {"module": nn.Linear(8, 1)}),
    "images": ("CNNRegressor", {}),
    "sequences": ("RNNClassifier", {}),
    "float64": ("MLPRegressor", {"dtype": "float64"}),
    "batch norm": ("CNNClassifier", {"normalization": "batch", "dropout": 0.2}),
    "early stopping": ("RNNRegressor", {"early_stopping": True, "max_epochs": 4}),
    "tuple and text": ("MLPClassifier", {"hidden_layer_sizes": (4, 3), "cell": None}),
    "sgd": ("MLPRegressor", {"optimizer": "sgd", "momentum": 0.5}),
    # Its file has fewer tensors than layers.
    "layers without effect": (
        "MLPClassifier",
        {"n_layers": 6, "hidden_layer_sizes": (5,), "optimizer": "sgd", "momentum": 0.0},
    ),
    "rmsprop without momentum": ("MLPRegressor", {"optimizer": "rmsprop", "momentum": 0.0}),
    "module parameters": ("NetRegressor", {"module__width": 9, "module__p": 0.0}),
    "numpy's seed": ("MLPRegressor", {"random_state": np.int64(4)}),
}


@pytest.mark.parametrize(("name", "params"), VARIANTS.values(), ids=VARIANTS)
def test_all_state_survives_a_file(
    name, params, make_estimator, task_data, outputs, tmp_path
):
    """Attributes, history and parameters are the same after loading."""
    X, y = task_data(name)
    params = {k: v for k, v in params.items() if v is not None}
    net = make_estimator(name, **params).fit(X, y)

    loaded = _reloaded(net, tmp_path)

    assert type(loaded) is type(net)
    np.testing.assert_array_equal(outputs(loaded, X), outputs(net, X))
    assert loaded.score(X, y) == net.score(X, y)
    assert loaded.get_params() == net.get_params()
    for attribute in ("n_features_in_", "input_shape_", "n_outputs_", "n_epochs_"):
        assert getattr(loaded, attribute) == getattr(net, attribute)
    assert loaded.best_epoch_ == net.best_epoch_
    assert list(loaded.history_) == list(net.history_)


class WithSpread(sk_tune.MLPClassifier):
    """Learns an additional attribute that no list mentions."""

    def _check_X(self, X, *, reset):
        X = super()._check_X(X, reset=reset)
        if reset:
            self.spread_ = X.std(axis=0)
        return X / self.spread_


def test_an_attribute_that_a_class_adds_survives_a_file(task_data, tmp_path):
    """All learnt attributes are saved, without a list of names."""
    X, y = task_data("MLPClassifier")
    net = WithSpread(width=4, max_epochs=2, random_state=0).fit(X, y)

    loaded = _reloaded(net, tmp_path)

    np.testing.assert_array_equal(loaded.spread_, net.spread_)
    np.testing.assert_array_equal(loaded.predict_proba(X), net.predict_proba(X))
    assert vars(loaded).keys() == vars(net).keys()


def test_an_attribute_that_json_cannot_hold_is_named(task_data, tmp_path):
    """The other attributes of the estimator are saved."""
    X, y = task_data("MLPClassifier")
    net = sk_tune.MLPClassifier(width=4, max_epochs=2, random_state=0).fit(X, y)
    net.notes_ = object()

    with pytest.warns(SkTuneWarning, match="attribute 'notes_' cannot be saved"):
        loaded = _reloaded(net, tmp_path)

    np.testing.assert_array_equal(loaded.predict(X), net.predict(X))


LABELS = {
    "text": np.array(["blue", "grün", "\n\u2028"]),
    "objects": np.array(["a", "b", "c"], dtype=object),
    "int8": np.array([-3, 0, 7], dtype=np.int8),
    "uint64": np.array([0, 1, 2**64 - 1], dtype=np.uint64),
    "float32": np.array([0.0, 1.0, 2.0], dtype=np.float32),
    "bool": np.array([False, True, True]),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_of_any_type_survive_a_file(labels, make_estimator, task_data, tmp_path):
    """classes_ and predictions keep their type and values."""
    X, y = task_data("MLPClassifier")
    codes = np.unique(y, return_inverse=True)[1]
    net = make_estimator("MLPClassifier").fit(X, labels[codes])

    loaded = _reloaded(net, tmp_path)

    assert loaded.classes_.dtype == net.classes_.dtype
    np.testing.assert_array_equal(loaded.classes_, net.classes_)
    np.testing.assert_array_equal(loaded.predict(X), net.predict(X))


def test_kinds_of_targets_survive_a_file(make_estimator, task_data, tmp_path):
    """Multilabel and multi-output predictions are equal after loading."""
    X, y = task_data("MLPRegressor")
    many = np.column_stack([y, 3 * y + 1])
    for name, target in (("MLPRegressor", many), ("MLPClassifier", (many > 0).astype(int))):
        net = make_estimator(name).fit(X, target)

        np.testing.assert_array_equal(_reloaded(net, tmp_path).predict(X), net.predict(X))


def test_names_of_columns_survive_a_file(fitted, task_data, tmp_path):
    """A loaded estimator checks column names as the saved estimator does."""
    X, _ = task_data("MLPClassifier")
    frame = pd.DataFrame(X, columns=[f"c{i}" for i in range(8)])

    loaded = _reloaded(fitted, tmp_path)

    assert loaded.feature_names_in_.tolist() == list(frame.columns)
    np.testing.assert_array_equal(loaded.predict(frame), fitted.predict(frame))
    with pytest.raises(ValueError, match="same order"):
        loaded.predict(frame[frame.columns[::-1]])


def test_a_random_state_is_saved_as_none(make_estimator, task_data, tmp_path):
    """Generators are not plain values; the seed of the fit is saved."""
    X, y = task_data("MLPRegressor")
    net = make_estimator("MLPRegressor", random_state=np.random.RandomState(0)).fit(X, y)

    loaded = _reloaded(net, tmp_path)

    assert loaded.random_state is None
    np.testing.assert_array_equal(
        loaded.partial_fit(X, y).predict(X), net.partial_fit(X, y).predict(X)
    )


def test_callbacks_are_left_out_with_a_warning(make_estimator, task_data, tmp_path):
    """Callbacks are code: a warning says that the file lacks them."""
    X, y = task_data("MLPRegressor")
    callbacks = [EpochScoring("r2", on_train=True, name="own"), ("c", Callback())]
    net = make_estimator("MLPRegressor", callbacks=callbacks).fit(X, y)

    with pytest.warns(SkTuneWarning, match="callbacks") as caught:
        net.save(tmp_path / "net")

    assert caught[0].filename == __file__
    loaded = type(net).load(tmp_path / "net")
    assert loaded.callbacks is None
    assert loaded.history_[:, "own"] == pytest.approx(net.history_[:, "own"])


def test_an_existing_file_is_replaced_only_with_overwrite(fitted, tmp_path):
    """By default the file is left unchanged."""
    path = tmp_path / "net"
    path.write_text("precious")

    with pytest.raises(FileExistsError, match="net exists"):
        fitted.save(path)
    assert path.read_text() == "precious"

    fitted.save(path, overwrite=True)
    assert sk_tune.MLPClassifier.load(path).n_epochs_ == 3
    fitted.save(tmp_path / "new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net", "new"]


def test_a_failed_write_leaves_the_old_file_alone(fitted, tmp_path, monkeypatch):
    """A file is replaced completely or not at all, and temporary files are removed."""
    path = tmp_path / "net"
    path.write_text("precious")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        fitted.save(path, overwrite=True)

    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_parameter_that_is_code_is_refused_by_name(make_estimator, task_data, tmp_path):
    """Functions cannot be saved, and the message names the parameter."""
    X, y = task_data("NetRegressor")

    class WithFunction(nn.Module):
        def __init__(self, n_outputs, function):
            super().__init__()
            self.function = function
            self.output = nn.Linear(8, n_outputs)

        def forward(self, x):
            return self.output(self.function(x))

    net = make_estimator("NetRegressor", module=WithFunction, module__function=torch.tanh)
    net.fit(X, y)

    with pytest.raises(TypeError, match="module__function"):
        net.save(tmp_path / "net")
    assert not list(tmp_path.iterdir())


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def _zip(payload, file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../data.pkl", pickle.dumps(payload))


def _save(payload, file):
    np.save(file, np.array([payload], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("suffix", ["pkl", "pt", "safetensors", "zip"])
@pytest.mark.parametrize("write", [pickle.dump, torch.save, joblib.dump, _zip, _save])
def test_a_pickle_is_refused_and_not_executed(write, suffix, tmp_path):
    """For any name and wrapping, no code in a foreign file runs."""
    marker = tmp_path / "executed"
    path = tmp_path / f"model.{suffix}"
    with path.open("wb") as file:
        write(Payload(marker), file)

    with pytest.raises(ValueError, match="must be a file that save wrote") as raised:
        sk_tune.MLPClassifier.load(path)

    assert str(path) in str(raised.value)
    assert not marker.exists()


FOREIGN = {
    "empty": b"",
    "text": b"epoch,loss\n1,0.5\n",
    "json": b'{"class": "MLPClassifier"}',
    "zeros": bytes(100),
    "huge header": (2**62).to_bytes(8, "little") + b"{}",
    "header without end": (50).to_bytes(8, "little") + b'{"a":',
    "10 GB declared": (lambda h: len(h).to_bytes(8, "little") + h)(
        b'{"a":{"dtype":"F32","shape":[2500000000],"data_offsets":[0,10000000000]}}'
    ),
    "other safetensors": safetensors.torch.save({"a": torch.zeros(2)}),
    "other metadata": safetensors.torch.save({"a": torch.zeros(2)}, {"sk_tune": "{}"}),
    "metadata that is no json": safetensors.torch.save({}, {"sk_tune": "{"}),
    "metadata of another kind": safetensors.torch.save({}, {"sk_tune": "[1]"}),
    "metadata without bottom": safetensors.torch.save({}, {"sk_tune": "[" * 10**5}),
    "metadata with a version in words": safetensors.torch.save(
        {}, {"sk_tune": '{"version": "one", "checksum": ""}'}
    ),
    "metadata with an infinite version": safetensors.torch.save(
        {}, {"sk_tune": '{"version": Infinity, "checksum": ""}'}
    ),
}


def test_a_pickle_builds_no_optimizer_and_continues_the_same_training():
    """Torch needs seconds for its first optimizer, which predictions do not need."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)), rng.integers(2, size=40)
    net = sk_tune.MLPClassifier(max_epochs=3, lr_schedule="constant", random_state=0)
    net.fit(X, y)
    loaded = pickle.loads(pickle.dumps(net))
    assert net.net_.has_late_optimizer
    assert loaded.net_.has_late_optimizer
    expected = net.partial_fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(loaded.partial_fit(X, y).predict_proba(X), expected)


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_file_is_refused(content, tmp_path):
    """The message names the file; a folder or missing file raises its own exception."""
    path = tmp_path / "foreign"
    with pytest.raises(FileNotFoundError):
        sk_tune.MLPClassifier.load(path)
    with pytest.raises(IsADirectoryError, match="that save wrote. Got a folder"):
        sk_tune.MLPClassifier.load(tmp_path)
    path.write_bytes(content)

    with pytest.raises(ValueError, match=str(path)):
        sk_tune.MLPClassifier.load(path)


@pytest.mark.parametrize(
    ("name", "reader"), [("m.joblib", "joblib.load"), ("t.csv", "pandas.read_csv")]
)
def test_files_of_other_kinds_are_refused_with_their_reader(name, reader, tmp_path):
    """By the suffix of their name."""
    (tmp_path / name).write_bytes(b"any content")

    with pytest.raises(
        ValueError, match=f"save wrote. Got a .* file, which {reader} reads"
    ):
        sk_tune.MLPClassifier.load(tmp_path / name)


def test_every_truncation_is_refused(saved, tmp_path):
    """A file truncated at any byte is refused."""
    path = tmp_path / "cut"
    for length in [*range(0, len(saved), 97), len(saved) - 1]:
        path.write_bytes(saved[:length])

        with pytest.raises(ValueError, match="must be a file that save wrote|damaged"):
            sk_tune.MLPClassifier.load(path)


@pytest.mark.parametrize("bit", [0, 3, 6])
def test_every_flipped_bit_is_refused(bit, saved, fitted, tmp_path):
    """One wrong bit anywhere, in weights, parameters or header, is detected.

    The exception is the last digit of a number in the history, which may not matter.
    """
    path = tmp_path / "flipped"
    # A prime step, so that all parts of the file are tested.
    for position in range(bit, len(saved), 61):
        damaged = bytearray(saved)
        damaged[position] ^= 1 << bit
        path.write_bytes(damaged)

        try:
            loaded = sk_tune.MLPClassifier.load(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017 - most are refused, not all
        else:
            assert chr(saved[position]).isdigit()
            assert list(loaded.history_) == list(fitted.history_)


def _edited(saved, path, **changes):
    """Write the file with an edited description."""
    path.write_bytes(saved)
    with safetensors.safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    description = {**json.loads(metadata["sk_tune"]), **changes}
    path.write_bytes(safetensors.torch.save(tensors, {"sk_tune": json.dumps(description)}))


@pytest.mark.parametrize(
    "changes",
    [
        {"params": {"dict": [["no_such_parameter", 1]]}},
        {"params": {"dict": [["hidden_layer_sizes", 10**9]]}},
        {"params": {"dict": [["n_layers", 10**9], ["hidden_layer_sizes", None]]}},
        {"learnt": {"dict": [["input_shape_", {"tuple": [10**9]}]]}},
        {"params": {"object": "os.system"}},
        {"learnt": {"dict": [["__class__", "x"]]}},
        {"learnt": {"dict": []}},
        {"counters": {"n_steps_": "many"}},
        {"seed": "x"},
        {"history": 3},
        {"version": 99},
    ],
    ids=str,
)
def test_an_edited_description_is_refused(changes, saved, tmp_path):
    """Parameters that do not match the weights, and newer formats, are refused."""
    path = tmp_path / "edited"
    _edited(saved, path, **changes)

    words = "99.*[Uu]pdate" if "version" in changes else str(path)
    with pytest.raises(ValueError, match=words):
        sk_tune.MLPClassifier.load(path)


def test_a_file_of_another_class_is_refused(saved, tmp_path):
    """Each class loads its own files only; the message names the file's class."""
    path = tmp_path / "net"
    path.write_bytes(saved)

    with pytest.raises(ValueError, match="must hold a RNNRegressor. Got a MLPClassifier"):
        sk_tune.RNNRegressor.load(path)


def test_the_code_of_a_module_is_not_in_its_file(make_estimator, task_data, tmp_path):
    """The module must be passed to load, and must match the saved weights."""
    X, y = task_data("NetClassifier")
    path = tmp_path / "net"
    make_estimator("NetClassifier").fit(X, y).save(path)

    with pytest.raises(ValueError, match="Pass it as module"):
        sk_tune.NetClassifier.load(path)
    with pytest.raises(ValueError, match="module"):
        sk_tune.NetClassifier.load(path, module=nn.Linear(8, 3))


@pytest.mark.parametrize(
    "value",
    [
        *(kind(1) for kind in AUGMENTATIONS.values()),
        *(kind(size=3) for kind in EMBEDDINGS.values()),
    ],
    ids=str,
)
def test_augmentations_and_embeddings_are_restored(value):
    """JSON of a value gives an equal value."""
    assert _unpacked(json.loads(json.dumps(_packed(value)))) == value


@pytest.mark.parametrize(
    ("plain", "error"),
    [
        ({"augmentation": "sharpen", "p": 1}, KeyError),
        ({"p": 1}, KeyError),
        ({"augmentation": "flip", "p": 2}, ValueError),
        ({"augmentation": "flip", "code": "import os"}, TypeError),
    ],
)
def test_foreign_values_of_parameters_are_refused(plain, error):
    """Unknown kinds and strengths are refused."""
    with pytest.raises(error):
        _unpacked(plain)
