"""What a folder holds: the same wherever it lies and however many jobs wrote it, another for every other content."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_corpus import pack as pack_small
from small_features import feature_words, prepare_small, run

from sslsv_tk.arks.identity import contents, identity
from sslsv_tk.bin import compute_features, finish_features
from sslsv_tk.kaldi import table_sets
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import as_words
from sslsv_tk.packing import join, pack
from sslsv_tk.packing.parts import Part, Wanted


@pytest.fixture
def data(tmp_path, corpus) -> Path:
    """Eight wav files of 16 kHz; speakers and recordings are known."""
    paths = sorted(map(str, corpus.rglob("*.wav")))
    keys = [path.removeprefix(f"{corpus}/").removesuffix(".wav").replace("/", "-") for path in paths]
    speakers = [key.partition("-")[0] for key in keys]
    DataDirectory(as_words(keys), as_words(paths), as_words(speakers)).write(tmp_path / "data")
    return tmp_path / "data"


def make(data: Path, out: Path, jobs: int = 2, copy: bool = True) -> Path:
    for job in range(1, jobs + 1):
        pack.pack_part(data, Part(out, job, jobs), Wanted(copy=copy))
    join.finish(data, out, jobs)
    return out


@pytest.mark.parametrize("copy", [True, False])
def test_neither_jobs_nor_places_change_it(data, tmp_path, monkeypatch, copy):
    first = identity(make(data, tmp_path / "one", 1, copy))
    monkeypatch.chdir(tmp_path)
    three = make(data, Path("three"), 3, copy)
    assert identity(three) == first == identity(tmp_path / "three")
    three.rename("moved")
    if copy:
        with pytest.raises(ValueError, match=r"points to three/split/wav.1.ark, .* as after a move. Run stage 3 again"):
            identity("moved")
    join.finish(data, Path("moved"), 3)
    assert identity("moved") == first
    assert first.keys() == {"contents", "utt2spk"}


@pytest.mark.parametrize("copy", [True, False])
def test_samples_ids_and_speakers_change_it(data, tmp_path, corpus, write_audio, copy):
    before = identity(make(data, tmp_path / "out", copy=copy))
    whole = DataDirectory.load(data)
    table_sets.TableSet.load(data).rename((b"x-", b""), (b"x-", b"")).write(tmp_path / "renamed")
    renamed = identity(make(tmp_path / "renamed", tmp_path / "out_renamed", copy=copy))
    whole.select(np.arange(7)).write(tmp_path / "fewer")
    fewer = identity(make(tmp_path / "fewer", tmp_path / "out_fewer", copy=copy))
    write_audio(corpus / "anna" / "r1" / "u1.wav", 1001)
    longer = identity(make(data, tmp_path / "out_longer", copy=copy))
    assert len({each["contents"] for each in (before, renamed, fewer, longer)}) == 4
    speakers = (data / "utt2spk").read_text().replace(" anna", " ann")
    (tmp_path / "out_longer" / "utt2spk").write_text(speakers)
    with pytest.raises(ValueError, match=r"out_longer/utt2spk has 124 bytes instead of 128. Run stage 3 again"):
        identity(tmp_path / "out_longer")
    (data / "utt2spk").write_text(speakers)
    (data / "spk2utt").unlink(missing_ok=True)
    other = identity(make(data, tmp_path / "out_other", copy=copy))
    assert other["contents"] == longer["contents"] and other["utt2spk"] != longer["utt2spk"]


def test_one_sample_changes_it(data, tmp_path, corpus):
    before = contents(make(data, tmp_path / "out"))
    path = corpus / "bert" / "r2" / "u2.wav"
    waveform, _ = soundfile.read(path, dtype="int16")
    waveform[500] ^= 1
    soundfile.write(path, waveform, 16000, subtype="PCM_16")
    assert contents(make(data, tmp_path / "again")) != before


@pytest.mark.parametrize("damage", ["split/wav.2.ark", "wav.scp", "utt2samples", "made.json"])
def test_what_is_not_as_its_record_says_is_refused(data, tmp_path, damage):
    out = make(data, tmp_path / "out")
    path = out / damage
    if damage == "made.json":
        path.write_text(path.read_text().replace('"contents": "', '"contents": "0'))
    else:
        os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(ValueError, match=rf"{damage}.*Run stage 3 again"):
        contents(out)
    make(data, out)
    contents(out)


def test_arks_of_others_are_known_by_ids_lengths_places_and_sizes(tmp_path):
    folder = pack_small(tmp_path / "kaldi", {"a-r-1": 500, "a-r-2": 600})
    before = contents(folder)
    shutil.copytree(folder, tmp_path / "copy")
    scp = tmp_path / "copy" / "wav.scp"
    scp.write_text(scp.read_text().replace(str(folder), str(tmp_path / "copy")))
    assert contents(tmp_path / "copy") == before
    with open(tmp_path / "copy" / "wav.ark", "ab") as stream:
        stream.write(b"x")
    assert contents(tmp_path / "copy") != before
    assert contents(pack_small(tmp_path / "other", {"a-r-1": 500, "a-r-3": 600})) != before
    (tmp_path / "copy" / "wav.ark").unlink()
    with pytest.raises(ValueError, match=r"copy/wav\.scp points to .*copy/wav\.ark, which does not exist"):
        contents(tmp_path / "copy")
    with pytest.raises(ValueError, match=r"nowhere: no wav\.scp, so not a folder of packed audio"):
        contents(tmp_path / "nowhere")


def test_features_know_their_audio_by_what_it_holds(tmp_path, monkeypatch, caplog):
    """A relative path, a link and a moved folder are the same audio; other samples under the same name are not."""
    prepare_small(tmp_path)
    words = [*feature_words(tmp_path, "train"), "--device", "cpu"]
    finish = words[:-2]
    assert run(compute_features, *words, "--job", 1) == run(finish_features, *finish) == 0
    found = contents(tmp_path / "fbank" / "train")
    before = (tmp_path / "fbank/train/parts/1/feats.ark").stat().st_mtime_ns
    (tmp_path / "link").symlink_to(tmp_path / "raw")
    monkeypatch.chdir(tmp_path / "raw")
    for place in ("train", tmp_path / "link" / "train"):
        words[words.index("--audio") + 1] = finish[finish.index("--audio") + 1] = place
        assert run(compute_features, *words, "--job", 1) == run(finish_features, *finish) == 0
    assert (tmp_path / "fbank/train/parts/1/feats.ark").stat().st_mtime_ns == before
    lengths = dict(line.split() for line in Path("train/utt2samples").read_text().splitlines())
    shutil.rmtree("train")
    pack_small(Path("train"), {key: int(count) + (key == "spk0-rec0-00000") for key, count in lengths.items()})
    words[words.index("--audio") + 1] = "train"
    assert run(compute_features, *words, "--job", 1) == 1
    assert "input audio: was" in caplog.text and contents(tmp_path / "fbank" / "train") == found
