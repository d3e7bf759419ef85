"""Model files and stores that somebody tampered with, also with right checksums.

Whatever is in a file, it is read or refused by an error that names it; nothing in it is
executed, and no more memory is asked for than such files need.  SK_TUNE_FUZZ_FILES sets
how many files are tried, 60 by default.
"""

import contextlib
import copy
import functools
import json
import os
import pickle
import random
import resource
import sqlite3
import string
import time
import warnings
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import CNNClassifier, MLPClassifier, RNNClassifier, TablePreparer, load, save
from sk_tune._engine import Fit, FitStore, train
from sk_tune._engine._store import _digest
from sk_tune._estimators._persistence import _checksum
from sk_tune._training import arrays_of_state
from sk_tune.exceptions import StoreError

# What a file of some kilobytes may ask for; the files here have at most 100.
MOST_BYTES = 3 * 2**30
N_FILES = int(os.environ.get("SK_TUNE_FUZZ_FILES", "60"))
SHORT = settings(
    max_examples=N_FILES, deadline=None, suppress_health_check=list(HealthCheck)
)


class _Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


class _Files(tuple):
    """Too long to be printed."""

    def __repr__(self):
        return "files"


@contextlib.contextmanager
def _bounded_memory():
    """Limit the address space of a call to `MOST_BYTES` more than before."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    now = pages * os.sysconf("SC_PAGE_SIZE")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + MOST_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


# --- Mutations: pure functions of bytes or JSON and a source of choices


def _cut(data, rng):
    return data[: rng.randrange(len(data) + 1)]


def _flipped(data, rng):
    own = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        own[rng.randrange(len(own))] ^= 1 << rng.randrange(8)
    return bytes(own)


def _overwritten(data, rng):
    start = rng.randrange(len(data))
    new = rng.choice([
        bytes(8),
        b"\xff" * 8,
        (2**62).to_bytes(8, "little"),
        rng.randbytes(rng.randrange(1, 64)),
    ])
    return data[:start] + new + data[start + len(new) :]


def _grown(data, rng):
    start = rng.randrange(len(data))
    piece = data[start : start + rng.randrange(1, 4096)]
    return data[:start] + piece + data[start:]


BYTE_MUTATIONS = [_cut, _flipped, _overwritten, _grown]
NASTY = [
    None, True, -1, 0, 1, 3, 2**31, 10**9, 10**18, 2**70, -0.5, 1e308, float("nan"),
    float("inf"), "", "x" * 100, "../../etc/passwd", "os.system", "cuda:7", "meta",
    "__class__", [], {}, [[]], [10**9] * 3, {"tuple": [10**6, 10**6]}, {"dict": [[1, 2]]},
    {"dict": [["n_layers", 10**9]]}, {"array": [1], "dtype": "O"},
    {"array": ["a"], "dtype": "U1000000000"}, {"array": [1], "dtype": "V1000000000"},
    {"array": [1], "dtype": "i4,(1000000000)f8"}, {"array": [[1], [2, 3]], "dtype": "f4"},
    {"ticks": [1], "dtype": "O"}, {"ticks": [2**70], "dtype": "M8[s]"}, {"tuple": 3},
    {"dict": 3}, {"array": [1]},
    functools.reduce(lambda inner, _: [inner], range(150), 0),
]  # fmt: skip


def _places(value, place=()):
    """Yield the paths of all parts of a JSON value."""
    yield place
    parts = enumerate(value) if isinstance(value, list) else ()
    for key, part in value.items() if isinstance(value, dict) else parts:
        if len(place) < 12:
            yield from _places(part, (*place, key))


def _edited(value, rng):
    """Return a JSON value with one or two parts changed, removed or duplicated."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice([1, 1, 2])):
        *path, last = rng.choice([p for p in _places(value) if p] or [("x",)])
        within = functools.reduce(lambda inner, key: inner[key], path, value)
        kind = rng.randrange(8)
        if kind == 0:
            del within[last]
        elif kind == 1 and isinstance(within, list):
            within.append(copy.deepcopy(rng.choice(within)))
        elif kind == 2 and isinstance(within, dict):
            within[rng.choice(string.ascii_letters)] = copy.deepcopy(within[last])
        else:
            within[last] = copy.deepcopy(rng.choice(NASTY))
    return value


