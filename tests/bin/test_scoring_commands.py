"""Stage 7 from embeddings on disk to tables: score_trials, write_results, compare_systems, keep_results."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import kaldiio
import numpy as np
import pytest

from sslsv_tk import digests, logs, records
from sslsv_tk.bin import compare_systems, compute_eer, keep_results, score_trials, write_results
from sslsv_tk.config import Component, dump
from sslsv_tk.kaldi.tables import write_table
from sslsv_tk.records import Made
from sslsv_tk.systems.configuration import SystemConfig, TrainingConfig

SPEAKERS, UTTERANCES = 8, 4


class Experiment:
    """Speakers of a few utterances each, in a working directory of their own, and systems of random embeddings."""

    def __init__(self, root: Path) -> None:
        self.root, self.data, self.trials = root, root / "dump/raw/test", root / "data/test/trials_all"
        self.speaker_of = {f"s{s}-r{u}-{u:05d}": f"s{s}" for s in range(SPEAKERS) for u in range(UTTERANCES)}
        self.keys = sorted(self.speaker_of)
        write_table(self.data / "wav.scp", self.keys, [f"{key}.wav" for key in self.keys])
        write_table(self.data / "utt2spk", self.keys, [self.speaker_of[key] for key in self.keys])
        pairs = [(a, b) for i, a in enumerate(self.keys) for b in self.keys[:i]]
        np.random.default_rng(0).shuffle(pairs)
        self.pairs = [(str(a), str(b)) for a, b in pairs]
        self.write_trials(self.trials, self.pairs)

    def target(self, pair: tuple[str, str]) -> bool:
        return self.speaker_of[pair[0]] == self.speaker_of[pair[1]]

    def write_trials(self, path: Path, pairs: list[tuple[str, str]]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (f"{a} {b} {'target' if self.target((a, b)) else 'nontarget'}\n" for a, b in pairs)
        path.write_text("".join(lines))

    def extract(self, system: str, noise: float = 1.0, checkpoint: str = "averaged", keys=None, change=None):
        """What stage 6 leaves, in two arks: a direction per speaker and noise; returns the embeddings by key."""
        generator = np.random.default_rng([int(100 * noise), *checkpoint.encode()])
        centres = np.random.default_rng(3).normal(size=(SPEAKERS, 16))
        keys = self.keys if keys is None else keys
        vectors = {
            key: (centres[int(self.speaker_of[key][1:])] + noise * generator.normal(size=16)).astype(np.float32)
            for key in keys
        }
        if change is not None:
            change(vectors)
        folder = (
            self.root / "exp" / system / "embeddings" / ("test" if checkpoint == "averaged" else f"test_{checkpoint}")
        )
        folder.mkdir(parents=True, exist_ok=True)
        half = len(keys) // 2
        for number, part in ((1, keys[:half]), (2, keys[half:])):
            kaldiio.save_ark(
                f"{folder}/xvector.{number}.ark", {k: vectors[k] for k in part}, scp=f"{folder}/{number}.scp"
            )
        (folder / "xvector.scp").write_text((folder / "1.scp").read_text() + (folder / "2.scp").read_text())
        made = Made({"checkpoint": checkpoint}, {"checkpoint": str(noise), "data": "ab"})
        files = ("xvector.scp", "xvector.1.ark", "xvector.2.ark")
        outputs = records.of_files(folder, files)
        records.write(folder, made, outputs, epochs=[3, 4, 5], contents=digests.of_files(folder / f for f in files[1:]))
        config = SystemConfig(Component("fast_resnet34"), Component("simclr"), training=TrainingConfig(seed=7))
        dump(config, self.root / "exp" / system / "config.yaml")
        return vectors

    def score(self, system: str, *options: str) -> int:
        words = ["--system", f"{self.root}/exp/{system}", "--data", str(self.data), "--trials", str(self.trials)]
        return logs.run_command(score_trials.main, [*words, *options])

    def scores(self, system: str, name: str = "all") -> Path:
        return self.root / "exp" / system / "scores" / f"{name}.score"

    def row(self, system: str, name: str = "all") -> dict:
        return json.loads(self.scores(system, name).with_suffix(".json").read_text())


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path)


@pytest.fixture(autouse=True)
def log_lines(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    return caplog


def naive_cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.dot(a.astype(float), b) / np.sqrt(np.dot(a.astype(float), a) * np.dot(b.astype(float), b)))


def test_scores_stand_in_the_order_of_the_list_and_are_cosines(experiment):
    vectors = experiment.extract("simclr")
    assert experiment.score("simclr") == 0
    lines = [line.split() for line in experiment.scores("simclr").read_text().splitlines()]
    assert [(a, b) for a, b, _ in lines] == experiment.pairs
    expected = [naive_cosine(vectors[a], vectors[b]) for a, b in experiment.pairs]
    np.testing.assert_allclose([float(score) for _, _, score in lines], expected, atol=1e-6)


def test_the_row_says_all_that_made_it(experiment):
    experiment.extract("simclr", noise=2.0)
    assert experiment.score("simclr") == 0
    row = experiment.row("simclr")
    assert (row["system"], row["checkpoint"], row["trials"], row["data"]) == ("simclr", "averaged", "all", "test")
    assert row["number_of_trials"] == len(experiment.pairs)
    assert row["number_of_targets"] == SPEAKERS * UTTERANCES * (UTTERANCES - 1) // 2
    assert row["trials_fingerprint"] == digests.of_file(experiment.trials)
    assert row["config_fingerprint"] == digests.of_file(experiment.root / "exp/simclr/config.yaml")[:16]
    assert row["seed"] == 7
    assert row["extraction"]["epochs"] == [3, 4, 5]
    low, high = row["eer_interval_percent"]
    assert low <= row["eer_percent"] <= high
    assert row["eer_rocch_percent"] <= row["eer_percent"] <= row["eer_nearest_percent"]
    assert row["against_chance"] == ""
    assert 0 < row["mindcf_005"] <= row["mindcf_001"] <= 1
    assert row["commit"] and row["date"] and row["hardware"]


def test_the_second_run_does_nothing(experiment, log_lines):
    experiment.extract("simclr")
    assert experiment.score("simclr") == 0
    before = {path: path.stat().st_mtime_ns for path in experiment.scores("simclr").parent.iterdir()}
    assert experiment.score("simclr") == 0
    assert "complete" in log_lines.text
    assert before == {path: path.stat().st_mtime_ns for path in experiment.scores("simclr").parent.iterdir()}
    assert experiment.score("simclr", "--force", "true") == 0
    assert before[experiment.scores("simclr")] != experiment.scores("simclr").stat().st_mtime_ns


def test_new_embeddings_or_a_broken_score_file_are_scored_again(experiment):
    experiment.extract("simclr", noise=1.0)
    experiment.score("simclr")
    first = experiment.scores("simclr").read_bytes()
    experiment.extract("simclr", noise=2.0)
    experiment.score("simclr")
    second = experiment.scores("simclr").read_bytes()
    assert second != first
    experiment.scores("simclr").write_bytes(second[: len(second) // 2])
    experiment.score("simclr")
    assert experiment.scores("simclr").read_bytes() == second


def test_another_list_or_test_set_of_the_same_name_is_refused(experiment, log_lines):
    experiment.extract("simclr", noise=1.0)
    experiment.score("simclr")
    whole = experiment.scores("simclr").read_bytes(), experiment.row("simclr")
    folder = experiment.root / "exp/simclr/embeddings/test"
    made = records.read(folder)
    other = {**made.inputs, "data": "cd"}
    records.write(folder, Made(made.options, other), made.outputs, **made.facts)
    assert experiment.score("simclr") == 1
    assert "all.json was made of other audio than" in log_lines.text and "--force true" in log_lines.text
    records.write(folder, Made(made.options, made.inputs), made.outputs, **made.facts)
    experiment.write_trials(experiment.trials, experiment.pairs[:200])
    assert experiment.score("simclr") == 1
    assert "all.json was made of other trials than" in log_lines.text
    assert (experiment.scores("simclr").read_bytes(), experiment.row("simclr")) == whole
    assert experiment.score("simclr", "--force", "true") == 0
    assert experiment.row("simclr")["number_of_trials"] == 200
    assert len(experiment.scores("simclr").read_text().splitlines()) == 200


def test_checkpoints_of_one_system_keep_their_own_files(experiment):
    for checkpoint in ("averaged", "latest", "12"):
        experiment.extract("simclr", checkpoint=checkpoint)
        assert experiment.score("simclr", "--checkpoint", checkpoint) == 0
    names = ("all", "all_latest", "all_12")
    assert len({experiment.scores("simclr", name).read_bytes() for name in names}) == 3
    assert [experiment.row("simclr", name)["checkpoint"] for name in names] == ["averaged", "latest", "12"]


def test_a_row_of_another_list_is_not_overwritten_silently(experiment, log_lines):
    experiment.extract("simclr", checkpoint="latest")
    experiment.extract("simclr")
    experiment.score("simclr", "--checkpoint", "latest")
    twin = experiment.trials.with_name("trials_all_latest")
    shutil.copy(experiment.trials, twin)
    assert experiment.score("simclr", "--trials", str(twin)) == 1
    assert "another name" in log_lines.text
    assert experiment.row("simclr", "all_latest")["checkpoint"] == "latest"
    assert experiment.score("simclr", "--trials", str(twin), "--force", "true") == 0
    assert experiment.row("simclr", "all_latest")["checkpoint"] == "averaged"


def test_embeddings_of_another_checkpoint_are_refused(experiment, log_lines):
    experiment.extract("simclr")
    records.write(experiment.root / "exp/simclr/embeddings/test", Made({"checkpoint": "latest"}, {}), contents="00")
    assert experiment.score("simclr") == 1
    assert "checkpoint latest, not averaged" in log_lines.text


def test_missing_embeddings_are_counted_and_named(experiment, log_lines):
    experiment.extract("simclr", keys=experiment.keys[:-2])
    assert experiment.score("simclr") == 1
    assert f"2 of the {len(experiment.keys)} utterances" in log_lines.text
    assert experiment.keys[-2] in log_lines.text and experiment.keys[-1] in log_lines.text
    assert not experiment.scores("simclr").exists()


def test_a_list_that_names_an_unknown_utterance_is_refused_with_its_line(experiment, log_lines):
    experiment.extract("simclr")
    experiment.trials.write_text(experiment.trials.read_text() + "s9-r0-00000 s0-r0-00000 nontarget\n")
    assert experiment.score("simclr") == 1
    assert f"trials_all:{len(experiment.pairs) + 1}" in log_lines.text and "s9-r0-00000" in log_lines.text


@pytest.mark.parametrize("kind", [True, False])
def test_a_list_of_one_kind_of_trials_is_refused(experiment, log_lines, kind):
    experiment.extract("simclr")
    experiment.write_trials(experiment.trials, [pair for pair in experiment.pairs if experiment.target(pair) == kind])
    assert experiment.score("simclr") == 1
    assert "target" in log_lines.text
    assert not experiment.scores("simclr").exists()


def test_without_finished_embeddings_the_stage_to_run_is_named(experiment, log_lines):
    assert experiment.score("simclr") == 1
    assert "stage 6" in log_lines.text
    experiment.extract("simclr")
    (experiment.root / "exp/simclr/embeddings/test/xvector.scp").unlink()
    assert experiment.score("simclr") == 1
    assert "xvector.scp" in log_lines.text


def test_a_broken_embedding_is_named(experiment, log_lines):
    experiment.extract("simclr", change=lambda vectors: vectors[experiment.keys[5]].__setitem__(3, np.nan))
    assert experiment.score("simclr") == 1
    assert f"{experiment.keys[5]}: zero or non-finite" in log_lines.text
    assert not experiment.scores("simclr").exists()


def test_an_ark_cut_short_is_named(experiment, log_lines):
    experiment.extract("simclr")
    ark = experiment.root / "exp/simclr/embeddings/test/xvector.2.ark"
    os.truncate(ark, ark.stat().st_size - 8)
    assert experiment.score("simclr") == 1
    assert "xvector.2.ark has 1368 bytes instead of 1376. Run stage 6 again" in log_lines.text


def test_one_flipped_bit_of_an_embedding_is_named(experiment, log_lines):
    experiment.extract("simclr")
    ark = experiment.root / "exp/simclr/embeddings/test/xvector.2.ark"
    contents = bytearray(ark.read_bytes())
    contents[500] ^= 1
    ark.write_bytes(contents)
    assert experiment.score("simclr") == 1
    assert "xvector.2.ark has other contents than were written. Run stage 6 again" in log_lines.text
    assert not experiment.scores("simclr").exists()


def test_embeddings_that_were_moved_are_scored_where_they_are(experiment):
    experiment.extract("simclr")
    assert experiment.score("simclr") == 0
    scores = experiment.scores("simclr").read_bytes()
    (experiment.root / "exp").rename(experiment.root / "moved")
    (experiment.root / "exp").symlink_to("moved")
    assert experiment.score("simclr") == 0 and experiment.scores("simclr").read_bytes() == scores
    (experiment.root / "exp").unlink()
    (experiment.root / "exp").mkdir()
    (experiment.root / "moved/simclr").rename(experiment.root / "exp/twin")
    assert experiment.score("twin") == 1, "the row is that of another system"
    assert experiment.score("twin", "--force", "true") == 0 and experiment.scores("twin").read_bytes() == scores


@pytest.mark.parametrize("labels", ["absent", "itself"])
def test_without_speaker_labels_the_row_has_no_interval(experiment, log_lines, labels):
    experiment.extract("simclr")
    (experiment.data / "utt2spk").unlink()
    if labels == "itself":
        write_table(experiment.data / "utt2spk", experiment.keys, experiment.keys)
    assert experiment.score("simclr") == 0
    assert experiment.row("simclr")["eer_interval_percent"] is None
    assert "no speaker labels" in log_lines.text


def test_labels_that_contradict_the_list_are_refused(experiment, log_lines):
    experiment.extract("simclr")
    speakers = ["s1" if key.startswith("s0") else experiment.speaker_of[key] for key in experiment.keys]
    write_table(experiment.data / "utt2spk", experiment.keys, speakers)
    assert experiment.score("simclr") == 1
    assert "contradict" in log_lines.text and "trials_all" in log_lines.text


def test_a_system_that_was_never_trained_has_neither_seed_nor_configuration(experiment):
    experiment.extract("mfcc")
    (experiment.root / "exp/mfcc/config.yaml").unlink()
    assert experiment.score("mfcc") == 0
    row = experiment.row("mfcc")
    assert row["seed"] is row["arithmetic"] is None and row["config_fingerprint"] is None


def test_the_table_has_one_row_per_system_checkpoint_and_list(experiment, capsys):
    for system, noise in (("simclr", 2.0), ("ssps", 1.0)):
        experiment.extract(system, noise)
        assert experiment.score(system) == 0
    for checkpoint in ("9", "10"):
        experiment.extract("ssps", 1.5, checkpoint=checkpoint)
        assert experiment.score("ssps", "--checkpoint", checkpoint) == 0
    assert logs.run_command(write_results.main, ["--exp", f"{experiment.root}/exp"]) == 0
    results = (experiment.root / "exp/RESULTS.md").read_text()
    assert capsys.readouterr().out == results
    rows = [line for line in results.splitlines() if line.startswith(("| simclr", "| ssps"))]
    assert [row.split(" | ")[:2] for row in rows] == [
        ["| simclr", "averaged (3 epochs, 3 to 5)"],
        ["| ssps", "9 (3 epochs, 3 to 5)"],
        ["| ssps", "10 (3 epochs, 3 to 5)"],
        ["| ssps", "averaged (3 epochs, 3 to 5)"],
    ]
    figures = experiment.row("simclr")
    assert f"| {figures['eer_percent']:.2f} [" in rows[0] and f"| {figures['mindcf_001']:.4f} |" in rows[0]
    assert "nearest" in results and "- torch: `" in results and "- commit: `" in results


def test_an_encoder_whose_embeddings_are_all_alike_is_at_chance_everywhere(experiment, log_lines, capsys):
    experiment.extract("good")
    experiment.extract("collapsed", change=lambda vectors: vectors.update(dict.fromkeys(vectors, np.ones(16, "f4"))))
    for system in ("good", "collapsed"):
        assert experiment.score(system) == 0
    row = experiment.row("collapsed")
    assert (row["eer_percent"], row["eer_interval_percent"]) == (50, [50, 50])
    assert row["eer_nearest_percent"] == 100  # the authors' convention
    assert "EER 50.00 % [50.00, 50.00] (at chance), nearest point 100.00 %" in log_lines.text
    assert compare(experiment, "collapsed", "good", "--replicates", "100") == 0
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first.endswith("EER 50.00 [50.00, 50.00] %, at chance") and second.endswith("] %")
    logs.run_command(write_results.main, ["--exp", f"{experiment.root}/exp"])
    assert "| 50.00 [50.00, 50.00], at chance | 100.00 | 50.00 |" in capsys.readouterr().out


@pytest.mark.parametrize("how", ["scores", "exp"])
def test_all_conventions_of_score_files_stand_side_by_side(experiment, capsys, how):
    for system, noise in (("bad", 2.0), ("good", 0.7)):
        experiment.extract(system, noise)
        experiment.score(system)
    for name in ("wav.scp", "utt2spk"):
        shutil.copy(experiment.data / name, experiment.trials.parent / name)
    words = ["--scores", str(experiment.scores("bad")), str(experiment.scores("good"))]
    words += ["--data", str(experiment.data), "--trials", str(experiment.trials)]
    if how == "exp":
        words = ["--exp", str(experiment.root / "exp"), "--data", str(experiment.root / "data")]
    capsys.readouterr()
    assert logs.run_command(compute_eer.main, words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    for line, system in zip(lines[2:], ("bad", "good"), strict=True):
        row = experiment.row(system)
        figures = [f"{row[f'eer_{name}percent']:.2f}" for name in ("", "nearest_", "rocch_")]
        assert line.split(" | ")[1:] == [f"test: all ({len(experiment.pairs)})", *figures, f"{row['mindcf_001']:.4f} |"]


def test_conventions_need_a_list_or_a_folder_of_systems(tmp_path, log_lines):
    for words in (["--scores", "a"], ["--exp", str(tmp_path), "--trials", "b"], []):
        with pytest.raises(SystemExit) as error:
            compute_eer.main([*words, "--data", str(tmp_path)])
        assert error.value.code == 2
    assert logs.run_command(compute_eer.main, ["--exp", str(tmp_path), "--data", str(tmp_path)]) == 1
    assert "stage 7" in log_lines.text


def test_no_scores_at_all_is_one_clear_line(tmp_path, log_lines):
    assert logs.run_command(write_results.main, ["--exp", str(tmp_path)]) == 1
    assert "stage 7" in log_lines.text and not (tmp_path / "RESULTS.md").exists()


@pytest.mark.parametrize("contents", ["{", "[]", '{"system": "x"}'])
def test_a_broken_row_is_named(experiment, log_lines, contents):
    experiment.extract("simclr")
    experiment.score("simclr")
    experiment.scores("simclr").with_suffix(".json").write_text(contents)
    assert logs.run_command(write_results.main, ["--exp", f"{experiment.root}/exp"]) == 1
    assert "all.json" in log_lines.text
    assert experiment.score("simclr") == 0, "a broken row is not complete, so the stage makes it again"
    assert logs.run_command(write_results.main, ["--exp", f"{experiment.root}/exp"]) == 0


def compare(experiment: Experiment, first: str, second: str, *options: str) -> int:
    words = ["--scores", str(experiment.scores(first)), "--against", str(experiment.scores(second))]
    words += ["--trials", str(experiment.trials), "--data", str(experiment.data)]
    return logs.run_command(compare_systems.main, [*words, *options])


def test_a_clear_difference_is_significant_and_none_is_not(experiment, capsys):
    for system, noise in (("bad", 4.0), ("good", 0.7)):
        experiment.extract(system, noise)
        assert experiment.score(system) == 0
    assert compare(experiment, "good", "bad", "--replicates", "200") == 0
    first, second, difference = capsys.readouterr().out.splitlines()
    assert f"EER {experiment.row('good')['eer_percent']:.2f} [" in first
    assert f"EER {experiment.row('bad')['eer_percent']:.2f} [" in second
    assert difference.endswith("points, significant") and difference.startswith("difference: -")
    assert compare(experiment, "good", "good") == 0
    assert capsys.readouterr().out.splitlines()[2] == "difference: +0.00 [+0.00, +0.00] points, not significant"


def test_the_interval_of_a_comparison_is_that_of_the_row(experiment, capsys):
    experiment.extract("simclr", 2.0)
    experiment.score("simclr")
    compare(experiment, "simclr", "simclr")
    low, high = experiment.row("simclr")["eer_interval_percent"]
    assert f"[{low:.2f}, {high:.2f}]" in capsys.readouterr().out


def test_score_files_of_another_list_are_not_compared(experiment, log_lines):
    experiment.extract("simclr")
    experiment.score("simclr")
    lines = experiment.scores("simclr").read_text().splitlines(keepends=True)
    experiment.scores("short").parent.mkdir(parents=True)
    experiment.scores("short").write_text("".join(lines[:-1]))
    assert compare(experiment, "simclr", "short") == 1
    assert f"{len(lines) - 1} scores" in log_lines.text
    experiment.scores("short").write_text("".join([lines[0], lines[2], lines[1], *lines[3:]]))
    assert compare(experiment, "simclr", "short") == 1
    assert "all.score:2: expected" in log_lines.text


def test_a_comparison_needs_speakers(experiment, log_lines):
    experiment.extract("simclr")
    experiment.score("simclr")
    (experiment.data / "utt2spk").unlink()
    assert compare(experiment, "simclr", "simclr") == 1
    assert "no speaker labels" in log_lines.text


def keep(experiment: Experiment, *options: str) -> int:
    out = ["--out", f"{experiment.root}/RESULTS.md"]
    return logs.run_command(keep_results.main, ["--exp", f"{experiment.root}/exp", *out, *options])


def test_kept_rows_replace_their_section_and_leave_the_others(experiment, log_lines):
    for system in ("simclr", "ssps"):
        experiment.extract(system)
        experiment.score(system)
    kept = experiment.root / "RESULTS.md"
    assert keep(experiment, "--systems", "simclr", "--title", "Mini", "--note", "Three seeds.") == 0
    assert keep(experiment, "--systems", "ssps", "--title", "Test bed") == 0
    first = kept.read_text()
    assert first.index("## Mini") < first.index("Three seeds.") < first.index("| simclr") < first.index("## Test bed")
    assert first.startswith("# Results\n") and "| ssps" in first
    assert keep(experiment, "--systems", "ssps", "simclr", "--title", "Mini") == 0
    second = kept.read_text()
    assert second.count("## Mini") == 1 and second.count("| ssps") == 2 and "Three seeds." not in second
    assert second[second.index("## Test bed") :] == first[first.index("## Test bed") :]
    assert keep(experiment, "--systems", "ssps", "simclr", "--title", "Mini") == 0
    assert kept.read_text() == second


def test_a_system_without_scores_cannot_be_kept(experiment, log_lines):
    experiment.extract("simclr")
    experiment.score("simclr")
    assert keep(experiment, "--systems", "simclr", "dino", "--title", "Mini") == 1
    assert "no scores of dino; there are simclr" in log_lines.text
    assert keep(experiment, "--systems", "simclr", "--title", " ") == 1
    assert not (experiment.root / "RESULTS.md").exists()


@pytest.mark.parametrize("command", ["score_trials", "write_results", "compare_systems", "keep_results"])
def test_a_usage_error_exits_with_2_and_help_with_0(command):
    run = [sys.executable, "-m", f"sslsv_tk.bin.{command}"]
    assert subprocess.run([*run, "--no-such-option"], capture_output=True).returncode == 2
    shown = subprocess.run([*run, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0 and command in shown.stdout


def test_trials_of_utterances_that_the_tolerance_left_out_are_counted_in_the_row(experiment, log_lines):
    gone, others = experiment.keys[3], [pair for pair in experiment.pairs if experiment.keys[3] not in pair]
    kept = [key for key in experiment.keys if key != gone]
    experiment.extract("simclr", noise=2.0, keys=kept)
    for name, value in (("wav.scp", "{}.wav"), ("utt2spk", None)):
        values = [value.format(key) if value else experiment.speaker_of[key] for key in kept]
        write_table(experiment.data / name, kept, values)
    assert experiment.score("simclr") == 1
    (experiment.data / "rejected").write_text(f"{gone} {gone}.wav: an empty file\n")
    assert experiment.score("simclr") == 0
    with_others = experiment.row("simclr")
    assert f"{len(others)} trials ({len(experiment.pairs) - len(others)} left out), EER" in log_lines.text
    assert with_others["number_left_out"] == len(experiment.pairs) - len(others)
    experiment.write_trials(experiment.trials, others)
    assert experiment.score("simclr", "--force", "true") == 0
    alone = experiment.row("simclr")
    assert alone["number_left_out"] == 0 and alone["eer_percent"] == with_others["eer_percent"]
    assert alone["number_of_trials"] == with_others["number_of_trials"] == len(others)
