"""Fast ResNet-34: the authors' embeddings, its size, and that precision, batch and compilation do not change it."""

import copy
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sslsv_tk.encoders.fast_resnet34 import FastResNet34, FastResNet34Config, from_authors

COMPILE = bool(os.environ.get("SSLSV_TEST_COMPILE"))
THIN = FastResNet34Config(widths=(8, 8, 16, 16), blocks=(1, 1, 2, 1), dimension=24)


def made(config: FastResNet34Config = THIN) -> FastResNet34:
    """An encoder whose batch norms have seen something, in evaluation mode."""
    torch.manual_seed(0)
    encoder = FastResNet34(config)
    with torch.no_grad():
        encoder(frames(8))
    return encoder.eval()


def frames(batch: int, length: int = 101, bands: int = 40) -> Tensor:
    return torch.randn(batch, bands, length, generator=torch.Generator().manual_seed(batch + length))


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module")
def reference(shared: Path) -> dict[str, Tensor]:
    arrays = np.load(shared / "reference" / "fast_resnet34_sap.npz")
    return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}


def authors_state(reference: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("state."): value for name, value in reference.items() if name.startswith("state.")}


def test_the_embeddings_are_those_of_the_authors(reference: dict[str, Tensor]) -> None:
    encoder = FastResNet34(FastResNet34Config())
    encoder.load_state_dict(from_authors(authors_state(reference)), strict=True)
    with torch.no_grad():
        found = encoder.eval()(reference["features"])
    assert relative(found, reference["embedding"]) <= 1e-4


def test_every_name_of_the_authors_has_one_of_ours(reference: dict[str, Tensor]) -> None:
    state = authors_state(reference)
    renamed = from_authors(state)
    ours = FastResNet34(FastResNet34Config()).state_dict()
    assert renamed.keys() == ours.keys() and len(renamed) == len(state)
    assert {name: tensor.shape for name, tensor in renamed.items()} == {n: t.shape for n, t in ours.items()}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("conv.weight", "conv.weight"),
        ("bn.running_var", "norm.running_var"),
        ("block1.0.bn1.bias", "blocks.0.norm1.bias"),
        ("block2.0.conv1.weight", "blocks.3.conv1.weight"),
        ("block3.5.bn2.weight", "blocks.12.norm2.weight"),
        ("block4.0.downsample.1.weight", "blocks.13.shortcut.1.weight"),
        ("block4.2.se.fc.2.bias", "blocks.15.excitation.gate.2.bias"),
        ("pooling.attention", "pooling.context"),
        ("pooling.sap_linear.weight", "pooling.projection.weight"),
        ("fc.weight", "embedding.weight"),
    ],
)
def test_a_name_of_the_authors_becomes_ours(theirs: str, ours: str) -> None:
    assert list(from_authors({theirs: torch.zeros(1)})) == [ours]


def test_it_has_as_many_parameters_as_the_paper_says() -> None:
    with torch.device("meta"):
        encoder = FastResNet34(FastResNet34Config())
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 1_437_078


@pytest.mark.parametrize(("bands", "parameters"), [(80, 2_665_622), (40, 2_010_262)])
def test_statistics_of_every_channel_at_every_height_make_it_as_large_as_the_authors(
    bands: int, parameters: int
) -> None:
    with torch.device("meta"):
        encoder = FastResNet34(FastResNet34Config(pooling="statistics", bands=bands))
    assert sum(parameter.numel() for parameter in encoder.parameters()) == parameters
    assert encoder.bands == bands and FastResNet34(THIN).bands is None


