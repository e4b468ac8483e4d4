import copy
import math

import pytest
import torch
from torch import nn

from sslsv_tk.schedules import Progress
from sslsv_tk.systems.configuration import OptimisationConfig, TrainingConfig
from sslsv_tk.training.lars import LARS
from sslsv_tk.training.optimisation import clip_gradients, learning_rate, make_optimiser, set_learning_rate


def at(epochs: float, span: float = 120) -> Progress:
    return Progress(epochs, span)


def test_the_rate_falls_once_per_so_many_epochs_over_both_stages():
    config = OptimisationConfig(learning_rate=1e-3, decay=0.95, decay_epochs=5)
    rates = [learning_rate(config, at(epoch + 0.9), continued=epoch >= 100) for epoch in range(120)]
    expected, rate = [], 1e-3
    for _ in range(24):
        expected += [rate] * 5
        rate *= 0.95
    assert rates == pytest.approx(expected, rel=1e-12)


def test_stage_5_may_have_a_rate_of_its_own():
    config = OptimisationConfig(learning_rate=0.01, decay=0.5, decay_epochs=1, continued_factor=0.1)
    assert learning_rate(config, at(1), continued=False) == pytest.approx(0.005)
    assert learning_rate(config, at(1), continued=True) == pytest.approx(0.0005)


def test_the_cosine_changes_at_every_step_and_ends_with_the_span():
    config = OptimisationConfig(
        learning_rate=0.2, schedule="cosine", warm_up_epochs=10, final_learning_rate=1e-5, optimiser="sgd"
    )
    assert learning_rate(config, at(0.25, 100), continued=False) == pytest.approx(0.2 * 0.025)
    assert learning_rate(config, at(10, 100), continued=False) == pytest.approx(0.2)
    assert learning_rate(config, at(55, 100), continued=False) == pytest.approx((0.2 + 1e-5) / 2)
    assert learning_rate(config, at(100, 100), continued=True) == pytest.approx(1e-5)


def test_a_cosine_as_long_as_the_span_is_cut_off_by_the_warm_up_before_it():
    """The rate that made DINO's published figures, by a list of all steps: warm-up, then 100 epochs, cut at 100."""
    steps, warm, span = 3, 10, 100
    peak, end = 0.2, 1e-5
    every = [peak * step / (warm * steps) for step in range(warm * steps)]
    every += [
        end + 0.5 * (peak - end) * (1 + math.cos(math.pi * step / (span * steps))) for step in range(span * steps + 1)
    ]
    config = OptimisationConfig(
        "sgd", learning_rate=peak, schedule="cosine", warm_up_epochs=warm, final_learning_rate=end, cosine_length="span"
    )
    found = [learning_rate(config, at(step / steps, span), continued=False) for step in range(span * steps + 1)]
    assert found == pytest.approx(every[: len(found)], rel=1e-9, abs=1e-12)
    named = [learning_rate(config, at(epoch, 100), continued=epoch > 80) for epoch in (40, 80, 89, 100)]
    assert named == pytest.approx([0.1588, 0.0412, 0.0210, 0.0049], abs=5e-5)
    assert learning_rate(config, at(500, 100), continued=True) == pytest.approx(end)


def test_a_cosine_over_the_rest_of_the_span_is_the_textbook_s():
    config = OptimisationConfig("sgd", learning_rate=0.2, schedule="cosine", warm_up_epochs=10)
    named = [learning_rate(config, at(epoch, 100), continued=epoch > 80) for epoch in (40, 80, 89, 100)]
    assert named == pytest.approx([0.1500, 0.0234, 0.0073, 0.00001], abs=5e-5)


def test_the_rate_is_set_in_every_group_and_frozen_parameters_are_left_out():
    module = nn.ModuleDict({"trained": nn.Linear(2, 3), "frozen": nn.Linear(3, 1)})
    module["frozen"].requires_grad_(False)
    optimiser = make_optimiser(module, OptimisationConfig(weight_decay=0.1))
    found = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    assert [id(p) for p in found] == [id(p) for p in module["trained"].parameters()]
    set_learning_rate(optimiser, 0.25)
    assert {group["lr"] for group in optimiser.param_groups} == {0.25}


@pytest.mark.parametrize("name", ["adam", "sgd", "lars"])
def test_biases_and_norms_are_not_decayed(name):
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    optimiser = make_optimiser(module, OptimisationConfig(optimiser=name, weight_decay=0.1))
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert {p.ndim: decay[id(p)] for p in module.parameters()} == {2: 0.1, 1: 0.0}


def test_a_step_is_that_of_sgd_with_momentum_written_out():
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 2.0)
    config = OptimisationConfig(optimiser="sgd", learning_rate=0.1, momentum=0.9, weight_decay=0.01)
    optimiser = make_optimiser(module, config)
    weight, velocity = 2.0, 0.0
    for _ in range(5):
        optimiser.zero_grad()
        (module.weight**2).sum().backward()
        optimiser.step()
        velocity = 0.9 * velocity + 2 * weight + 0.01 * weight
        weight -= 0.1 * velocity
        torch.testing.assert_close(module.weight.item(), weight, rtol=1e-5, atol=1e-6)


