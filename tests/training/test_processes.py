"""Several processes that train one system: the numbers of one process, and nothing lost when one of them dies."""

import json
import random
import signal
from pathlib import Path

import gated_run
import process_group
import pytest
import torch
from process_group import Together
from small_methods import SMALL_METHODS, small_optimisation

from sslsv_tk.launch.base import RUN_AGAIN

PLAIN = ("optimisation.optimiser=sgd", "optimisation.learning_rate=0.00001")
"""Steps so small that batches of 6 do not amplify a last bit; tests/nn/test_batch_norm.py compares the gradients."""
PAIRS = ("training.batch_size=6",)


def settings_of(method: str) -> list[str]:
    """The words after --set that make the small system one of this method."""
    optimisation = [
        word for word in small_optimisation(method) if "learning_rate" not in word and "optimiser=" not in word
    ]
    return [f"method={json.dumps({'name': method, **SMALL_METHODS[method]})}", *optimisation, *PLAIN, *PAIRS]


def lines(system: Path, kind: str) -> list[dict[str, float]]:
    """The numbers of a kind that a run logged."""
    found = [json.loads(line) for line in (system / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["kind"] == kind]


def weights(system: Path) -> dict[str, torch.Tensor]:
    """Of the last epoch."""
    return torch.load(system / "checkpoints/3epoch.pt", weights_only=True)["model"]


@pytest.mark.parametrize("method", sorted(SMALL_METHODS.keys() - {"moco"}))
def test_two_processes_train_what_one_trains(place, tmp_path, method):
    """The batch, its normalisation, negatives and gradients are those of one process with all of it."""
    settings = settings_of(method)
    assert gated_run.train(place.options("one", *settings)) == 0
    assert process_group.train(2, place.options("two", *settings), tmp_path / "said") == [0, 0]
    for one, two in zip(lines(place.systems / "one", "epoch"), lines(place.systems / "two", "epoch"), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-3, abs=1e-4), "in every epoch"
    before, after = weights(place.systems / "one"), weights(place.systems / "two")
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_moco_exchanges_rows_and_trains(place, tmp_path, outcome):
    """Its batch norms see other rows than one process would, on purpose, so that only the course can be compared."""
    settings = settings_of("moco")
    assert gated_run.train(place.options("one", *settings)) == 0
    assert process_group.train(2, place.options("two", *settings), tmp_path / "said") == [0, 0]
    one, two = (lines(place.systems / name, "epoch")[-1]["loss"] for name in ("one", "two"))
    assert two == pytest.approx(one, rel=0.2) and two != one


@pytest.fixture(scope="module")
def stage4_of_two(inputs, tmp_path_factory):
    """A system after stage 4 with two processes, without a disturbance."""
    from train_options import options

    folder = tmp_path_factory.mktemp("two")
    assert process_group.train(2, options(inputs, folder / "ssl", *PAIRS), folder / "said") == [0, 0]
    return folder / "ssl"


def steps_done(system: Path) -> int:
    """Of the newest checkpoint, 0 before the first."""
    names = [path.name.split("-")[1] for path in (system / "checkpoints").glob("sampler-*-0of2.pt")]
    return max(map(int, names), default=0)


def test_a_killed_process_ends_the_other_and_the_next_run_goes_on_exactly(
    place, tmp_path, stage4_of_two, outcome, assert_same
):
    chance, system = random.Random("killed"), place.systems / "ssl"
    words = place.options("ssl", *PAIRS)
    for _ in range(3):
        group, seen = Together(2, words, tmp_path / "said"), steps_done(system)
        more = chance.randrange(1, 3)
        group.wait_until(lambda seen=seen, more=more: steps_done(system) >= min(seen + more, 8))
        victim = chance.randrange(2)
        group.send(victim, signal.SIGKILL)
        codes = group.wait()
        assert codes[victim] == -signal.SIGKILL and codes[1 - victim] == 1
        errors = [line for line in group.said(1 - victim).splitlines() if "error:" in line]
        assert len(errors) == 1 and "another process ended" in errors[0] and "Traceback" not in group.said(1 - victim)
    assert process_group.train(2, words, tmp_path / "said") == [0, 0]
    assert_same(outcome(system), outcome(stage4_of_two))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_request_to_stop_saves_the_state_and_asks_to_be_run_again(
    place, tmp_path, stage4_of_two, outcome, assert_same, number
):
    """It comes to one process only, and all end after the same step."""
    system, words = place.systems / "ssl", place.options("ssl", *PAIRS, "training.checkpoint_minutes=1000")
    group = Together(2, words, tmp_path / "said")
    group.wait_until(lambda: "kind=step" in group.said(0))
    group.send(1, number)
    assert group.wait() == [RUN_AGAIN, RUN_AGAIN]
    assert "the next run goes on from there" in group.said(0)
    assert process_group.train(2, words, tmp_path / "said") == [0, 0]
    assert_same(outcome(system), outcome(stage4_of_two))


def test_another_number_of_processes_goes_on(place, tmp_path):
    words = place.options("ssl", *PLAIN, *PAIRS)
    assert gated_run.train(place.options("one", *PLAIN, *PAIRS)) == 0
    for world in (2, 3):
        group = Together(world, words, tmp_path / "said")
        group.wait_until(lambda group=group: "kind=epoch" in group.said(0))
        group.send(0, signal.SIGTERM)
        assert set(group.wait()) == {RUN_AGAIN}
    assert gated_run.train(words) == 0
    for one, mixed in zip(lines(place.systems / "one", "epoch"), lines(place.systems / "ssl", "epoch"), strict=True):
        assert mixed["loss"] == pytest.approx(one["loss"], rel=1e-3)


def test_a_mistake_is_told_once_and_ends_all(place, tmp_path):
    """A batch of 5 cannot be halved."""
    group = Together(2, place.options("ssl", "training.batch_size=5"), tmp_path / "said")
    assert group.wait() == [1, 1]
    said = group.said(0) + group.said(1)
    assert said.count("cannot be shared out evenly among 2 processes") == 1 and "Traceback" not in said
