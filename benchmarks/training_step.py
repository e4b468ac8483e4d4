"""Seconds of a SimCLR step with Fast ResNet-34, beside a straightforward version.

    python3 benchmarks/training_step.py                     # 32 utterances x 2 x 2 s; fp32 and bf16
    python3 benchmarks/training_step.py --compile           # and with torch.compile, which takes minutes at first
    python3 benchmarks/training_step.py --device cuda --utterances 256

A step is log-mel, encoder, loss, backward pass and Adam; loading is not in it. The other version is fp32: features by
torchaudio, one pass of the encoder per view in the usual memory layout, the loss row by row. `apart` and `together` are
the two settings of `method.views`.
"""

import argparse
from collections.abc import Callable

import beside
import torch
from front_end import straightforward_logmel
from machine import best_of, product_rate, table
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from sslsv_tk.encoders.fast_resnet34 import FastResNet34, FastResNet34Config
from sslsv_tk.frontend.features import FrontEnd
from sslsv_tk.frontend.settings import LogMelConfig
from sslsv_tk.methods.simclr import SimCLR, SimCLRConfig
from sslsv_tk.nn.heads import Views
from sslsv_tk.positives.base import SamplerFacts
from sslsv_tk.positives.same_utterance import SameUtterance, SameUtteranceConfig
from sslsv_tk.systems.configuration import OptimisationConfig
from sslsv_tk.training.optimisation import make_optimiser
from sslsv_tk.training.step import TrainingStep


def get_parser() -> argparse.ArgumentParser:
    parser = beside.parser(__doc__)
    parser.add_argument("--utterances", type=int, default=32, help="utterances of a batch (default: 32)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a segment (default: 2)")
    parser.add_argument("--threads", type=int, default=2, help="processor threads (default: 2)")
    parser.add_argument("--repeats", type=int, default=5, help="steps, of which the fastest counts (default: 5)")
    parser.add_argument("--compile", action="store_true", help="time the compiled encoder too")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--product-side", type=int, default=4096, help="of the square product (default: 4096)")
    return parser


def encoder_config(options: argparse.Namespace) -> FastResNet34Config:
    """The paper's sizes."""
    if options.smoke:
        return FastResNet34Config((8, 8, 8, 8), (1, 1, 1, 1), dimension=8)
    return FastResNet34Config()


def our_step(options: argparse.Namespace, precision: str, compiled: bool, views: Views) -> Callable[[], None]:
    """A step as the training loop makes it."""
    device = torch.device(options.device)
    method = SimCLR(FastResNet34(encoder_config(options)), SimCLRConfig(views=views)).to(device)
    if compiled:
        method.encoder.compile()
    width = method.encoder.dimension
    sampler = SameUtterance(SameUtteranceConfig(), SamplerFacts(options.utterances, 0, device, width, width))
    training = TrainingStep(method, sampler, precision)
    optimiser = make_optimiser(method, OptimisationConfig())
    front_end = FrontEnd(LogMelConfig()).to(device)
    segments = [samples(options, device), samples(options, device)]
    utterances = torch.arange(options.utterances, device=device)

    def step() -> None:
        loss, _ = training([front_end(segment) for segment in segments], utterances, None)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


def samples(options: argparse.Namespace, device: torch.device) -> Tensor:
    """(B, T) int16."""
    shape = (options.utterances, int(options.seconds * 16_000))
    return torch.randint(-8000, 8000, shape, dtype=torch.int16).to(device)


def straightforward_loss(z: Tensor, temperature: float) -> Tensor:
    """The symmetric loss, row by row; the two views of an utterance are half the rows apart."""
    total = z.new_zeros(())
    for row in range(len(z)):
        exponentials = torch.exp(cosine_similarity(z[row : row + 1], z) / temperature)
        positive = exponentials[(row + len(z) // 2) % len(z)]
        total = total - torch.log(positive / (exponentials.sum() - exponentials[row]))
    return total / len(z)


class UsualLayout(nn.Module):
    """The encoder's layers on images whose channels come first."""

    def __init__(self, encoder: FastResNet34) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, frames_BFL: Tensor) -> Tensor:
        encoder = self.encoder
        image = encoder.relu(encoder.norm(encoder.conv(frames_BFL.unsqueeze(1).contiguous())))
        return encoder.embedding(encoder.pooling(encoder.blocks(image).mean(2)))


def straightforward_step(options: argparse.Namespace) -> Callable[[], None]:
    """The same work as one would write it down at first."""
    device = torch.device(options.device)
    encoder = UsualLayout(FastResNet34(encoder_config(options))).to(device)
    optimiser = torch.optim.Adam(encoder.parameters(), lr=1e-3)
    logmel = straightforward_logmel(LogMelConfig())
    segments = [samples(options, device), samples(options, device)]

    def step() -> None:
        z = torch.cat([encoder(logmel(segment.float() / 32768)) for segment in segments])
        optimiser.zero_grad()
        straightforward_loss(z, 0.03).backward()
        optimiser.step()

    return step


def main() -> None:
    options = beside.parsed(get_parser())
    if options.smoke:
        options.utterances, options.seconds, options.repeats, options.product_side = 2, 0.1, 1, 64
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    ways: tuple[Views, ...] = ("apart", "together")
    versions = {f"{name}, {how}": our_step(options, name, False, how) for name in ("fp32", "bf16") for how in ways}
    if options.compile:
        versions |= {
            f"{name}, {how}, compiled": our_step(options, name, True, how) for name in ("fp32", "bf16") for how in ways
        }
    versions["straightforward, fp32"] = straightforward_step(options)
    taken = best_of(versions, options.repeats, device)
    rate, other = product_rate(device, options.product_side), taken["straightforward, fp32"]
    rows = [[name, f"{time:.3f}", f"{other / time:.2f}", f"{rate:.3f}"] for name, time in taken.items()]
    print(
        f"SimCLR, {options.utterances} x 2 x {options.seconds} s, {options.device}, {options.threads} threads, "
        f"torch {torch.__version__}\n"
    )
    print(table(["step", "s", "ratio", "product, TFLOP/s"], rows))


if __name__ == "__main__":
    main()
