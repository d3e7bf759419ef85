"""Parameters have the effects that their descriptions promise.

Those of the training and of the networks are held against an independent loop, in
``tests/parity``; these are the others.
"""

import inspect
import re

import numpy as np
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier as SklearnMLP
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

import sk_tune


def _exact(name):
    """Return parameters without which a user's module would draw random numbers."""
    return {"module__p": 0.0} if name.startswith("Net") else {}


def test_only_a_warm_start_continues(name, make_estimator, task_data, outputs):
    """A warm start trains as many epochs again, and the loss decreases further."""
    data = task_data(name)
    once = make_estimator(name).fit(*data)

    anew, further = (
        make_estimator(name, warm_start=is_warm).fit(*data).fit(*data)
        for is_warm in (False, True)
    )

    np.testing.assert_array_equal(outputs(anew, data.X), outputs(once, data.X))
    assert (anew.n_epochs_, further.n_epochs_) == (2, 4)
    assert further.history_[-1]["train_loss"] < anew.history_[-1]["train_loss"]


def test_a_network_has_the_requested_dtype_and_device(
    name, make_estimator, task_data, outputs
):
    """Of weights and outputs; both types give the same training."""
    X, y = task_data(name)
    result = []
    for dtype in ("float32", "float64"):
        net = make_estimator(name, dtype=dtype, device="cpu", **_exact(name)).fit(X, y)

        kinds = {(p.dtype, p.device.type) for p in net.net_.module_.parameters()}
        assert kinds == {(getattr(torch, dtype), "cpu")}
        assert outputs(net, X).dtype == dtype
        result.append(outputs(net, X))
    np.testing.assert_allclose(*result, atol=1e-3)
    assert (result[0] != result[1]).any()


class Rows(Callback):
    """Record the number of rows of every training batch by epoch."""

    def __init__(self):
        self.epochs = []

    def on_epoch_begin(self, net, **kwargs):
        self.epochs.append([])

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        if training:
            self.epochs[-1].append(len(batch[0]))


def test_callbacks_observe_the_training(name, make_estimator, task_data, outputs):
    """They are called for every batch and do not change the result."""
    X, y = task_data(name)
    rows = Rows()

    watched = make_estimator(name, callbacks=[rows], max_epochs=3).fit(X, y)

    assert rows.epochs == [[16, 16, 16, 12]] * 3
    # With callbacks torch trains, which rounds differently from the kernel.
    plain = make_estimator(name, max_epochs=3).fit(X, y)
    np.testing.assert_allclose(outputs(watched, X), outputs(plain, X), rtol=1e-4, atol=1e-6)


def test_a_verbose_training_prints_each_epoch(name, make_estimator, task_data, capsys):
    """Below the two lines of skorch's heading; without `verbose` no line is printed."""
    make_estimator(name, verbose=0).fit(*task_data(name))
    silent = capsys.readouterr()
    make_estimator(name, verbose=1).fit(*task_data(name))
    loud = capsys.readouterr()

    assert (silent.out, silent.err, loud.err) == ("", "", "")
    assert [line.split()[0] for line in loud.out.strip().splitlines()[2:]] == ["1", "2"]


@pytest.mark.parametrize("name", ["NetClassifier", "NetRegressor"])
def test_a_module_is_trained(name, make_estimator, task_data, outputs):
    """A class is instantiated; an instance is copied with its weights, and not changed."""
    X, y = task_data(name)
    plain = make_estimator(name).fit(X, y)
    Net = make_estimator(name).module

    class OtherNet(Net):
        def forward(self, x):
            return self.output(torch.relu(self.hidden(x)))

    ready = OtherNet(8, plain.n_outputs_)
    initial = [p.clone() for p in ready.parameters()]
    fits = [plain, *(make_estimator(name, module=m).fit(X, y) for m in (OtherNet, ready))]
    unmoved = make_estimator(name, module=ready, learning_rate=1e-30).fit(X, y)

    assert [type(fit.net_.module_) for fit in fits] == [Net, OtherNet, OtherNet]
    assert fits[2].net_.module_ is not ready
    for same in (ready, unmoved.net_.module_):
        assert all(map(torch.equal, initial, same.parameters()))
    for k, fit in enumerate(fits):
        for other in fits[:k]:
            assert not np.allclose(outputs(fit, X), outputs(other, X), rtol=0, atol=1e-6)


def test_the_constructor_takes_keywords_and_stores_them(name):
    """Arguments are stored unchanged; layer sizes or a module may be positional."""
    signature = dict(inspect.signature(getattr(sk_tune, name)).parameters)
    signature.pop("module__parameters", None)
    given = {parameter: object() for parameter in signature}
    estimator = getattr(sk_tune, name)(**given)
    positional = [k for k, p in signature.items() if p.kind is not p.KEYWORD_ONLY]

    assert all(getattr(estimator, key) is value for key, value in given.items())
    first = {"Net": ["module"], "MLP": ["hidden_layer_sizes"]}
    assert positional == first.get(name[:3], [])


def test_a_clone_has_equal_parameters_of_its_own(name, make_estimator, task_data):
    """As scikit-learn's clones: unfitted, with copies of lists, and requests of weights."""
    net = make_estimator(name)
    fitted = clone(net).fit(*task_data(name))
    assert clone(fitted).get_params() == clone(net).get_params() == net.get_params()
    assert vars(clone(fitted)).keys() == vars(net).keys()

    callbacks = [Callback()]
    assert clone(net.set_params(callbacks=callbacks)).callbacks[0] is not callbacks[0]

    with sklearn.config_context(enable_metadata_routing=True):
        net = make_estimator(name).set_fit_request(sample_weight=True)
        assert clone(net).get_metadata_routing().fit.requests["sample_weight"] is True


def test_names_of_scikit_learns_mlp_get_advice(name):
    """Advice exists for each parameter of scikit-learn's MLP that is missing here."""
    cls = getattr(sk_tune, name)
    names = inspect.signature(cls).parameters
    others = {*inspect.signature(SklearnMLP).parameters, "hidden_size", "width"}
    others.add("patience")
    without_one = {"shuffle", "beta_2", "epsilon", "max_fun"}
    module = {"module": torch.nn.Linear} if name.startswith("Net") else {}

    assert len(others - set(names)) >= 11
    for other in others - set(names):
        with pytest.raises(TypeError, match=rf"argument '{other}'\. [A-Z]") as made:
            cls(**module, **{other: 1})
        with pytest.raises(ValueError, match=rf"parameter '{other}' .*\]\. [A-Z]") as set_:
            cls(**module).set_params(**{other: 1})
        advice = str(made.value).split("'. ", 1)[1]
        assert str(set_.value).endswith(advice)
        named = set(re.findall("'([a-z_]+)'", advice))
        assert named & {*names, f"module__{other}"} or other in without_one


def test_a_search_gives_advice_on_names_of_scikit_learns_mlp():
    """An error on a parameter of scikit-learn's MLP suggests the name here."""
    pipe = make_pipeline(StandardScaler(), sk_tune.MLPClassifier())
    X, y = np.arange(20.0).reshape(-1, 1), [0, 1] * 10

    with pytest.raises(ValueError, match="Use 'weight_decay'"):
        sk_tune.GridSearchCV(pipe, {"mlpclassifier__alpha": [1]}).fit(X, y)
