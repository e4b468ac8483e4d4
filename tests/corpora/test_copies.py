"""Offline copies: what is drawn and written down, against a slow reading of the same draws, and every fault."""

import logging
from pathlib import Path

import numpy as np
import pytest

from sslsv_tk import seeds
from sslsv_tk.artifacts import StaleArtifact
from sslsv_tk.corpora import copies
from sslsv_tk.corpora.copies import CopyConfig, prepare_copies, utterance_numbers
from sslsv_tk.kaldi.directories import DataDirectory, validate
from sslsv_tk.kaldi.segments import Cuts
from sslsv_tk.kaldi.tables import as_words

SECONDS = {
    "musan_noise": (2.0, 10.0),
    "musan_music": (5.0, 7.5),
    "musan_speech": tuple(range(1, 10)),
    "rirs": (0.1, 1.0),
}


def utterances(count: int) -> list[str]:
    """Sorted ids of which some are the beginning of others."""
    return sorted(f"s{row // 10}-r{row // 3}{'-x' * (row % 3)}" for row in range(count))


def write_set(folder: Path, keys: list[str], known: bool = True) -> Path:
    words = as_words(keys)
    speakers = as_words([key.partition("-")[0] for key in keys]) if known else words
    values = as_words([f"/audio/{key}.wav" for key in keys])
    DataDirectory(words, values, speakers, words, np.full(len(keys), 4.0)).write(folder)
    return folder


@pytest.fixture
def data(tmp_path) -> Path:
    """`train` of 600 utterances, the lists of noises and responses."""
    write_set(tmp_path / "train", utterances(600))
    for name, seconds in SECONDS.items():
        keys = as_words([f"{name}{row}" for row in range(len(seconds))])
        DataDirectory(keys, keys, durations=np.array(seconds, dtype=float)).write(tmp_path / name)
    return tmp_path


def lines(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "augmentation").read_text().splitlines()]


def slowly(key: str, kind: str, config: CopyConfig) -> list[str]:
    """The line of one utterance, step by step."""
    seconds = SECONDS[copies.CLIPS[kind]]
    number = 0xCBF29CE484222325
    for byte in key.encode():
        number = (number ^ byte) * 0x100000001B3 % 2**64
    slots = {"noise": 1, "music": 1, "babble": 7, "reverb": 1}[kind]
    u = seeds.uniform(2 + 2 * slots, config.seed, "copies", kind, number >> 1)[0]
    line = [f"{key}-{kind}", kind]
    if kind == "reverb":
        return [*line, f"rirs{int(u[0] * len(seconds))}", "-"]
    low, high = {"noise": (0, 15), "music": (5, 15), "babble": (13, 20)}[kind]
    line += ["-", f"{low + (high - low) * u[0]:.2f}"]
    talkers = 3 + int(u[1] * 5) if kind == "babble" else 1
    for slot in range(slots):
        clip = int(u[2 + 2 * slot] * len(seconds))
        start = int(u[3 + 2 * slot] * seconds[clip] * 16_000)
        line += [f"{copies.CLIPS[kind]}{clip}", str(start)] if slot < talkers else ["-", "0"]
    return line


@pytest.mark.parametrize("kind", copies.KINDS)
def test_the_table_is_what_a_slow_reading_of_the_draws_gives(data, kind):
    config = CopyConfig(seed=7)
    prepare_copies(data / "train", data, config, [kind])
    expected = sorted(slowly(key, kind, config) for key in utterances(600))
    assert lines(data / f"train_{kind}") == expected


def test_copies_are_data_directories_whose_speakers_are_prefixes(data):
    prepare_copies(data / "train", data, CopyConfig())
    clean = DataDirectory.load(data / "train")
    for kind in copies.KINDS:
        found = validate(data / f"train_{kind}")
        names = {key.removesuffix(f"-{kind}".encode()): row for row, key in enumerate(found.keys.tolist())}
        rows = np.array([names[key] for key in clean.keys.tolist()])
        for column in ("values", "speakers", "recordings", "durations"):
            np.testing.assert_array_equal(getattr(found, column)[rows], getattr(clean, column))
        assert [line[0] for line in lines(data / f"train_{kind}")] == [key.decode() for key in found.keys]


def test_unknown_speakers_stay_unknown(data):
    write_set(data / "train", utterances(20), known=False)
    prepare_copies(data / "train", data, CopyConfig(), ["noise"])
    found = validate(data / "train_noise")
    assert found.speakers is not None and (found.speakers == found.keys).all()


def test_features_without_audio_have_no_copies(data):
    keys = as_words(["a", "b"])
    features = DataDirectory(keys, as_words(["x.ark:2", "x.ark:9"]), table="feats.scp")
    features.write(data / "train")
    with pytest.raises(ValueError, match=r"has features alone \(no wav\.scp\)\. .*augmentation\.copies=\[clean\]"):
        prepare_copies(data / "train", data, CopyConfig())
    assert not (data / "train_noise" / "wav.scp").exists()


def test_cuts_are_kept(data):
    keys, files = as_words(["s-a", "s-b"]), as_words(["f", "f"])
    cuts = Cuts(files, np.array([0.0, 1.0]), np.array([1.0, 2.5]))
    DataDirectory(keys, as_words(["/f.wav"] * 2), durations=np.array([1.0, 1.5]), cuts=cuts).write(data / "train")
    prepare_copies(data / "train", data, CopyConfig(), ["reverb"])
    found = validate(data / "train_reverb")
    assert found.cuts is not None and found.cuts.ends.tolist() == [1.0, 2.5]
    assert found.keys.tolist() == [b"s-a-reverb", b"s-b-reverb"] and found.values.tolist() == [b"/f.wav"] * 2


