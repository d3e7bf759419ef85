"""Copies of a net's state."""

import torch

from sk_tune.estimators._net_state import cloned, moved


def _state(make_estimator, task_data):
    net = make_estimator("MLPRegressor", early_stopping=True, max_epochs=3)
    return net.fit(*task_data("MLPRegressor")).net_.__dict__


def test_clone_does_not_follow_the_module():
    """Training on changes the module, not the copy."""
    module = torch.nn.Linear(2, 1)
    copy = cloned(module.state_dict())
    expected = module.weight.detach().tolist()

    with torch.no_grad():
        module.weight.zero_()

    assert copy["weight"].tolist() == expected


def test_moved_optimizer_holds_the_moved_modules_parameters(make_estimator, task_data):
    """The optimizer of the copy updates the module of the copy."""
    state = _state(make_estimator, task_data)
    copy = moved(state, "cpu")

    held = copy["optimizer_"].param_groups[0]["params"]

    assert [id(p) for p in held] == [id(p) for p in copy["module_"].parameters()]
    assert copy["module"] is copy["module_"]
    assert copy["module_"] is not state["module_"]


def test_moved_state_has_the_same_numbers(make_estimator, task_data):
    """Weights, kept weights and moments are equal, and shared with nothing."""
    state = _state(make_estimator, task_data)
    copy = moved(state, "cpu")

    for name in ("last_weights_", "best_weights_"):
        for key, tensor in state[name].items():
            assert torch.equal(copy[name][key], tensor)
    moments = zip(
        copy["optimizer_"].state.values(), state["optimizer_"].state.values(), strict=True
    )
    for ours, theirs in moments:
        assert torch.equal(ours["exp_avg"], theirs["exp_avg"])
        assert ours["exp_avg"] is not theirs["exp_avg"]