def test_steps_are_those_of_lars_written_out():
    """A matrix moves by a share of its norm whatever its gradient's, a bias by its gradient."""
    module = nn.Linear(3, 2).double()
    config = OptimisationConfig(optimiser="lars", learning_rate=0.5, momentum=0.8, weight_decay=0.1, trust=0.02)
    optimiser = make_optimiser(module, config)
    matrix, bias = (parameter.detach().clone() for parameter in (module.weight, module.bias))
    velocities = [torch.zeros_like(matrix), torch.zeros_like(bias)]
    for step in range(4):
        steep = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(step)) * 10.0**step
        module.weight.grad, module.bias.grad = steep.clone(), torch.full((2,), 0.3, dtype=torch.float64)
        optimiser.step()
        direction = steep + 0.1 * matrix
        length = float((direction**2).sum()) ** 0.5
        velocities[0] = 0.8 * velocities[0] + 0.02 * float((matrix**2).sum()) ** 0.5 / length * direction
        velocities[1] = 0.8 * velocities[1] + 0.3
        matrix, bias = matrix - 0.5 * velocities[0], bias - 0.5 * velocities[1]
        torch.testing.assert_close(module.weight.detach(), matrix)
        torch.testing.assert_close(module.bias.detach(), bias)


def test_lars_moves_a_matrix_of_zeros_by_its_gradient_and_leaves_one_without_a_gradient():
    zeros, same, unused = (nn.Parameter(torch.full((2, 2), value)) for value in (0.0, 1.0, 1.0))
    optimiser = LARS([{"params": [zeros, same, unused]}], lr=0.1)
    zeros.grad, same.grad = torch.ones(2, 2), torch.zeros(2, 2)
    optimiser.step()
    torch.testing.assert_close(zeros.detach(), torch.full((2, 2), -0.1))
    assert torch.equal(same.detach(), torch.ones(2, 2)) and torch.equal(unused.detach(), torch.ones(2, 2))


def test_lars_read_back_goes_on_identically():
    def gradient(step: int) -> torch.Tensor:
        return torch.randn(2, 2, generator=torch.Generator().manual_seed(step))

    first = nn.Parameter(torch.eye(2))
    one = LARS([{"params": [first]}], lr=0.1)
    for step in range(3):
        first.grad = gradient(step)
        one.step()
    second = nn.Parameter(first.detach().clone())
    other = LARS([{"params": [second]}], lr=0.1)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for step in range(3, 6):
        for parameter, optimiser in ((first, one), (second, other)):
            parameter.grad = gradient(step)
            optimiser.step()
    assert torch.equal(first, second) and not torch.equal(first, torch.eye(2))


def test_each_gradient_is_cut_to_the_largest_norm_on_its_own():
    module = nn.ModuleDict({"steep": nn.Linear(3, 2, bias=False), "flat": nn.Linear(3, 2, bias=False)})
    module["frozen"] = nn.Linear(2, 2)
    steep, flat = torch.full((2, 3), 10.0), torch.full((2, 3), 0.1)
    module["steep"].weight.grad, module["flat"].weight.grad = steep.clone(), flat.clone()
    clip_gradients(module.parameters(), 3.0)
    torch.testing.assert_close(module["steep"].weight.grad, steep * 3 / steep.norm())
    assert torch.equal(module["flat"].weight.grad, flat)
    assert module["frozen"].weight.grad is None


def test_a_gradient_that_is_no_number_is_not_hidden():
    layer = nn.Linear(2, 2)
    layer.weight.grad = torch.full((2, 2), torch.nan)
    clip_gradients(layer.parameters(), 3.0)
    assert layer.weight.grad.isnan().all()


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
    "settings",
    [
        {"learning_rate": 0.0},
        {"decay": 0.0},
        {"decay": 1.1},
        {"decay_epochs": 0},
        {"continued_factor": 0.0},
        {"momentum": 1.0},
        {"weight_decay": -0.1},
        {"schedule": "cosine", "final_learning_rate": 0.01},
        {"schedule": "cosine", "warm_up_epochs": -1.0},
        {"schedule": "stepwise", "warm_up_epochs": 5.0},
        {"schedule": "stepwise", "cosine_length": "span"},
        {"gradient_clip": 0.0},
    ],
)
def test_nonsense_is_refused(settings):
    with pytest.raises(ValueError, match="optimisation"):
        OptimisationConfig(**settings)


def test_the_end_of_the_cosine_does_not_bind_the_other_schedule():
    assert OptimisationConfig(learning_rate=1e-6, schedule="stepwise").final_learning_rate > 1e-6


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
        ({"continued_average_epochs": 0}, "at least 1, or null; found 0"),
    ],
)
def test_a_run_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**settings)
