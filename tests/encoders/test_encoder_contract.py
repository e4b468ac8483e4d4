"""What every encoder of the registry owes, plugins too, as docs/add_an_encoder.md explains it.

pytest tests/encoders/test_encoder_contract.py -k my_encoder
"""

import copy
import dataclasses

import pytest
import torch
from small_settings import ENCODERS, small_encoder
from torch import Tensor
from torch.nn import functional

from sslsv_tk import config
from sslsv_tk.encoders.base import Encoder

BANDS, HOP = 40, 160


def made(name: str) -> Encoder:
    """A small encoder whose batch norms have seen something, in evaluation mode."""
    torch.manual_seed(0)
    encoder = small_encoder(name)
    with torch.no_grad():
        encoder.train()(frames(encoder, 8))
    return encoder.eval()


@pytest.fixture(params=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return made(request.param)


def frames(encoder: Encoder, batch: int, length: int = 51, bands: int | None = None) -> Tensor:
    """Its input: log-mel frames, or as many samples as make them."""
    draw = torch.Generator().manual_seed(batch + length)
    if encoder.input == "waveform":
        return 0.1 * torch.randn(batch, HOP * length, generator=draw)
    return torch.randn(batch, bands or encoder.bands or BANDS, length, generator=draw)


def assert_near(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


@pytest.mark.parametrize("name", ENCODERS)
def test_the_settings_are_a_frozen_dataclass_whose_defaults_are_accepted(name: str) -> None:
    settings = ENCODERS[name].Config()
    assert dataclasses.is_dataclass(settings) and type(settings).__dataclass_params__.frozen
    assert config.build(ENCODERS[name].Config, config.to_dict(settings)) == settings, "they go through a YAML file"
    with torch.device("meta"):
        encoder = ENCODERS[name](settings)
    assert encoder.input in ("logmel", "waveform") and encoder.bands in (None, BANDS)
    assert encoder(frames(encoder, 2).to("meta")).shape == (2, encoder.dimension)


@torch.no_grad()
def test_an_embedding_is_a_row_of_the_width_it_says(encoder: Encoder) -> None:
    found = encoder(frames(encoder, 3))
    assert found.shape == (3, encoder.dimension) and found.dtype == torch.float32 and found.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 4, 7, 33, 100, 251])
def test_any_length_has_an_embedding_or_is_refused_with_the_least(encoder: Encoder, length: int) -> None:
    """Extraction hands whole utterances over."""
    try:
        found = encoder(frames(encoder, 2, length))
    except ValueError as error:
        assert length < 20, "segments of a fifth of a second are trained on"
        assert str(length) in str(error) and "at least" in str(error)
        return
    assert found.shape == (2, encoder.dimension) and found.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("level", [0.0, -13.8, 60.0])
def test_an_input_without_any_change_has_a_finite_embedding(encoder: Encoder, level: float) -> None:
    """Silence, before the front end's normalisation and after."""
    assert encoder(torch.full_like(frames(encoder, 2), level)).isfinite().all()


@torch.no_grad()
def test_other_bands_are_taken_or_refused_as_the_encoder_says(encoder: Encoder) -> None:
    if encoder.input == "waveform":
        assert encoder.bands is None
    elif encoder.bands is None:
        assert encoder(frames(encoder, 2, bands=80)).shape == (2, encoder.dimension)
    else:
        with pytest.raises((ValueError, RuntimeError)):
            encoder(frames(encoder, 2, bands=2 * encoder.bands))


@torch.no_grad()
def test_a_batch_is_its_utterances_one_by_one(encoder: Encoder) -> None:
    x = frames(encoder, 5)
    assert_near(encoder(x), torch.cat([encoder(row[None]) for row in x]))


@torch.no_grad()
def test_utterances_have_different_embeddings(encoder: Encoder) -> None:
    rows = functional.normalize(encoder(frames(encoder, 4)), dim=1)
    assert float((rows @ rows.T).fill_diagonal_(0).max()) < 1 - 1e-6


@torch.no_grad()
def test_evaluation_leaves_no_trace(encoder: Encoder) -> None:
    before, x = copy.deepcopy(encoder.state_dict()), frames(encoder, 4)
    first = encoder(x)
    assert torch.equal(encoder(x), first), "and no chance plays a part"
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


@torch.no_grad()
@pytest.mark.parametrize("name", ENCODERS)
def test_the_state_makes_the_same_encoder(name: str) -> None:
    encoder, x = made(name), frames(made(name), 3)
    torch.manual_seed(1)
    other = small_encoder(name).eval()
    assert not torch.equal(other(x), encoder(x))
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(other(x), encoder(x))


@torch.no_grad()
def test_bf16_is_close_to_single_precision(encoder: Encoder) -> None:
    x = frames(encoder, 4, 101)
    with torch.autocast("cpu", torch.bfloat16):
        found = encoder(x).float()
    assert found.isfinite().all()
    assert functional.cosine_similarity(found, encoder(x)).min() > 0.99


def test_every_parameter_gets_a_gradient(encoder: Encoder) -> None:
    encoder.train()(frames(encoder, 4)).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    silent = {name for name, gradient in gradients.items() if not gradient.any()}  # type: ignore[union-attr]
    allowed = (".gate.", "score.bias")  # a ReLU that is off; what a softmax over frames ignores
    assert all(any(part in name for part in allowed) for name in silent), silent


def test_the_compiled_encoder_is_the_eager_one(encoder: Encoder) -> None:
    """Traced forward and backward, without generated code."""
    x = frames(encoder.train(), 4, 31)
    compiled = copy.deepcopy(encoder)
    compiled.compile(backend="aot_eager")
    weight = torch.linspace(-1.0, 1.0, 4 * encoder.dimension).view(4, -1)
    for each in (encoder, compiled):
        (each(x) * weight).sum().backward()
    for expected, found in zip(encoder.parameters(), compiled.parameters(), strict=True):
        if expected.requires_grad:
            assert expected.grad is not None and found.grad is not None
            assert torch.allclose(found.grad, expected.grad, atol=1e-4 * float(expected.grad.abs().max()) + 1e-5)
