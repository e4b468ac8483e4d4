"""Recomputed blocks against plain ones, to the bit, and parts of a batch against loops over them."""

import copy

import pytest
import torch
from small_settings import ENCODERS, METHODS, small_encoder, small_method
from torch import Tensor, nn

from sslsv_tk.methods import base
from sslsv_tk.nn.recomputation import in_parts, recompute, recomputed
from sslsv_tk.training.computing import blocks_of

ROWS, BANDS, FRAMES = 6, 40, 33


def rows_of(encoder: base.Encoder) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    shape = (ROWS, 160 * FRAMES) if encoder.input == "waveform" else (ROWS, BANDS, FRAMES)
    return torch.randn(shape, generator=draw)


def after_a_step(module: nn.Module, embedding_BD: Tensor) -> dict[str, Tensor]:
    """Gradients and state, by name."""
    weight = torch.linspace(-1, 1, embedding_BD.numel()).view_as(embedding_BD)
    (embedding_BD * weight).sum().backward()
    gradients = {f"gradient of {name}": p.grad for name, p in module.named_parameters() if p.grad is not None}
    return {**gradients, **module.state_dict(), "embedding": embedding_BD.detach()}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("name", ENCODERS)
def test_recomputed_blocks_give_the_same_gradients_and_statistics(name: str) -> None:
    torch.manual_seed(0)
    plain = small_encoder(name).train()
    spare, x = copy.deepcopy(plain), rows_of(plain)
    calls: list[int] = []
    for block in blocks_of(spare):
        block.register_forward_hook(lambda *_: calls.append(1))
    recompute(blocks_of(spare))
    assert_equal(after_a_step(spare, spare(x)), after_a_step(plain, plain(x)))
    with torch.no_grad():
        assert torch.equal(spare.eval()(x), plain.eval()(x))


def test_nothing_but_the_input_is_kept() -> None:
    kept: list[int] = []
    layers = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh()) for _ in range(3)))

    def bytes_kept(x: Tensor) -> int:
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
            layers(x)
        return sum(kept)

    x = torch.randn(50, 8, requires_grad=True)
    before = bytes_kept(x)
    recompute(list(layers))
    assert bytes_kept(x) < before / 3


@pytest.mark.parametrize("name", ENCODERS)
def test_parts_are_passes_one_after_the_other(name: str) -> None:
    """Batch norms see a part, and running statistics move once for each."""
    torch.manual_seed(0)
    plain = small_encoder(name).train()
    spare, x = copy.deepcopy(plain), rows_of(plain)
    expected = torch.cat([plain(x[:2]), plain(x[2:4]), plain(x[4:])])
    assert_equal(after_a_step(spare, in_parts(spare, x, 3)), after_a_step(plain, expected))


def test_parts_of_an_encoder_without_batch_norm_are_the_whole() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4)).double()
    spare, x = copy.deepcopy(plain), torch.randn(7, 5, dtype=torch.float64)
    found, expected = after_a_step(spare, in_parts(spare, x, 3)), after_a_step(plain, plain(x))
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, rtol=1e-12, atol=1e-14), name


@pytest.mark.parametrize("name", METHODS)
def test_every_method_passes_a_batch_in_parts_and_its_loss_sees_all(name: str) -> None:
    """Of a frozen encoder's statistics a step in parts is the step of the whole batch."""
    torch.manual_seed(0)
    method = small_method(name, small_encoder()).double().train()
    for part in method.modules():
        if isinstance(part, base.Encoder):
            part.apply(lambda layer: isinstance(layer, nn.modules.batchnorm._BatchNorm) and frozen(layer))
    other, losses, gradients = copy.deepcopy(method), [], []
    for each, parts in ((method, 1), (other, 3)):
        for part in each.modules():
            if isinstance(part, base.Encoder):
                part.parts = parts
        views = [drawn(number) for number in range(len(each.segments))]
        torch.manual_seed(1)
        anchors_ABP, positives_SBP = each.project(views)
        labels_B = torch.arange(ROWS) % 3 if each.needs_labels else None
        loss = each.loss(base.Pairs(anchors_ABP, positives_SBP, labels_B))
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append(torch.cat([p.grad.flatten() for p in each.encoder.parameters()]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert torch.allclose(gradients[1], gradients[0], rtol=1e-4, atol=1e-6 * float(gradients[0].abs().max()))


def drawn(number: int) -> Tensor:
    """View `number` of a batch."""
    return torch.randn(ROWS, BANDS, FRAMES, generator=torch.Generator().manual_seed(number)).double()


def frozen(norm: nn.modules.batchnorm._BatchNorm) -> None:
    """A batch norm that normalises by its running statistics while the rest trains."""
    norm.train = lambda mode=True: norm
    norm.training = False


def test_without_a_gradient_nothing_is_computed_twice() -> None:
    calls: list[int] = []

    def forward(x: Tensor) -> Tensor:
        calls.append(1)
        return x.exp()

    with torch.no_grad():
        recomputed(nn.Identity(), forward, torch.ones(2))
    assert len(calls) == 1
    recomputed(nn.Identity(), forward, torch.ones(2, requires_grad=True)).sum().backward()
    assert len(calls) == 3