def _other_arrays(arrays, rng):
    """Return named arrays with one removed, renamed, or of another shape or type."""
    arrays = dict(arrays)
    name = rng.choice(list(arrays))
    array = arrays.pop(name)
    kind = rng.randrange(6)
    if kind == 1:
        arrays[rng.choice(["../x", "module.x", "optimizer.x", "optimizer.9.y", ""])] = array
    elif kind == 2:
        arrays[name] = array.reshape(-1)[: rng.randrange(3)].copy()
    elif kind == 3:
        arrays[name] = array.astype(rng.choice(["f8", "i4", "u1", "f2"]))
    elif kind == 4:
        arrays[name] = np.full_like(array, np.nan if array.dtype.kind == "f" else 1)
    elif kind == 5:
        arrays[name] = np.array([array])
    return arrays


def _disguised(rng, canary):
    """Return an object that runs code when unpickled, in some wrapping."""
    payload = pickle.dumps(_Canary(canary))
    buffer = BytesIO()
    kind = rng.randrange(4)
    if kind == 0:
        return payload
    if kind == 1:
        torch.save(_Canary(canary), buffer)
    elif kind == 2:
        np.save(buffer, np.array([_Canary(canary)], dtype=object), allow_pickle=True)
    else:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(rng.choice(["../../x", "/x", "data.pkl"]), payload)
            archive.writestr("bomb", bytes(10**6))
    return buffer.getvalue()


# --- Model files


def _fitted(cls):
    X, y = load_iris(return_X_y=True)
    shapes = {CNNClassifier: (-1, 1, 2, 2), RNNClassifier: (-1, 2, 2)}
    net = cls(max_epochs=1, n_layers=1, early_stopping=True, random_state=0)
    return net.fit(X.reshape(shapes.get(cls, X.shape)), np.array(["a", "b", "c"])[y])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Files of three networks and of a pipeline."""
    folder, found = tmp_path_factory.mktemp("models"), []
    for cls in (MLPClassifier, CNNClassifier, RNNClassifier):
        path = folder / cls.__name__
        _fitted(cls).save(path, overwrite=True)
        found.append(_parts(cls.load, path))
    X, y = load_iris(return_X_y=True)
    net = MLPClassifier(max_epochs=1, n_layers=1, random_state=0)
    table = pd.DataFrame(X, columns=[*"abcd"]).assign(e=np.array(["a", "b"])[y % 2])
    model = make_pipeline(TablePreparer(), StandardScaler(), net).fit(table, y)
    save(model, path, overwrite=True)
    found.append(_parts(load, path))
    return _Files(found)


def _parts(read, path):
    """Return a reader, and a file as bytes, arrays and description."""
    with safetensors.safe_open(path, framework="np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        description = json.loads(file.metadata()["sk_tune"])
    return read, path.read_bytes(), arrays, description


def _written(arrays, description):
    """Return a model file with the right checksum."""
    if isinstance(description, dict):
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        description["checksum"] = _checksum(tensors, description)
    return safetensors.numpy.save(arrays, {"sk_tune": json.dumps(description)})


def _header_edited(data, rng):
    """Return a file of safetensors with another header of the right length."""
    size = int.from_bytes(data[:8], "little")
    header = _edited(json.loads(data[8 : 8 + size]), rng)
    text = json.dumps(header)
    if rng.randrange(3) == 0:
        # A key that is there twice.
        name, own = rng.choice(list(header.items()) or [("x", 1)])
        text = text[:-1] + f",{json.dumps(name)}:{json.dumps(own)}}}"
    return len(text.encode()).to_bytes(8, "little") + text.encode() + data[8 + size :]


def _tampered_model(model, rng, canary):
    _, data, arrays, description = model
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice(BYTE_MUTATIONS)(data, rng)
    if kind == 1:
        return _header_edited(data, rng)
    if kind == 2:
        return _disguised(rng, canary)
    if kind == 3:
        arrays = _other_arrays(arrays, rng)
    return _written(arrays, _edited(description, rng))


@SHORT
@given(seed=st.integers(0, 2**32))
def test_a_model_file_is_read_or_refused(models, tmp_path_factory, seed):
    """Errors name the file, for any change, even with a valid checksum."""
    rng, folder = random.Random(seed), tmp_path_factory.getbasetemp()
    model = rng.choice(models)
    path, canary = folder / "model", folder / "executed"
    path.write_bytes(_tampered_model(model, rng, canary))
    start, text = time.perf_counter(), str(path)
    with warnings.catch_warnings(action="ignore"), _bounded_memory():
        try:
            model[0](path)
        except ValueError as error:
            text = str(error)
    assert str(path) in text, (seed, text)
    assert "MemoryError" not in text, (seed, text)
    assert "allocate" not in text, (seed, text)
    assert not canary.exists(), seed
    assert time.perf_counter() - start < 30, seed


# --- Stores


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The bytes of a store, its keys, and the weights of each."""
    X, y = load_iris(return_X_y=True)
    path = tmp_path_factory.mktemp("store") / "fits.db"
    fits = [
        Fit(estimator=MLPClassifier(width=4, max_epochs=1, random_state=n), X=X, y=y)
        for n in range(3)
    ]
    train(fits, store=path)
    with FitStore(path) as store:
        keys = [key for (key,) in store._database.query("SELECT key FROM fits")]
        right = {k: arrays_of_state(t.state) for k, t in store.load(keys).items()}
        store.vacuum()
    return _Files((path.read_bytes(), keys, right))


