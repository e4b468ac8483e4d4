"""What all methods share: evaluation mode that leaves no trace, and unit reference embeddings."""

import copy

import pytest
import torch
from torch import nn

from sslsv_tk.encoders.fast_resnet34 import FastResNet34, FastResNet34Config
from sslsv_tk.methods.base import Method, Pairs, evaluation_mode
from sslsv_tk.methods.simclr import SimCLR, SimCLRConfig
from sslsv_tk.schedules import Progress


@pytest.fixture
def method() -> SimCLR:
    torch.manual_seed(0)
    return SimCLR(FastResNet34(FastResNet34Config((8, 8, 8, 8), (1, 1, 1, 1), dimension=12)), SimCLRConfig())


def modes(module: nn.Module) -> list[bool]:
    return [part.training for part in module.modules()]


def test_each_part_gets_its_own_mode_back(method: SimCLR) -> None:
    method.train()
    method.encoder.norm.eval()  # a part that is kept in evaluation mode on purpose
    before = modes(method)
    assert True in before and False in before
    with evaluation_mode(method):
        assert not any(modes(method))
    assert modes(method) == before


def test_the_mode_comes_back_after_an_error(method: SimCLR) -> None:
    before = modes(method)
    with pytest.raises(RuntimeError, match="stop"), evaluation_mode(method):
        raise RuntimeError("stop")
    assert modes(method) == before


def test_reference_embeddings_are_unit_rows_of_the_encoder_in_evaluation_mode(method: SimCLR) -> None:
    x = torch.randn(4, 40, 51)
    found = method.embed_reference(x)
    assert torch.allclose(found.norm(dim=1), torch.ones(4), atol=1e-6)
    assert not found.requires_grad and found.dtype == torch.float32
    with torch.no_grad():
        raw = copy.deepcopy(method.encoder).eval()(x)
    assert torch.allclose(found, raw / raw.norm(dim=1, keepdim=True), atol=1e-6)


def test_reference_embeddings_leave_no_trace(method: SimCLR) -> None:
    before, state = modes(method), copy.deepcopy(method.state_dict())
    method.embed_reference(torch.randn(4, 40, 51))
    assert modes(method) == before
    assert all(torch.equal(tensor, state[name]) for name, tensor in method.state_dict().items())


def test_reference_embeddings_do_not_depend_on_the_batch(method: SimCLR) -> None:
    x = torch.randn(4, 40, 51)
    alone = torch.cat([method.embed_reference(row[None]) for row in x])
    assert torch.allclose(method.embed_reference(x), alone, atol=1e-5)


def test_a_training_pass_does_change_the_statistics(method: SimCLR) -> None:
    before = method.encoder.norm.running_mean.clone()
    method.project([torch.randn(4, 40, 51)] * 2)
    assert not torch.equal(method.encoder.norm.running_mean, before)


def test_what_a_method_need_not_have_does_nothing(method: SimCLR) -> None:
    state = copy.deepcopy(method.state_dict())
    progress = Progress(0.5, span=20)
    method.before_step(progress)
    method.after_backward(progress)
    method.after_step(progress)
    assert method.measures() == {}
    assert method.scoring_encoder() is method.encoder
    assert all(torch.equal(tensor, state[name]) for name, tensor in method.state_dict().items())


def test_a_method_without_projection_or_loss_says_so(method: SimCLR) -> None:
    bare = Method(method.encoder, None)
    with pytest.raises(NotImplementedError):
        bare.project([])
    with pytest.raises(NotImplementedError):
        bare.loss(Pairs(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3)))
