"""A collapse is told within an epoch, with its numbers and what may help; a healthy start is not called one."""

import json
import math

import pytest
import torch
from torch.nn import functional

from sslsv_tk.bin import train
from sslsv_tk.encoders.fast_resnet34 import FastResNet34, FastResNet34Config
from sslsv_tk.methods.base import Method, Pairs
from sslsv_tk.methods.simclr import SimCLR, SimCLRConfig
from sslsv_tk.methods.simsiam import SimSiam
from sslsv_tk.methods.vicreg import VICReg
from sslsv_tk.monitoring.health import Health, find_collapse, still_alike
from sslsv_tk.monitoring.records import RunningMeans

UNTRAINED = {"embedding_deviation": 0.07, "effective_rank": 1.01}
TRAINED = {"embedding_deviation": 0.85, "effective_rank": 25.0}
PROJECTED = {"projection_deviation": 0.99, "projection_rank": 20.0}


@pytest.mark.parametrize(
    ("numbers", "best"),
    [
        (UNTRAINED, UNTRAINED),  # a low deviation is how an encoder begins
        ({"embedding_deviation": 0.04, "effective_rank": 1.01}, UNTRAINED),  # a dip to more than a half
        (TRAINED, UNTRAINED),
        ({"embedding_deviation": 0.4, "effective_rank": 3.0}, TRAINED),  # less spread than before, not one point
        ({"projection_deviation": 0.95, "projection_rank": 2.7}, PROJECTED),
        ({"projection_scale": 0.1}, {"projection_scale": 0.33}),
        ({"loss": 0.0}, {}),  # a method that measures nothing
    ],
)
def test_what_is_healthy(numbers: dict[str, float], best: dict[str, float]) -> None:
    assert find_collapse(numbers, best, late=numbers.get("effective_rank") != 1.01) is None


def test_a_run_at_chance_is_told_late_and_never_called_healthy() -> None:
    chance = {"embedding_deviation": 0.06, "effective_rank": 1.02, "loss": math.log(64)}
    assert still_alike(chance) and not still_alike(TRAINED) and not still_alike({"loss": 0.0})
    assert not still_alike({"embedding_deviation": 0.5, "effective_rank": 1.02})
    for best in (UNTRAINED, {"embedding_deviation": 0.08, "effective_rank": 1.3}):
        assert find_collapse(chance, best, late=False) is None, "every run begins like this"
        found = find_collapse(chance, best, late=True)
        assert found is not None and "nothing is learnt" in found
        assert "(effective_rank 1.02, loss 4.159: the loss is that of chance)" in found
    health = Health()
    assert health.look(chance, 1, 199, whole_epoch=True) is None and health.look(chance, 2, 300) is None
    assert health.look(chance, 2, 300, whole_epoch=True) is not None


@pytest.mark.parametrize(
    ("numbers", "best", "words"),
    [
        ({"embedding_deviation": 0.019}, UNTRAINED, "all embeddings are becoming equal"),
        ({"embedding_deviation": 0.019}, {}, "all embeddings are becoming equal"),
        ({"embedding_deviation": 0.034}, UNTRAINED, "all embeddings are becoming equal"),
        ({"embedding_deviation": 0.29}, TRAINED, "all embeddings are becoming equal"),
        (
            {"embedding_deviation": 0.9, "effective_rank": 1.9},
            TRAINED,
            "embeddings fill hardly more than one direction",
        ),
        ({"projection_deviation": 0.01}, PROJECTED, "all projections are becoming equal"),
        ({"projection_rank": 1.6}, PROJECTED, "projections fill hardly more than one direction"),
        ({"projection_scale": 0.08}, {"projection_scale": 0.33}, "projections are becoming constant"),
    ],
)
def test_what_is_a_collapse(numbers: dict[str, float], best: dict[str, float], words: str) -> None:
    found = find_collapse(numbers, best, late=False)
    assert found is not None and words in found
    name, value = next((n, v) for n, v in numbers.items() if n in found)
    assert f"{name} {value:.3g}" in found


@pytest.mark.parametrize(("entropy", "words"), [(0.02, "one takes all"), (7.6, "all share alike")])
def test_targets_that_tell_nothing(entropy: float, words: str) -> None:
    numbers = {"teacher_information": 0.001, "teacher_entropy": entropy}
    assert find_collapse(numbers, {"teacher_information": 0.002}, late=False) is None  # nothing learnt yet
    for found in (
        find_collapse(numbers, {"teacher_information": 0.002}, late=True),
        find_collapse(numbers, {"teacher_information": 1.5}, late=False),
    ):
        assert found is not None and words in found
    assert find_collapse({**numbers, "teacher_information": 0.02}, {"teacher_information": 1.5}, late=True) is None


def test_one_warning_per_epoch_with_its_place_and_remedies() -> None:
    health = Health("a larger method.variance")
    low = {"embedding_deviation": 0.001}
    assert health.look(TRAINED, 1, 50) is None
    first = health.look(low, 1, 100)
    assert first is not None and first.startswith("collapse in epoch 1, by step 100: all embeddings")
    assert "optimisation.learning_rate" in first and first.endswith("a larger method.variance")
    assert health.look(low, 1, 150) is None and health.look(low, 1, 160, whole_epoch=True) is None
    assert health.look(low, 2, 200) is not None


def test_the_numbers_of_the_first_step_count_before_a_line_is_due() -> None:
    health = Health()
    health.begin({"embedding_deviation": torch.tensor(0.1), "loss": torch.tensor(3.0)})
    health.begin({"embedding_deviation": torch.tensor(0.9)})  # a later step
    assert health.look({"embedding_deviation": 0.06}, 1, 50) is None
    assert health.look({"embedding_deviation": 0.045}, 1, 100) is not None


