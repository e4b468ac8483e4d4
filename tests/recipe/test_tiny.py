"""`run.sh --tiny true` from nothing to the table; again; each stage killed and started again."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import kaldiio
import pytest
import torch
from recipe_copy import copy_recipe

POSITIVES = ("ssps_tiny", "same_utterance", "same_speaker")
OPTIONS = ("--tiny", "true", "--positives", " ".join(POSITIVES), "--num-threads", "1", "--nj", "2", "--ngpu", "0")
BASE = "simclr_fast_resnet34"
SYSTEMS = (BASE, *(f"{BASE}_{name}" for name in POSITIVES))
SETS = ("voxceleb2_train", "voxceleb1_test", "musan_noise", "musan_music", "musan_speech", "rirs")
# What says when, where or how long it was made, or belongs to a moment of a run that a kill moves.
VARYING = (
    "plan",
    "words",
    "listings.json",
    "environment.txt",
    ".listed.json",
    "metrics.jsonl",
    "RESULTS.md",
    "lock",
    "latest.pt",
    "previous.pt",
)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that must be the same in two runs, by its path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for part in ("data_tiny", "dump_tiny", "exp_tiny")
        for path in (folder / part).rglob("*")
        if path.is_file() and path.name not in VARYING and path.suffix not in (".log", ".tmp", ".stamps")
        if path.parent.name != "complete"
        if not path.name.startswith("sampler-") and "tensorboard" not in path.parts
        if path.suffix != ".json" or path.parent.name != "scores"
        if not any(parent.name.startswith(".") for parent in path.relative_to(folder).parents if parent.name)
    }


def times(folder: Path) -> dict[str, int]:
    """When each of these files was last written."""
    return {name: (folder / name).stat().st_mtime_ns for name in contents(folder)}


def temporaries(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".") and ".tmp" in path.name]


@pytest.fixture(scope="module")
def whole(module_recipe):
    """The recipe folder after an undisturbed run, and what it printed."""
    printed = module_recipe.run(*OPTIONS)
    return module_recipe, printed


def test_everything_is_there(whole):
    recipe, printed = whole
    last = printed.strip().splitlines()[-1]
    assert "Successfully finished. [elapsed=" in last and "exp_tiny (RESULTS.md after stage 7)" in last
    for stage in range(1, 8):
        assert f"Stage {stage}: " in printed
    folder = recipe.folder
    for name in SETS:
        for table in ("wav.scp", "utt2dur"):
            assert (folder / "data_tiny" / name / table).stat().st_size, (name, table)
        for table in ("wav.scp", "utt2samples", "made.json"):
            assert (folder / "dump_tiny" / "raw" / name / table).stat().st_size, (name, table)
    for system in SYSTEMS:
        exp = folder / "exp_tiny" / system
        for name in ("config.yaml", "made.json", "metrics.jsonl", "environment.txt", "train.log"):
            assert (exp / name).stat().st_size, (system, name)
        epochs = (0, 1, 2) if system == BASE else (3, 4)
        for name in ("latest", "previous", "averaged", *(f"{epoch}epoch" for epoch in epochs)):
            assert (exp / "checkpoints" / f"{name}.pt").stat().st_size, (system, name)
        embeddings = dict(_read_embeddings(folder, system))
        keys = [line.split()[0] for line in (folder / "data_tiny/voxceleb1_test/wav.scp").read_text().splitlines()]
        assert list(embeddings) == keys and all(vector.shape == (32,) for vector in embeddings.values())
        trials = (folder / "data_tiny/voxceleb1_test/trials_veri_test2").read_text().splitlines()
        scores = (exp / "scores" / "veri_test2.score").read_text().splitlines()
        assert [line.split()[:2] for line in scores] == [line.split()[:2] for line in trials]
    assert not temporaries(folder)


def _read_embeddings(folder: Path, system: str):
    before = Path.cwd()
    os.chdir(folder)  # paths in a scp begin where the recipe ran
    try:
        yield from kaldiio.load_scp_sequential(f"exp_tiny/{system}/embeddings/voxceleb1_test/xvector.scp")
    finally:
        os.chdir(before)


def test_the_table_has_a_row_for_each_system(whole):
    recipe, printed = whole
    text = (recipe.folder / "exp_tiny" / "RESULTS.md").read_text()
    assert text in printed
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| simclr")]
    assert sorted(row[0].removeprefix("| ") for row in rows) == sorted(SYSTEMS)
    for row in rows:
        assert "voxceleb1_test: veri_test2" in row[2]
        assert 0 <= float(row[3].split()[0]) <= 100


def test_all_models_differ_and_none_is_broken(whole):
    folder = whole[0].folder / "exp_tiny"
    weights = []
    for system in SYSTEMS:
        model = torch.load(folder / system / "checkpoints" / "averaged.pt", weights_only=True)["model"]
        assert all(torch.isfinite(tensor).all() for tensor in model.values() if tensor.is_floating_point())
        weights.append(torch.cat([tensor.flatten() for tensor in model.values() if tensor.is_floating_point()]))
    for number, one in enumerate(weights):
        for other in weights[:number]:
            assert not torch.equal(one, other)


def test_a_second_run_finds_all_complete_and_changes_nothing(whole):
    recipe, _ = whole
    before, made = contents(recipe.folder), times(recipe.folder)
    printed = recipe.run(*OPTIONS)
    assert [f"Stage {stage}: complete, skipped" in printed for stage in range(1, 8)] == [True] * 7
    assert contents(recipe.folder) == before and times(recipe.folder) == made
    shutil.rmtree(recipe.folder / "exp_tiny/log/complete")  # now each command finds out by itself
    recipe.run(*OPTIONS)
    assert contents(recipe.folder) == before
    changed = {name for name, when in times(recipe.folder).items() if made[name] != when}
    assert {
        name for name in changed if not name.endswith(("trials_veri_test2", "trials_veri_test2.json", "config.yaml"))
    } == set()
    for log in recipe.folder.glob("*_tiny/**/log/**/*.log"):
        newest = log.parent / f"{log.stem.rpartition('.')[0]}.log"  # x.log of x.1.log, the log of an earlier run
        if not newest.is_file() and not log.name.startswith(("prepare_trials", "write_results")):
            said = log.read_text()
            assert "complete" in said or "nothing to do" in said, f"{log} did work again:\n{said}"


def test_stages_6_and_7_run_alone_and_make_the_same(whole):
    recipe, _ = whole
    before = contents(recipe.folder)
    wanted = {name for name in before if "/embeddings/" in name or "/scores/" in name}
    assert len(wanted) > 4 * len(SYSTEMS)
    for name in wanted:
        (recipe.folder / name).unlink()
    (recipe.folder / "exp_tiny" / "RESULTS.md").unlink()
    printed = recipe.run(*OPTIONS, "--stage", "6", "--stop-stage", "7")
    assert "Stage 5" not in printed and "Stage 6" in printed
    assert contents(recipe.folder) == before


# -- kill -9 in every stage --------------------------------------------------------------------------------------

# How many things (a log opened, a line of metrics.jsonl) may happen in a stage before it is killed; it has more.
KILLS = ((1, 1, 3), (2, 1, 1), (3, 1, 10), (4, 1, 4), (4, 1, 4), (5, 2, 8), (5, 1, 8), (5, 1, 8), (6, 1, 7), (7, 1, 3))


def happenings(folder: Path) -> int:
    # Folders may go while they are walked through: those under temporary names.
    walks = (os.walk(part) for part in folder.glob("*_tiny"))
    logs = sum(name.endswith(".log") for walk in walks for _, _, names in walk for name in names)
    lines = sum(path.read_text().count("\n") for path in folder.glob("exp_tiny/*/metrics.jsonl"))
    return logs + lines


def kill(recipe, options: tuple[str, ...], after: int, chance: random.Random) -> None:
    """Start run.sh, wait until `after` more things have happened and a random moment more, then kill it all."""
    before = happenings(recipe.folder)
    process = recipe.start(*options)
    while happenings(recipe.folder) < before + after:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    time.sleep(chance.uniform(0.0, 0.1))
    assert process.poll() is None, "the stage ended before it was killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def wait_for_the_end_of_jobs(folder: Path) -> None:
    """Jobs die with their launcher; the kernel needs a moment for that."""
    deadline = time.monotonic() + 60
    while any(_works_in(number, folder) for number in os.listdir("/proc") if number.isdigit()):
        assert time.monotonic() < deadline, "a job outlived the recipe"
        time.sleep(0.02)


def _works_in(number: str, folder: Path) -> bool:
    try:
        return os.readlink(f"/proc/{number}/cwd") == str(folder)
    except OSError:
        return False


@pytest.fixture
def fresh(whole):
    """A new copy of the recipe in the place of the undisturbed run, since tables name audio by absolute paths."""
    place = whole[0].folder.parents[1]
    aside = place.rename(place.with_name("undisturbed"))
    yield copy_recipe(place), aside / "egs" / "voxceleb"
    shutil.rmtree(place)
    aside.rename(place)


def test_killed_in_every_stage_the_same_command_ends_with_the_same_files(fresh):
    recipe, undisturbed = fresh
    expected = contents(undisturbed)
    chance = random.Random(20250514)
    for number, (stage, least, most) in enumerate(KILLS):
        options = (*OPTIONS, "--stage", str(stage), "--stop-stage", str(stage))
        kill(recipe, options, chance.randint(least, most), chance)
        wait_for_the_end_of_jobs(recipe.folder)
        for name, found in contents(recipe.folder).items():
            assert found == expected[name], f"{name} is half written after a kill in stage {stage}"
        for state in recipe.folder.glob("exp_tiny/*/checkpoints/*.pt"):
            torch.load(state, weights_only=True)
        if number + 1 == len(KILLS) or KILLS[number + 1][0] != stage:
            recipe.run(*options)
    found = contents(recipe.folder)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
    assert not temporaries(recipe.folder)
