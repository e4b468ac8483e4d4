"""On a machine with a GPU: three steps of every method give the losses and the weights that they give on the CPU."""

import copy

import pytest
import torch
from small_settings import ENCODERS, METHODS, small_encoder, small_method

from sslsv_tk.methods.base import Method
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts
from sslsv_tk.schedules import Progress
from sslsv_tk.systems.configuration import OptimisationConfig
from sslsv_tk.training.optimisation import clip_gradients, make_optimiser
from sslsv_tk.training.step import TrainingStep

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")


@pytest.fixture(autouse=True)
def exact_products():
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = products.fp32_precision, convolutions.fp32_precision
    products.fp32_precision = convolutions.fp32_precision = "ieee"
    yield
    products.fp32_precision, convolutions.fp32_precision = before


def make(method: str, encoder: str) -> Method:
    torch.manual_seed(0)
    return small_method(method, small_encoder(encoder), 4)


def three_steps(method: Method, device: str) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The losses, and the state after them."""
    method = method.to(device)
    # Not Adam: where a gradient is 0 but for rounding, its first steps are of full length either way.
    optimiser = make_optimiser(method, OptimisationConfig(optimiser="sgd", learning_rate=0.05, weight_decay=5e-5))
    step = TrainingStep(method, PositiveSampler(None, SamplerFacts(9)))
    draw = torch.Generator().manual_seed(1)
    losses = []
    for number in range(3):
        progress = Progress(number / 2, 5)
        views = [
            torch.randn(6, 40, round(100 * segment.seconds) + 1, generator=draw).to(device)
            for segment in method.segments
        ]
        utterance_B = torch.arange(6, device=device)
        method.before_step(progress)
        loss, _ = step(views, utterance_B, None, utterance_B % 4)
        optimiser.zero_grad()
        loss.backward()
        method.after_backward(progress)
        clip_gradients(method.parameters(), 3.0)
        optimiser.step()
        method.after_step(progress)
        losses.append(loss.item())
    return losses, method.state_dict()


@pytest.mark.parametrize("encoder", [name for name, cls in ENCODERS.items() if cls.input == "logmel"])
@pytest.mark.parametrize("name", METHODS)
def test_three_steps(name: str, encoder: str) -> None:
    method = make(name, encoder)
    (on_cpu, cpu_state), (on_gpu, gpu_state) = (three_steps(copy.deepcopy(method), d) for d in ("cpu", "cuda"))
    assert on_gpu == pytest.approx(on_cpu, rel=1e-3, abs=1e-5)
    for key, tensor in cpu_state.items():
        difference = (tensor.double() - gpu_state[key].cpu().double()).abs().max()
        assert difference <= 1e-2 * tensor.abs().max().clamp(min=1e-3), key
