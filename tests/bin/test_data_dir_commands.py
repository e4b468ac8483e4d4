"""combine_data, copy_data_dir, split_data and subset_data_dir, as Kaldi's users call them."""

import subprocess
from pathlib import Path

import pytest

from sslsv_tk import logs
from sslsv_tk.bin import combine_data, copy_data_dir, split_data, subset_data_dir, validate_data_dir
from sslsv_tk.kaldi import directories

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five speakers with two utterances each."""
    folder = tmp_path / "data"
    folder.mkdir()
    keys = [f"s{speaker}-{number}" for speaker in range(5) for number in range(2)]
    (folder / "wav.scp").write_text("".join(f"{key} /{key}.wav\n" for key in keys))
    (folder / "utt2spk").write_text("".join(f"{key} {key[:2]}\n" for key in keys))
    (folder / "spk2utt").write_text("".join(f"s{n} s{n}-0 s{n}-1\n" for n in range(5)))
    (folder / "utt2dur").write_text("".join(f"{key} {1 + row % 3}\n" for row, key in enumerate(keys)))
    return folder


def run(command, *words: object) -> int:
    return logs.run_command(command.main, [str(word) for word in words])


def names(folder: Path) -> list[str]:
    return [key.decode() for key in directories.validate(folder).keys.tolist()]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--first", "{data}", 3, "{out}"), ["s0-0", "s0-1", "s1-0"]),
        (("--last", "{data}", 1, "{out}"), ["s4-1"]),
        (("--shortest", "{data}", 2, "{out}"), ["s0-0", "s1-1"]),
        (("--utt-list", "{list}", "{data}", "{out}"), ["s2-0", "s3-1"]),
        (("--spk-list", "{list}", "{data}", "{out}"), ["s4-0", "s4-1"]),
    ],
)
def test_a_subset(tmp_path, data, words, expected):
    (tmp_path / "list").write_text("s2-0\ns3-1 x\ns4\n")
    places = {"data": data, "out": tmp_path / "out", "list": tmp_path / "list"}
    assert run(subset_data_dir, *[str(word).format(**places) for word in words]) == 0
    assert names(tmp_path / "out") == expected


def test_subsets_that_are_drawn(tmp_path, data):
    assert run(subset_data_dir, data, 4, tmp_path / "a", "--seed", 1) == 0
    assert run(subset_data_dir, data, 4, tmp_path / "b", "--seed", 1) == 0
    assert len(names(tmp_path / "a")) == 4 and names(tmp_path / "a") == names(tmp_path / "b")
    assert run(subset_data_dir, "--per-spk", data, 1, tmp_path / "c") == 0
    assert [name[:2] for name in names(tmp_path / "c")] == ["s0", "s1", "s2", "s3", "s4"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("{data}", 11, "{out}"), "11 utterances asked for, 10 are there"),
        (("--first", "{data}", 0, "{out}"), "expected 1 to 10"),
        (("--utt-list", "{list}", "{data}", "{out}"), "none of 10 utterances is left"),
        (("{data}", 3, "{data}"), "Write to another folder"),
        (("{out}", 3, "{data}"), "no wav.scp"),
    ],
)
def test_a_subset_that_cannot_be_is_one_line_and_harms_nothing(tmp_path, data, caplog, words, message):
    (tmp_path / "list").write_text("nobody\n")
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    places = {"data": data, "out": tmp_path / "out", "list": tmp_path / "list"}
    assert run(subset_data_dir, *[str(word).format(**places) for word in words]) == 1
    assert message in caplog.text and not (tmp_path / "out").exists()
    assert {path.name: path.read_bytes() for path in data.iterdir()} == before


@pytest.mark.parametrize("words", [("a", "b"), ("a", "x", "b"), ("--utt-list", "l", "a", "1", "b"), ("--first", "a")])
def test_a_subset_command_with_other_words_is_a_usage_error(words, capsys):
    with pytest.raises(SystemExit) as stop:
        subset_data_dir.main(list(words))
    assert stop.value.code == 2 and "usage:" in capsys.readouterr().err


def test_split_never_divides_a_speaker_unless_asked_to(tmp_path, data):
    assert run(split_data, data, 3) == 0
    parts = [names(data / "split3" / str(number)) for number in (1, 2, 3)]
    assert sorted(name for part in parts for name in part) == names(data)
    assert sum(len({name[:2] for name in part}) for part in parts) == 5
    assert run(split_data, "--per-utt", data, 10) == 0
    assert [names(data / "split10utt" / str(number)) for number in range(1, 11)] == [[name] for name in names(data)]
    assert run(split_data, data, 6) == 1
    assert run(split_data, data, 3) == 1
    assert run(split_data, data, 3, "--force", "true") == 0


def test_copies_with_prefixes_and_together(tmp_path, data, caplog):
    assert run(copy_data_dir, "--utt-prefix", "x-", data, tmp_path / "x") == 1
    assert "no prefix of its utterance" in caplog.text
    assert run(copy_data_dir, "--utt-prefix", "x-", "--spk-prefix", "x-", data, tmp_path / "x") == 0
    assert run(copy_data_dir, "--utt-suffix=-y", data, tmp_path / "y") == 0
    assert run(combine_data, tmp_path / "all", data, tmp_path / "x", tmp_path / "y") == 0
    assert sorted(names(tmp_path / "all")) == sorted(
        name for key in names(data) for name in (key, f"x-{key}", f"{key}-y")
    )
    assert run(validate_data_dir, tmp_path / "all") == 0
    assert run(validate_data_dir, "--no-feats", "--no-text", "--no-wav", tmp_path / "all") == 0
    assert run(combine_data, data, data, tmp_path / "x") == 1
    assert run(combine_data, tmp_path / "all", data, tmp_path / "x") == 1
    assert "there already" in caplog.text
    assert run(copy_data_dir, data, data) == 1


@pytest.mark.parametrize("name", ["combine_data", "copy_data_dir", "split_data", "subset_data_dir"])
def test_the_shell_tools_of_kaldi_s_names_call_them(name, tmp_path):
    script = ROOT / "utils" / f"{name}.sh"
    assert script.stat().st_mode & 0o111
    lines = [line for line in script.read_text().splitlines() if not line.startswith("#")]
    assert lines[-1] == f'exec python3 -m sslsv_tk.bin.{name} "$@"' and len(lines) == 2
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
