"""The accuracy of positives is told without training with them."""

import re

import numpy as np
import pytest

from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.bin import judge_positives
from sslsv_tk.positives.ssps_live import SSPSLive

TITLES = ["positives", "coverage", "speaker accuracy", "recording accuracy", "nmi speaker", "nmi recording"]


def judged(inputs, system, capsys, *positives: str, named: bool = False) -> dict[str, dict[str, str]]:
    """The printed table, by positives and title."""
    words = ["--system", str(system), "--train-set", str(inputs / "train"), "--augmentation", str(inputs)]
    files = positives if named else [str(inputs / f"{name}.yaml") for name in positives]
    judge_positives.main([*words, "--positives", *files, "--device", "cpu"])
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:6] == TITLES
    return {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:]}


def test_the_oracle_is_right_and_the_control_replaces_nothing(inputs, stage4, capsys):
    table = judged(inputs, stage4, capsys, "same_speaker", "same_utterance")
    assert table["same_speaker"]["coverage"] == "1.000"
    assert table["same_speaker"]["speaker accuracy"] == "1.000"
    assert table["same_speaker"]["recording accuracy"] == "0.000"
    assert table["same_utterance"]["coverage"] == "0.000"
    assert table["same_utterance"]["speaker accuracy"] == "-"


def test_accuracies_are_those_of_the_chosen_utterances(inputs, stage4, capsys, monkeypatch):
    seen = []
    start = SSPSLive.start_epoch
    monkeypatch.setattr(
        SSPSLive, "start_epoch", lambda sampler, epoch: (seen.append(sampler), start(sampler, epoch))[1]
    )
    row = judged(inputs, stage4, capsys, "ssps_live")["ssps_live"]
    partner_N = seen[0].partners()
    archive = AudioArchive(inputs / "train")
    speaker_N, recording_N = archive.read_codes("utt2spk"), archive.read_codes("utt2rec")
    replaced = [n for n in range(len(partner_N)) if partner_N[n] != n]
    assert float(row["coverage"]) == pytest.approx(len(replaced) / len(partner_N), abs=5e-4)
    for title, code_N in (("speaker accuracy", speaker_N), ("recording accuracy", recording_N)):
        right = np.mean([code_N[n] == code_N[partner_N[n]] for n in replaced])
        assert float(row[title]) == pytest.approx(right, abs=5e-4)
    assert "kmeans_objective" in row["other numbers"]


@pytest.mark.parametrize("positives", ["ssps_kmeans", "ssps_knn"])
def test_positives_out_of_a_queue_are_judged_after_the_pass_that_fills_it(inputs, stage4, capsys, positives):
    row = judged(inputs, stage4, capsys, positives)[positives]
    assert float(row["coverage"]) >= 0.5 and 0 <= float(row["speaker accuracy"]) <= 1


@pytest.mark.parametrize("positives", ["ssps_kmeans", "ssps_knn", "ssps_live"])
def test_what_the_first_epoch_would_fill_is_judged_after_a_pass(inputs, stage4, capsys, tmp_path, positives):
    (tmp_path / f"{positives}.yaml").write_text((inputs / f"{positives}.yaml").read_text() + "  filling: epoch\n")
    first, other = (judged(inputs, stage4, capsys, name) for name in (positives, str(tmp_path / positives)))
    assert float(first[positives]["coverage"]) >= 0.5
    assert first == other


def test_positives_are_named_as_in_the_recipe(inputs, stage4, capsys, tmp_path, monkeypatch):
    """A name of conf/positives, an alias and written settings give the row of a file with the same settings."""
    (tmp_path / "conf" / "positives").mkdir(parents=True)
    text = (inputs / "ssps_live.yaml").read_text()
    (tmp_path / "conf" / "positives" / "ssps_live.yaml").write_text(text)
    (tmp_path / "conf" / "aliases.yaml").write_text('few: "ssps_live:clusters=2"\n')
    (tmp_path / "file.yaml").write_text(re.sub(r"clusters: \d+", "clusters: 2", text))
    monkeypatch.chdir(tmp_path)
    words = ["ssps_live", "few", "ssps_live:clusters=2", "file.yaml"]
    table = judged(inputs, stage4, capsys, *words, named=True)
    rows = [{**row, "positives": ""} for row in table.values()]
    assert list(table) == ["ssps_live", "few", "ssps_live_2", "file"]
    assert rows[1] == rows[2] == rows[3] != rows[0]


def test_an_unknown_name_ends_before_anything_is_judged(inputs, stage4, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"--positives ssps_new: there is no conf/positives/ssps_new\.yaml here"):
        judged(inputs, stage4, capsys, str(inputs / "ssps_live.yaml"), "ssps_new", named=True)
    assert capsys.readouterr().out == ""


def test_nothing_is_written_into_the_system(inputs, stage4, capsys):
    before = {path: path.stat().st_mtime_ns for path in stage4.rglob("*")}
    judged(inputs, stage4, capsys, "ssps_live")
    assert {path: path.stat().st_mtime_ns for path in stage4.rglob("*")} == before