@torch.no_grad()
def test_statistics_are_of_each_channel_at_each_height_one_channel_after_the_other() -> None:
    encoder = made(FastResNet34Config((8, 8, 8, 16), (1, 1, 1, 1), pooling="statistics", dimension=24))
    seen: list[Tensor] = []
    encoder.blocks.register_forward_hook(lambda _module, _input, output: seen.append(output))
    encoder.embedding.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    encoder(frames(2))
    x_BCFL, pooled = seen
    expected = torch.zeros(2, 2 * 16 * 5)
    for row in range(2):
        for channel in range(16):
            for height in range(5):
                line = x_BCFL[row, channel, height]
                expected[row, 5 * channel + height] = line.mean()
                expected[row, 16 * 5 + 5 * channel + height] = (line.var(unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(pooled, expected)


@pytest.mark.parametrize("bands", [1, 7, 24, 40, 80, 81])
def test_statistics_fit_any_number_of_bands_that_they_are_made_for(bands: int) -> None:
    encoder = FastResNet34(FastResNet34Config((8, 8, 8, 8), (1, 1, 1, 1), pooling="statistics", bands=bands))
    assert encoder.eval()(frames(2, 30, bands)).shape == (2, 512)


@pytest.mark.parametrize(("length", "bands"), [(1, 40), (8, 80), (201, 40)])
def test_any_length_and_any_number_of_bands_give_one_embedding(length: int, bands: int) -> None:
    encoder = FastResNet34(FastResNet34Config((8, 8, 8, 8), (1, 1, 1, 1), dimension=24))
    found = encoder.eval()(frames(2, length, bands))
    assert found.shape == (2, encoder.dimension) == (2, 24)
    assert found.isfinite().all()


def test_kernels_begin_normal_with_the_deviation_of_their_fan_out() -> None:
    torch.manual_seed(0)
    encoder = FastResNet34(FastResNet34Config())
    kernels = {name: m.weight for name, m in encoder.named_modules() if isinstance(m, torch.nn.Conv2d)}
    assert len(kernels) == 1 + 2 * 16 + 3
    for name, weight in kernels.items():
        outputs, _, height, width = weight.shape
        deviation = (2 / (outputs * height * width)) ** 0.5
        ratio = float(weight.std() / deviation)
        assert ratio == pytest.approx(1, abs=4 * (2 * weight.numel()) ** -0.5), name
        assert weight.numel() < 2000 or weight.abs().max() > 3 * deviation, "no uniform distribution"


def test_the_strides_are_those_of_the_authors() -> None:
    encoder = made(FastResNet34Config(widths=(8, 8, 8, 8), blocks=(1, 1, 1, 1), dimension=4))
    shapes: list[torch.Size] = []
    for block in encoder.blocks:
        block.register_forward_hook(lambda _module, _input, output: shapes.append(output.shape[2:]))
    encoder(frames(1, 200, 40))
    assert [tuple(shape) for shape in shapes] == [(20, 200), (10, 100), (5, 50), (5, 50)]


@torch.no_grad()
def test_the_memory_layout_does_not_change_the_embedding() -> None:
    encoder, x = made(), frames(3)

    def contiguous(image: Tensor) -> Tensor:
        hidden = encoder.relu(encoder.norm(encoder.conv(image.unsqueeze(1).contiguous())))
        return encoder.embedding(encoder.pooling(encoder.blocks(hidden).mean(2)))

    assert relative(encoder(x), contiguous(x)) < 1e-5


def trained_once(encoder: FastResNet34, x: Tensor) -> list[Tensor]:
    """The gradients of one training pass."""
    weight = torch.linspace(-1.0, 1.0, 8 * len(x)).view(len(x), 8)
    (encoder.train()(x) * weight).sum().backward()
    return [parameter.grad for parameter in encoder.parameters() if parameter.grad is not None]


@pytest.mark.parametrize(
    "backend",
    [
        "aot_eager",  # traced forward and backward, without generated code
        pytest.param("inductor", marks=pytest.mark.skipif(not COMPILE, reason="minutes: SSLSV_TEST_COMPILE=1 runs it")),
    ],
)
def test_the_compiled_encoder_is_the_eager_one(backend: str) -> None:
    eager, x = FastResNet34(FastResNet34Config((8, 8, 8, 8), (1, 1, 1, 1), dimension=8)), frames(4, 32, 16)
    compiled = copy.deepcopy(eager)
    compiled.compile(backend=backend)
    for expected, found in zip(trained_once(eager, x), trained_once(compiled, x), strict=True):
        assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()) + 1e-6)
    assert compiled.state_dict().keys() == eager.state_dict().keys()
    with torch.no_grad():
        assert relative(compiled.eval()(x), eager.eval()(x)) < 1e-4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": (0, 8, 8, 8)}, "must be at least 1"),
        ({"blocks": (1, 0, 1, 1)}, "must be at least 1"),
        ({"dimension": 0}, "must be at least 1"),
        ({"bands": 0}, "must be at least 1"),
        ({"widths": (4, 8, 8, 8)}, r"Every width must be at least reduction = 8; found \(4, 8, 8, 8\)"),
    ],
)
def test_sizes_that_make_no_network_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FastResNet34Config(**settings)  # type: ignore[arg-type]