def test_draws_cover_their_ranges_and_nothing_else(data):
    prepare_copies(data / "train", data, CopyConfig())
    for kind, (low, high) in {"noise": (0, 15), "music": (5, 15), "babble": (13, 20)}.items():
        snr = np.array([float(line[3]) for line in lines(data / f"train_{kind}")])
        assert low <= snr.min() < low + 0.5 and high - 0.5 < snr.max() <= high
        assert np.abs(np.histogram(snr, 4, (low, high))[0] - 150).max() < 60
    talkers = [sum(word != "-" for word in line[4::2]) for line in lines(data / "train_babble")]
    assert np.bincount(talkers, minlength=8)[3:].min() > 80 and min(talkers) == 3 and max(talkers) == 7
    for kind in copies.KINDS[:3]:
        samples = {f"{copies.CLIPS[kind]}{row}": 16_000 * s for row, s in enumerate(SECONDS[copies.CLIPS[kind]])}
        pairs = [pair for line in lines(data / f"train_{kind}") for pair in zip(line[4::2], line[5::2], strict=True)]
        assert {clip for clip, _ in pairs} - {"-"} == samples.keys()
        assert all(0 <= int(start) < samples.get(clip, 1) for clip, start in pairs)


def test_what_an_utterance_gets_depends_on_seed_and_id_alone(data):
    prepare_copies(data / "train", data, CopyConfig())
    before = {line[0]: line for line in lines(data / "train_babble")}
    write_set(data / "other", utterances(600)[100::7])
    prepare_copies(data / "other", data, CopyConfig())
    assert all(before[line[0]] == line for line in lines(data / "other_babble"))
    prepare_copies(data / "train", data, CopyConfig(seed=1), force=True)
    assert sum(before[line[0]] == line for line in lines(data / "train_babble")) < 5


def test_numbers_of_ids_depend_on_their_bytes_alone():
    short, wide = as_words(["a", "ab"]), as_words(["ab", "a", "abcdefgh"])
    assert utterance_numbers(short).tolist() == utterance_numbers(wide)[[1, 0]].tolist()
    many = as_words([f"id{row:07d}" for row in range(100_000)])
    assert len(np.unique(utterance_numbers(many))) == 100_000 and (utterance_numbers(many) >= 0).all()


def test_blocks_of_writing_do_not_show(data, monkeypatch):
    prepare_copies(data / "train", data, CopyConfig(), ["babble"])
    whole = (data / "train_babble" / "augmentation").read_bytes()
    monkeypatch.setattr("sslsv_tk.kaldi.tables._BLOCK_ROWS", 7)
    prepare_copies(data / "train", data, CopyConfig(), ["babble"], force=True)
    assert (data / "train_babble" / "augmentation").read_bytes() == whole


# again


def test_a_second_run_does_nothing_and_a_lost_table_is_made_again(data, contents, caplog):
    prepare_copies(data / "train", data, CopyConfig())
    whole = contents(data)
    times = {path: path.stat().st_mtime_ns for path in data.rglob("*") if path.suffix != ".stamps"}
    with caplog.at_level(logging.INFO):
        prepare_copies(data / "train", data, CopyConfig())
    assert caplog.text.count("is complete: 600 utterances; nothing to do") == 4
    assert {path: path.stat().st_mtime_ns for path in times} == times
    (data / "train_music" / "augmentation").unlink()
    prepare_copies(data / "train", data, CopyConfig())
    assert contents(data) == whole


def test_other_draws_or_inputs_are_stale_until_forced(data):
    prepare_copies(data / "train", data, CopyConfig(), ["noise"])
    with pytest.raises(StaleArtifact, match="option seed: was 0, now 1"):
        prepare_copies(data / "train", data, CopyConfig(seed=1), ["noise"])
    write_set(data / "train", utterances(601))
    with pytest.raises(StaleArtifact, match=r"input \w+ of train: was"):
        prepare_copies(data / "train", data, CopyConfig(), ["noise"])
    prepare_copies(data / "train", data, CopyConfig(), ["noise"], force=True)
    assert len(lines(data / "train_noise")) == 601


def test_killed_at_any_rename_the_next_run_makes_the_same(data, contents, kill_at_rename):
    def run() -> None:
        prepare_copies(data / "train", data, CopyConfig(), ["babble"])

    folder, number = data / "train_babble", 1
    run()
    whole = contents(folder)
    while True:
        for name in whole:
            (folder / name).unlink()
        if not kill_at_rename(run, number):
            break
        found = {name: text for name, text in contents(folder).items() if not name.endswith((".tmp", ".replacing"))}
        assert "made.json" not in found and all(whole[name] == text for name, text in found.items())
        run()
        assert contents(folder) == whole
        number += 1
    assert number - 1 == 2 * len(whole) - 1, "each table is written, and then moved; the record is written last"


# faults


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": -1}, "--seed"),
        ({"noise_db": (3.0, 2.0)}, "--noise-db 3 2: expected the lower end first"),
        ({"babble_db": (float("nan"), 2.0)}, "--babble-db"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CopyConfig(**settings)


def test_lists_that_are_missing_are_named(data):
    for missing, remedy in (
        ("rirs/wav.scp", "rirs: no wav.scp"),
        ("musan_noise/utt2dur", "musan_noise has no utt2dur"),
    ):
        (data / missing).unlink()
        with pytest.raises(ValueError, match=remedy):
            prepare_copies(data / "train", data, CopyConfig(), ["reverb" if "rirs" in missing else "noise"])