def _blob(arrays, rng, canary):
    kind = rng.randrange(4)
    if kind == 0:
        return _disguised(rng, canary)
    blob = safetensors.numpy.save(_other_arrays(arrays, rng) if kind == 1 else arrays)
    return _header_edited(blob, rng) if kind == 2 else blob


def _rewrite_row(connection, rng, canary):
    """Change a row, with the right digest."""
    rows = connection.execute("SELECT key, meta, arrays FROM fits").fetchall()
    key, meta, blob = rng.choice(rows)
    meta = json.dumps(_edited(json.loads(zlib.decompress(meta)), rng))
    meta = zlib.compress(meta.encode())
    blob = _blob(safetensors.numpy.load(blob), rng, canary)
    connection.execute(
        "UPDATE fits SET meta = ?, arrays = ?, digest = ? WHERE key = ?",
        (meta, blob, _digest(key, meta, blob), key),
    )


SCHEMAS = [
    "CREATE VIEW others AS SELECT * FROM fits",
    "CREATE TABLE more (x)",
    "CREATE TRIGGER t AFTER UPDATE ON fits BEGIN DELETE FROM fits; END",
    "ALTER TABLE fits ADD COLUMN x AS (zeroblob(1000000000))",
    "PRAGMA user_version = 99",
    "PRAGMA application_id = 7",
    "ALTER TABLE fits RENAME TO other",
    "DROP TABLE fits; CREATE VIEW fits AS SELECT hex(randomblob(32)) AS key, '{}' AS meta,"
    " zeroblob(900000000) AS arrays, '' AS digest, 1 AS n_epochs, 1.0 AS used",
]


def _tamper_store(path, rng, canary):
    kind = rng.randrange(4)
    if kind == 0:
        path.write_bytes(rng.choice(BYTE_MUTATIONS)(path.read_bytes(), rng))
    elif kind == 1:
        path.write_bytes(_disguised(rng, canary))
    else:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            if kind == 2:
                connection.executescript(rng.choice(SCHEMAS))
            else:
                _rewrite_row(connection, rng, canary)
    return kind


@SHORT
@given(seed=st.integers(0, 2**32))
def test_a_store_is_read_or_refused(stored, tmp_path_factory, seed):
    """Loaded values are right: damaged rows are skipped, and warnings name the file."""
    rng, folder = random.Random(seed), tmp_path_factory.getbasetemp()
    content, keys, right = stored
    path, canary = folder / "fits.db", folder / "executed"
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    path.write_bytes(content)
    kind, said = _tamper_store(path, rng, canary), []
    with warnings.catch_warnings(record=True, action="always") as caught, _bounded_memory():
        found = {}
        try:
            with FitStore(path) as store:
                found = store.load(keys)
                store.verify()
                store.info()
        except StoreError as error:
            said.append(str(error))
    said += [str(warning.message) for warning in caught]
    assert all(str(path) in text for text in said), (seed, said)
    assert not canary.exists(), seed
    if kind == 3:
        # Of rows with a right digest all that can be said is that nothing runs.
        return
    for key, trained in found.items():
        for name, array in arrays_of_state(trained.state).items():
            np.testing.assert_array_equal(array, right[key][name], err_msg=str(seed))