def test_a_state_goes_on_with_what_was_seen_and_said() -> None:
    health, other = Health(), Health()
    health.begin({"embedding_deviation": torch.tensor(0.5)})
    assert health.look({"embedding_deviation": 0.2}, 3, 10) is not None
    state = json.loads(json.dumps(health.state_dict()))
    other.load_state_dict(state)
    other.begin({"embedding_deviation": torch.tensor(5.0)})  # no first step any more
    assert other.state_dict() == state
    assert other.look({"embedding_deviation": 0.2}, 3, 20) is None
    assert other.look({"embedding_deviation": 0.2}, 4, 30) is not None


@pytest.mark.parametrize(
    "settings", [FastResNet34Config(), FastResNet34Config((8, 8, 8, 8), (1, 1, 1, 1), dimension=12)]
)
def test_an_untrained_encoder_is_no_collapse(settings: FastResNet34Config) -> None:
    torch.manual_seed(0)
    method = SimCLR(FastResNet34(settings), SimCLRConfig())
    method.project([torch.randn(8, 40, 51) for _ in range(2)])
    numbers = {name: float(number) for name, number in method.measures().items()}
    assert 0.03 < numbers["embedding_deviation"] < 0.2
    assert find_collapse(numbers, numbers, late=False) is None and still_alike(numbers)


def run(workspace, *settings: str):
    """Warnings in train.log, and the lines of epochs, of a run of a few short epochs."""
    train.main(workspace.options("x", *settings))
    system = workspace.systems / "x"
    lines = [json.loads(text) for text in (system / "metrics.jsonl").read_text().splitlines()]
    warnings = [text for text in (system / "train.log").read_text().splitlines() if "collapse in epoch" in text]
    return warnings, [line for line in lines if line["kind"] == "epoch"]


def test_simclr_on_noise_is_healthy(workspace) -> None:
    warnings, epochs = run(workspace, "training.epochs=6")
    alike = [still_alike(line) for line in epochs]
    assert not warnings and [line.get("collapsed") for line in epochs] == [None if same else 0 for same in alike]


def attract(self, pairs):
    """SimCLR without negatives: all embeddings become equal."""
    return (1 - functional.cosine_similarity(pairs.anchors_ABP, pairs.positives_SBP, dim=-1)).mean()


def test_a_run_warns_once_per_epoch_and_marks_the_epoch(workspace, monkeypatch) -> None:
    """9 steps are an epoch, with a line every 2 of them."""
    monkeypatch.setattr(SimCLR, "loss", attract)
    warnings, epochs = run(workspace, "training.batch_size=2", "optimisation.learning_rate=0.03", "training.epochs=3")
    assert epochs[-1]["collapsed"] == 1 and len(warnings) == sum(line.get("collapsed", 0) for line in epochs)
    assert "collapse in epoch 3, by step" in warnings[-1] and "embedding_deviation" in warnings[-1]


def collapse_of_an_epoch(method: Method, steps: int = 40, rate: float = 3e-3) -> str | None:
    """The first warning while a method is trained on noise for an epoch of `steps`, with a line every 5."""
    health, window = Health(method.collapse_remedies), RunningMeans(torch.device("cpu"))
    optimiser = torch.optim.Adam(method.parameters(), rate)
    generator = torch.Generator().manual_seed(0)
    for step in range(1, steps + 1):
        utterances = torch.randn(8, 40, 31, generator=generator) + 2 * torch.randn(8, 40, 1, generator=generator)
        loss = method.loss(
            Pairs(*method.project([utterances + torch.randn(8, 40, 31, generator=generator) for _ in "ab"]))
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        health.begin(method.measures())
        window.add(method.measures())
        if step % 5 == 0:
            found = health.look(window.means(), 1, step)
            if found:
                return found
            window.clear()
    return None


def small(method: type[Method], **settings: float) -> Method:
    torch.manual_seed(0)
    encoder = FastResNet34(FastResNet34Config((8, 8, 8, 8), (1, 1, 1, 1), dimension=12))
    return method(encoder, method.Config(**settings))


HEADS = {"hidden": 32, "output": 16}


def test_healthy_methods_pass_their_first_epoch_without_a_warning() -> None:
    for method in (small(SimCLR), small(VICReg, **HEADS), small(SimSiam, **HEADS, bottleneck=4)):
        assert collapse_of_an_epoch(method) is None, method
    assert collapse_of_an_epoch(small(VICReg, **HEADS), rate=2e-2) is None


def test_pairs_that_only_attract_each_other_are_told_within_an_epoch(monkeypatch) -> None:
    monkeypatch.setattr(SimCLR, "loss", attract)
    found = collapse_of_an_epoch(small(SimCLR))
    assert found is not None and "all embeddings are becoming equal" in found


def test_vicreg_without_its_hinge_is_told_within_an_epoch() -> None:
    found = collapse_of_an_epoch(small(VICReg, **HEADS, variance=0.0), rate=2e-2)
    assert found is not None and "projections are becoming" in found
    assert found.endswith(VICReg.collapse_remedies) and "method.variance" in found


def test_assignments_that_come_to_tell_nothing_are_a_collapse() -> None:
    """SwAV with soft assignments on the test bed: 0.044 nats in the first epoch, 0.0002 in the third."""
    numbers = {"assignment_information": 0.0002, "assignment_entropy": 5.704}
    found = find_collapse(numbers, {"assignment_information": 0.044}, late=False)
    assert found is not None and "the prototypes say the same of every utterance: all share alike" in found
    assert find_collapse(numbers, {"assignment_information": 0.004}, late=False) is None  # nothing learnt yet
    assert find_collapse({**numbers, "assignment_information": 0.5}, {"assignment_information": 1.0}, late=True) is None
