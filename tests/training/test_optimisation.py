import pytest
import torch
from torch import nn

from sslsv_tk.training.configuration import OptimisationConfig, TrainingConfig
from sslsv_tk.training.optimisation import learning_rate, make_optimiser, set_learning_rate


def test_the_rate_falls_once_per_so_many_epochs_over_both_stages():
    config = OptimisationConfig(learning_rate=1e-3, decay=0.95, decay_epochs=5)
    rates = [learning_rate(config, epoch, continued=epoch >= 100) for epoch in range(120)]
    expected, rate = [], 1e-3
    for _ in range(24):
        expected += [rate] * 5
        rate *= 0.95
    assert rates == pytest.approx(expected, rel=1e-12)


def test_stage_5_may_have_a_rate_of_its_own():
    config = OptimisationConfig(learning_rate=0.01, decay=0.5, decay_epochs=1, continued_factor=0.1)
    assert learning_rate(config, 1, continued=False) == pytest.approx(0.005)
    assert learning_rate(config, 1, continued=True) == pytest.approx(0.0005)


def test_the_rate_is_set_in_every_group_and_frozen_parameters_are_left_out():
    module = nn.ModuleDict({"trained": nn.Linear(2, 3), "frozen": nn.Linear(3, 1)})
    module["frozen"].requires_grad_(False)
    optimiser = make_optimiser(module, OptimisationConfig(weight_decay=0.1))
    found = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    assert [id(p) for p in found] == [id(p) for p in module["trained"].parameters()]
    set_learning_rate(optimiser, 0.25)
    assert {group["lr"] for group in optimiser.param_groups} == {0.25}
    assert {group["weight_decay"] for group in optimiser.param_groups} == {0.1}


def test_a_step_is_that_of_adam_written_out():
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 2.0)
    optimiser = make_optimiser(module, OptimisationConfig(learning_rate=0.1))
    m = v = 0.0
    weight = 2.0
    for step in range(1, 6):
        optimiser.zero_grad()
        (module.weight**2).sum().backward()
        optimiser.step()
        gradient = 2 * weight
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        weight -= 0.1 * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)) ** 0.5 + 1e-8)
        torch.testing.assert_close(module.weight.item(), weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "settings", [{"learning_rate": 0.0}, {"decay": 0.0}, {"decay": 1.1}, {"decay_epochs": 0}, {"continued_factor": 0.0}]
)
def test_nonsense_is_refused(settings):
    with pytest.raises(ValueError, match="optimisation"):
        OptimisationConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "training.epochs must be at least 1; found 0"),
        ({"batch_size": -1}, "training.batch_size must be at least 1"),
        ({"continued_epochs": -1}, "must not be negative"),
        ({"loader_workers": -2}, "must not be negative"),
        ({"seed": -1}, "training.seed must be from 0"),
        ({"seed": 2**63}, "training.seed must be from 0"),
        ({"average_epochs": 4, "keep_epochs": 3}, "keep_epochs = 3 is fewer"),
    ],
)
def test_a_run_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**settings)
