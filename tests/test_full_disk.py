"""Every writer on a disk that becomes full at many places: one line that names a file, and nothing is lost."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import full_disk
import numpy as np
import pytest
import small_corpus
import soundfile
import torch
from full_disk import PAGE, Disk

from sslsv_tk import artifacts, config, logs, records
from sslsv_tk.arks.audio_archive import AudioArchive, write_pcm_ark
from sslsv_tk.bin import (
    average_checkpoints,
    extract_embeddings,
    finish_extraction,
    finish_packing,
    pack_audio,
    prepare_corpus,
    score_trials,
    train,
    write_results,
)
from sslsv_tk.kaldi import tables
from sslsv_tk.monitoring.records import RunRecords
from sslsv_tk.systems import checkpoints
from sslsv_tk.systems.checkpoints import CheckpointFolder
from sslsv_tk.systems.configuration import SystemConfig

LEVELS = 30
NAMES = ("file", "table.txt", "made.json", "wav.ark", "state.pt", "config.yaml")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with full_disk.mounted(tmp_path / "disk", 4 * 2**20) as found:
        yield found


def write_text(folder: Path, size: int) -> None:
    with artifacts.replacing(folder / "file") as stream:
        stream.write("x" * size)


def write_table(folder: Path, size: int) -> None:
    tables.write_table(folder / "table.txt", [f"key{n:08d}" for n in range(size // 16)], [b"val"] * (size // 16))


def write_record(folder: Path, size: int) -> None:
    records.Record({"option": "x" * size}, {}, {}, {}).write(folder / "made.json")


def write_ark(folder: Path, size: int) -> None:
    pairs = ((f"u{n}", np.full(size // 20, n, dtype=np.int16)) for n in range(10))
    write_pcm_ark(pairs, folder / "wav.ark", folder / "wav.scp", folder / "utt2samples")


def write_checkpoint(folder: Path, size: int) -> None:
    tensors = {f"layer{n}": torch.full((size // 40,), float(n)) for n in range(10)}
    checkpoints.write(folder / "state.pt", tensors)


def write_configuration(folder: Path, size: int) -> None:
    system = {**small_corpus.SYSTEM, "positives": {"name": "x" * size}}
    config.dump(config.build(SystemConfig, system), folder / "config.yaml")


@pytest.mark.parametrize(
    "write", [write_text, write_table, write_record, write_ark, write_checkpoint, write_configuration]
)
def test_a_writer_names_its_file_and_leaves_what_was_there(write: Callable[[Path, int], None], disk: Disk) -> None:
    size, out = 30 * PAGE, disk.folder / "out"
    write(out, 1000)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    failed = 0
    for level in range(LEVELS):
        disk.leave(level * PAGE)
        try:
            write(out, size)
        except OSError as error:
            assert str(error).startswith("[Errno 28] No space left on device: ") and str(out) in str(error)
            assert {path.name for path in out.iterdir()} == set(before), "nothing temporary stays"
            # A table beside an ark comes after it, so one may be new already; each is whole.
            assert all(path.read_bytes() == before[path.name] for path in out.iterdir() if path.name in NAMES)
            failed += 1
    assert failed > LEVELS / 2
    disk.empty()
    write(out, size)
    assert all(path.stat().st_size != len(before[path.name]) for path in out.iterdir())


def test_checkpoints_keep_two_generations_and_leave_nothing_behind(disk: Disk) -> None:
    folder = CheckpointFolder(disk.folder)
    layers = [torch.rand(2 * PAGE) for _ in range(3)]

    def save(step: int) -> None:
        model = {str(number): layer + step for number, layer in enumerate(layers)}
        folder.save({"step": step, "passed": 0, "model": model}, {"queue": layers[0] * step})

    save(1)
    save(2)
    failed = 0
    for level in range(60):
        disk.leave(level * PAGE)
        try:
            save(3)
            break
        except OSError as error:
            assert str(error).startswith("[Errno 28] No space left on device: "), str(error)
            failed += 1
        steps = [checkpoints.read(folder.folder / f"{name}.pt")["step"] for name in ("latest", "previous")]
        assert steps == [2, 1], "both are what they were"
        assert folder.newest() == "latest.pt"
    assert failed > LEVELS / 2
    disk.empty()
    save(4)
    steps = [checkpoints.read(folder.folder / f"{name}.pt")["step"] for name in ("latest", "previous")]
    assert steps == [4, 3 if failed < 60 else 2]
    names = {path.name for path in folder.folder.iterdir()}
    assert names == {"latest.pt", "previous.pt", f"sampler-{steps[1]}-0.pt", "sampler-4-0.pt"}, "no .tmp, no coming.pt"


def test_two_names_of_one_checkpoint_leave_no_temporary_name(tmp_path: Path) -> None:
    """As a run leaves them that was killed between two renames: renaming one of them to the other does nothing."""
    folder = CheckpointFolder(tmp_path)
    folder.save({"step": 1, "passed": 0}, {})
    (folder.folder / "previous.pt").hardlink_to(folder.folder / "latest.pt")
    folder.save({"step": 2, "passed": 0}, {})
    assert not list(folder.folder.glob(".*")) and checkpoints.read(folder.folder / "previous.pt")["step"] == 1


def test_metrics_and_tensorboard_name_their_file(disk: Disk) -> None:
    named = set()
    for level in range(8):
        disk.empty()
        records = RunRecords(disk.folder, 0, 0)
        disk.leave(level * PAGE)
        with pytest.raises(OSError, match=r"^\[Errno 28\] No space left on device: ") as caught:
            for step in range(10_000):
                records.write({"kind": "step", "loss": 1.5}, step)
        named.add(Path(caught.value.filename).name.partition(".")[0])
        disk.empty()
        records.close()
        lines = (disk.folder / "metrics.jsonl").read_text().splitlines()
        assert all(json.loads(line)["loss"] == 1.5 for line in lines), "what was not written is written at the end"
    assert named <= {"metrics", "events"} and named


def test_a_log_that_cannot_be_written_is_told_once_at_its_end(disk: Disk, capfd: pytest.CaptureFixture[str]) -> None:
    disk.leave(2 * PAGE)
    said = logging.getLogger("train")
    with (
        pytest.raises(OSError, match=r"No space left on device: .*train\.log"),
        logs.also_to(disk.folder / "train.log"),
    ):
        for _ in range(1000):
            said.warning("a line of a run")
    assert "Traceback" not in capfd.readouterr().err


# -- whole stages ----------------------------------------------------------------------------------------------------


def until_it_fits(disk: Disk, work: Callable[[], int], room: int, caplog: pytest.LogCaptureFixture) -> int:
    """Run a stage again and again with ever more room, and last with enough; the number of times that it failed.

    Each time it ends with status 1 and one line of error.
    """
    failed = 0
    for level in range(LEVELS):
        disk.leave(level * room // LEVELS)
        caplog.clear()
        status = work()
        errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
        assert "Traceback" not in caplog.text
        if status:
            assert status == 1 and len(errors) == 1, caplog.text
            assert "No space left on device: " in errors[0], errors
            failed += 1
    disk.empty()
    assert work() == 0
    return failed


def stages_of_data(corpus: Path, out: Path) -> list[tuple[Any, list[str]]]:
    data, packed = str(out / "data"), str(out / "packed")
    jobs = ["--num-jobs", "1"]
    return [
        (prepare_corpus.main, ["--source", str(corpus), "--out", data, "--labels", "true"]),
        (pack_audio.main, ["--data", data, "--out", packed, *jobs, "--job", "1"]),
        (finish_packing.main, ["--data", data, "--out", packed, *jobs]),
    ]


def all_of(stages: list[tuple[Any, list[str]]]) -> int:
    return next((status for main, words in stages if (status := logs.run_command(main, words))), 0)


def test_data_and_packed_audio_are_the_same_after_a_full_disk(
    disk: Disk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(12):
        path = tmp_path / "corpus" / f"spk{number % 3}" / f"rec{number}" / "u.wav"
        path.parent.mkdir(parents=True)
        waveform = np.random.default_rng(number).integers(-9000, 9000, 8000, dtype=np.int16)
        soundfile.write(path, waveform, 16_000)
    assert all_of(stages_of_data(tmp_path / "corpus", tmp_path)) == 0
    stages = stages_of_data(tmp_path / "corpus", disk.folder)
    assert until_it_fits(disk, lambda: all_of(stages), 90 * PAGE, caplog) > LEVELS / 2
    whole, tried = AudioArchive(tmp_path / "packed"), AudioArchive(disk.folder / "packed")
    assert (whole.keys == tried.keys).all() and (whole.samples == tried.samples).all()
    for row, count in enumerate(whole.samples.tolist()):
        assert (whole.read(row, 0, count) == tried.read(row, 0, count)).all()
    assert not list(disk.folder.rglob("*.tmp"))


def test_a_system_is_the_same_bit_for_bit_after_a_full_disk(
    inputs: Path, disk: Disk, workspace: Any, outcome: Any, assert_same: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert logs.run_command(train.main, workspace.options("whole")) == 0
    size = sum(path.stat().st_size for path in (workspace.systems / "whole").rglob("*") if path.is_file())
    words = workspace.options("whole")
    words[words.index("--out") + 1] = str(disk.folder / "ssl")
    assert until_it_fits(disk, lambda: logs.run_command(train.main, words), size // 2, caplog) > LEVELS / 3
    assert_same(outcome(disk.folder / "ssl"), outcome(workspace.systems / "whole"))
    assert not list(disk.folder.rglob("*.tmp"))


def test_embeddings_and_results_are_the_same_after_a_full_disk(
    inputs: Path, disk: Disk, stage4: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trials = tmp_path / "trials"
    trials.write_text("t0-rec0-00000 t0-rec2-00000 target\nt0-rec2-00000 t1-rec1-00000 nontarget\n")

    def stages(exp: Path) -> list[tuple[Any, list[str]]]:
        own = ["--system", str(exp / "ssl"), "--checkpoint", "averaged", "--data", str(inputs / "test")]
        jobs = ["--num-jobs", "1"]
        return [
            (average_checkpoints.main, own[:2]),
            (extract_embeddings.main, [*own, *jobs, "--job", "1"]),
            (finish_extraction.main, [*own, *jobs]),
            (score_trials.main, [*own, "--trials", str(trials)]),
            (write_results.main, ["--exp", str(exp)]),
        ]

    for exp in (tmp_path / "exp", disk.folder):
        (exp / "ssl").mkdir(parents=True)
        for path in stage4.rglob("*"):
            if path.is_file() and not path.name.startswith("events"):
                target = exp / "ssl" / path.relative_to(stage4)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
    assert all_of(stages(tmp_path / "exp")) == 0
    assert until_it_fits(disk, lambda: all_of(stages(disk.folder)), 60 * PAGE, caplog) > 5
    for name in ("embeddings", "scores"):
        for path in (tmp_path / "exp/ssl" / name).rglob("*"):
            if path.suffix in (".ark", ".score"):
                assert (disk.folder / path.relative_to(tmp_path / "exp")).read_bytes() == path.read_bytes(), path
    assert not list(disk.folder.rglob("*.tmp"))
