"""ECAPA-TDNN: the authors' embeddings, its sizes, each part against a loop, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sslsv_tk.encoders.ecapa_tdnn import ECAPATDNN, ECAPATDNNConfig, FrameLayer, GroupedContext, from_authors

THIN = ECAPATDNNConfig(bands=10, channels=16, scale=4, excitation=4, attention=6, dimension=12)


def made(config: ECAPATDNNConfig = THIN) -> ECAPATDNN:
    """An encoder whose batch norms have seen something, in evaluation mode."""
    torch.manual_seed(0)
    encoder = ECAPATDNN(config)
    with torch.no_grad():
        encoder(frames(8, bands=config.bands))
    return encoder.eval()


def frames(batch: int, length: int = 51, bands: int = 10) -> Tensor:
    return torch.randn(batch, bands, length, generator=torch.Generator().manual_seed(batch + length))


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module")
def reference(shared: Path) -> dict[str, Tensor]:
    arrays = np.load(shared / "reference" / "ecapa_tdnn_c64.npz")
    return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}


def authors_state(reference: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("state."): value for name, value in reference.items() if name.startswith("state.")}


def test_the_embeddings_are_those_of_the_authors(reference: dict[str, Tensor]) -> None:
    encoder = ECAPATDNN(ECAPATDNNConfig(channels=64))
    encoder.load_state_dict(from_authors(authors_state(reference)), strict=True)
    with torch.no_grad():
        found = encoder.eval()(reference["features"])
    assert relative(found, reference["embedding"]) <= 1e-4


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("blocks.0.conv.conv.weight", "first.conv.weight"),
        ("blocks.0.norm.running_var", "first.norm.running_var"),
        ("blocks.1.tdnn1.conv.conv.bias", "blocks.0.layers.0.conv.bias"),
        ("blocks.2.res2net_block.blocks.6.conv.conv.weight", "blocks.1.layers.1.layers.6.conv.weight"),
        ("blocks.3.res2net_block.blocks.0.norm.bias", "blocks.2.layers.1.layers.0.norm.bias"),
        ("blocks.3.tdnn2.norm.weight", "blocks.2.layers.2.norm.weight"),
        ("blocks.1.se_block.conv2.conv.bias", "blocks.0.layers.3.gate.2.bias"),
        ("mfa.conv.conv.weight", "aggregation.conv.weight"),
        ("asp.tdnn.conv.conv.weight", "pooling.hidden.weight"),
        ("asp.tdnn.norm.bias", "pooling.norm.bias"),
        ("asp.conv.conv.weight", "pooling.score.weight"),
        ("asp_bn.running_mean", "norm.running_mean"),
        ("fc.conv.bias", "embedding.bias"),
    ],
)
def test_a_name_of_the_authors_becomes_ours(theirs: str, ours: str) -> None:
    assert list(from_authors({theirs: torch.zeros(1)})) == [ours]
    assert ours in ECAPATDNN(ECAPATDNNConfig(channels=16)).state_dict()


@pytest.mark.parametrize(("channels", "parameters"), [(64, 427_192), (1024, 22_529_152)])
def test_it_has_as_many_parameters_as_the_paper_says(channels: int, parameters: int) -> None:
    with torch.device("meta"):
        encoder = ECAPATDNN(ECAPATDNNConfig(channels=channels))
    assert sum(parameter.numel() for parameter in encoder.parameters()) == parameters


def test_the_parameter_counts_are_those_of_the_reference(reference: dict[str, Tensor]) -> None:
    assert (int(reference["parameters"]), int(reference["parameters_c1024"])) == (427_192, 22_529_152)


@torch.no_grad()
@pytest.mark.parametrize(("kernel", "dilation"), [(5, 1), (3, 2), (3, 4), (1, 1)])
def test_a_layer_mirrors_the_ends(kernel: int, dilation: int) -> None:
    layer, x = FrameLayer(3, 4, kernel, dilation).eval(), frames(2, 9, 3)
    half, expected = kernel // 2, torch.zeros(2, 4, 9)
    for frame in range(9):
        for tap in range(kernel):
            place = frame + (tap - half) * dilation
            place = abs(place) if place <= 8 else 16 - place  # the frames at the ends are not repeated
            expected[:, :, frame] += x[:, :, place] @ layer.conv.weight[:, :, tap].T
    expected = (expected + layer.conv.bias[:, None]).clamp(min=0) / (1 + 1e-5) ** 0.5
    assert torch.allclose(layer(x), expected, atol=1e-5)


@torch.no_grad()
def test_each_group_of_channels_sees_the_result_of_the_one_before() -> None:
    context, x = GroupedContext(12, 4, 3, 2).eval(), frames(2, 11, 12)
    expected = [x[:, :3], context.layers[0](x[:, 3:6])]
    expected.append(context.layers[1](x[:, 6:9] + expected[1]))
    expected.append(context.layers[2](x[:, 9:] + expected[2]))
    assert torch.equal(context(x), torch.cat(expected, 1))


@torch.no_grad()
def test_blocks_are_chained_and_all_are_aggregated() -> None:
    encoder, x = made(), frames(3)
    seen: list[Tensor] = []
    encoder.aggregation.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    encoder(x)
    y = encoder.first(x)
    expected = []
    for block in encoder.blocks:
        y = y + block.layers(y)
        expected.append(y)
    assert torch.equal(seen[0], torch.cat(expected, 1))


@pytest.mark.parametrize("length", [5, 6, 37])
def test_any_length_that_can_be_padded_gives_one_embedding(length: int) -> None:
    found = made()(frames(2, length))
    assert found.shape == (2, 12) and found.isfinite().all()


def test_an_input_too_short_to_be_padded_is_refused() -> None:
    with pytest.raises(ValueError, match="needs at least 5 frames to pad its ends by reflection; found 4"):
        made()(frames(2, 4))
    narrow = ECAPATDNNConfig(bands=10, channels=16, kernels=(7, 1, 1, 1), dilations=(2, 1, 1, 1), dimension=4)
    assert made(narrow)(frames(2, 7)).shape == (2, 4)
    with pytest.raises(ValueError, match="at least 7 frames"):
        made(narrow)(frames(2, 6))


def test_another_number_of_bands_is_refused() -> None:
    with pytest.raises(ValueError, match=r"made for 10 mel bands; found 80. Set encoder.bands and frontend.bands"):
        made()(frames(2, bands=80))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": 0}, "must be at least 1"),
        ({"attention": 0}, "must be at least 1"),
        ({"dilations": (1, 2, 0, 4)}, "must be at least 1"),
        ({"kernels": (5, 3, 4, 3)}, r"must be odd, to have a middle; found \(5, 3, 4, 3\)"),
        ({"scale": 1}, "at least 2 and divide channels = 1024; found 1"),
        ({"channels": 100}, "at least 2 and divide channels = 100; found 8"),
    ],
)
def test_sizes_that_make_no_network_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ECAPATDNNConfig(**settings)  # type: ignore[arg-type]
