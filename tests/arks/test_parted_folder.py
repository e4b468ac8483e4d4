"""Parts of a job array, joined: audio, features and embeddings against kills, damage and change."""

import functools
import hashlib
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_corpus import pack as pack_small

from sslsv_tk import artifacts, digests, records, seeds
from sslsv_tk.arks import indexes
from sslsv_tk.blocks import BLOCK
from sslsv_tk.extraction.folder import EmbeddingFolder
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import as_words
from sslsv_tk.packing import join, pack
from sslsv_tk.packing.feature_folder import FeatureFolder, FeatureSource
from sslsv_tk.packing.parts import Part
from sslsv_tk.records import Record

OUT = Path("out")  # scp name the arks as they are asked for, so every run is in a folder of its own
Run = Callable[..., None]


class Audio:
    """Stage 3, raw, over ten files."""

    ark, scp = "split/wav.{}.ark", "wav.scp"

    def __init__(self, home: Path, write_audio) -> None:
        self.data = home / "data"
        keys = [f"a-r{number}-u" for number in range(10)]
        for number, key in enumerate(keys):
            write_audio(home / "corpus" / f"{key}.wav", 300 + number)
        DataDirectory(as_words(keys), as_words([str(home / "corpus" / f"{key}.wav") for key in keys])).write(self.data)

    def run(self, jobs: int = 2, force: bool = False) -> None:
        for job in range(1, jobs + 1):
            pack.pack_part(self.data, Part(OUT, job, jobs), force=force)
        join.finish(self.data, OUT, jobs, force=force)

    def change(self) -> None:
        found = DataDirectory.load(self.data)
        found.select(np.arange(1, 10)).write(self.data)


class Features:
    """Stage 3 of feats_type fbank, with frames drawn at random."""

    ark, scp = "parts/{}/feats.ark", "feats.scp"

    def __init__(self, home: Path, write_audio) -> None:
        self.audio, self.options = home / "raw" / "set", {"feats_type": "fbank"}
        pack_small(self.audio, {f"a-r{number:03d}-u": 20 + number for number in range(BLOCK + 5)})

    def run(self, jobs: int = 2, force: bool = False) -> None:
        folder = FeatureFolder(OUT, FeatureSource(self.audio, None, self.audio.parent), jobs, self.options)
        keys = folder.source.keys

        def frames(start: int):
            for key in keys[start : start + BLOCK]:
                generator = seeds.generator("frames", key.decode())
                yield generator.normal(size=(generator.integers(1, 4), 5)).astype(np.float32)

        for job in range(1, jobs + 1):
            if force or not (folder.is_complete() or folder.has_part(job)):
                folder.write_part(job, lambda: frames, "none")
        if force or not folder.is_complete():
            folder.join()

    def change(self) -> None:
        self.options = {"feats_type": "fbank", "frontend.bands": 6}


class Archive:
    """What stage 6 asks of an archive."""

    keys = as_words([f"a-r{number:03d}-u" for number in range(BLOCK + 5)])

    def __len__(self) -> int:
        return len(self.keys)


class Encoder:
    """Gives vectors drawn by the name of the utterance."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def block(self, archive: Archive, start: int) -> np.ndarray:
        drawn = [seeds.generator("vector", key.decode()).normal(size=3) for key in archive.keys[start : start + BLOCK]]
        return (self.scale * np.stack(drawn)).astype(np.float32)


class Embeddings:
    """Stage 6."""

    ark, scp = "parts/{}/xvector.ark", "xvector.scp"

    def __init__(self, home: Path, write_audio) -> None:
        self.scale, self.audio = 1.0, "ab"

    def run(self, jobs: int = 2, force: bool = False) -> None:
        folder = EmbeddingFolder(
            OUT, jobs, {"checkpoint": "averaged"}, {"checkpoint": f"{self.scale}", "data": self.audio}
        )
        for job in range(1, jobs + 1):
            if force or not (folder.is_complete() or folder.has_part(job)):
                folder.write_part(job, lambda: (Encoder(self.scale), [3, 4]), Archive())
        if force or not folder.is_complete():
            folder.join(Archive())

    def change(self) -> None:
        self.scale = 2.0


@pytest.fixture(params=[Audio, Features, Embeddings], ids=lambda kind: kind.__name__.lower())
def user(request, tmp_path, write_audio, monkeypatch) -> Audio | Features | Embeddings:
    """One of the three; the current folder is empty."""
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    return request.param(tmp_path, write_audio)


def times() -> dict[str, int]:
    files = (path for path in OUT.rglob("*") if path.is_file() and path.suffix != ".stamps")
    return {str(path): path.stat().st_mtime_ns for path in files}


def files(contents) -> list[str]:
    """What the record speaks of: everything but records and the index."""
    return [name for name in contents(OUT) if not name.endswith((".json", ".index"))]


def test_killed_at_any_rename_the_next_run_makes_the_same(user, contents, kill_at_rename):
    user.run()
    whole, number = contents(OUT), 1
    while True:
        shutil.rmtree(OUT)
        if not kill_at_rename(user.run, number):
            break
        found = {name: text for name, text in contents(OUT).items() if not name.endswith(".tmp")}
        assert "made.json" not in found and all(whole[name] == text for name, text in found.items())
        user.run()
        assert contents(OUT) == whole
        number += 1
    assert number - 1 == len(whole)


def test_killed_while_all_is_made_anew_the_next_run_makes_the_same(user, contents, kill_at_rename):
    user.run()
    whole, number = contents(OUT), 1
    while kill_at_rename(functools.partial(user.run, force=True), number):
        user.run()
        assert contents(OUT) == whole
        number += 1
    assert number > len(files(contents))


def test_a_second_run_does_nothing_also_with_another_number_of_jobs(user):
    user.run()
    before = times()
    for jobs in (2, 3, 1):
        user.run(jobs)
    assert times() == before


@pytest.mark.parametrize("damage", ["missing", "cut", "grown"])
def test_what_is_damaged_is_named_and_its_part_alone_is_made_anew(user, contents, caplog, damage):
    user.run()
    whole, names = contents(OUT), files(contents)
    assert len(names) > 4
    for name in names:
        before = times()
        if damage == "missing":
            (OUT / name).unlink()
        elif damage == "cut":
            os.truncate(OUT / name, len(whole[name]) - 1)
        else:
            (OUT / name).write_bytes(whole[name] + b"x")
        caplog.clear()
        user.run()
        assert contents(OUT) == whole
        assert any(f"out/{name} " in line for line in caplog.messages), caplog.messages
        changed = {path for path, time in times().items() if time != before.get(path)}
        arks = {f"out/{user.ark.format(job)}" for job in (1, 2)}
        of_parts = name.partition("/")[0] in ("split", "parts")
        made = {ark for ark in arks if of_parts and ("1" in name) == ("1" in ark)}
        assert changed & arks == made, name


def test_other_contents_of_the_same_size_are_noticed(user, contents, caplog):
    user.run()
    whole = contents(OUT)
    for name in files(contents):
        contents_now = bytearray(whole[name])
        contents_now[len(contents_now) // 2] ^= 1
        (OUT / name).write_bytes(contents_now)
        caplog.clear()
        user.run()
        assert contents(OUT) == whole
        assert f"{name} has other contents than were written" in caplog.text


@pytest.mark.parametrize("which", ["made.json", "part"])
def test_a_damaged_record_costs_a_look_and_no_dead_end(user, contents, caplog, which):
    user.run()
    whole, before = contents(OUT), times()
    path = OUT / "made.json" if which == "made.json" else next(p for p in OUT.rglob("*.json") if "1" in str(p))
    for text in (b"", b"{", b"[]", path.read_bytes()[:-9], path.read_bytes().replace(b"1", b"2", 1), b"\xff"):
        if which == "part":  # what is complete is not asked for the records of its parts
            (OUT / "made.json").unlink()
        path.write_bytes(text)
        user.run()
        assert contents(OUT) == whole
        assert f"{path} is damaged" in caplog.text
    assert times()[f"out/{user.ark.format(2)}"] == before[f"out/{user.ark.format(2)}"]


def test_the_digest_of_the_contents_is_that_of_the_entries_whatever_the_jobs(user):
    found = set()
    for jobs in (1, 2, 3):
        user.run(jobs)
        found.add(json.loads((OUT / "made.json").read_text())["facts"]["contents"])
        keys, arks, offsets = indexes.read_scp(OUT / user.scp)
        total = 0
        for ark in np.unique(arks):
            whole, rows = Path(ark.decode()).read_bytes(), np.flatnonzero(arks == ark)
            begins = [int(offsets[row]) - len(keys[row]) - 1 for row in rows]
            for begin, end in zip(begins, [*begins[1:], len(whole)], strict=True):
                samples = begin + len(keys[rows[0]]) + 1 + (44 if user.scp == "wav.scp" else 0)
                last = hashlib.sha256(whole[samples:end]).digest()
                total += int.from_bytes(hashlib.sha256(whole[begin:samples] + last).digest()[:16], "little")
        assert (total % 2**128).to_bytes(16, "little").hex() in found
        shutil.rmtree(OUT)
    assert len(found) == 1


def test_what_is_made_of_other_things_is_refused_or_followed(user, contents):
    user.run()
    whole = contents(OUT)
    user.change()
    if isinstance(user, Embeddings):
        user.run()
        whole, user.audio = contents(OUT), "cd"
    with pytest.raises(artifacts.StaleArtifact, match=r"out was made otherwise \((input|option) .*--force true"):
        user.run()
    assert contents(OUT) == whole
    user.run(force=True)
    assert contents(OUT)["made.json"] != whole["made.json"]
    user.run()


def test_parts_of_an_earlier_number_of_jobs_and_what_killed_runs_left_go(user):
    user.run(3)
    (OUT / "made.json").unlink()
    for stray in (OUT, (OUT / user.ark.format(1)).parent):
        (stray / f".{Path(user.ark.format(1)).name}.99999.tmp").write_bytes(b"half")
    (OUT / Path(user.ark).parts[0] / "notes").write_text("mine")
    user.run(2)
    left = {str(path.relative_to(OUT)) for path in OUT.rglob("*")}
    assert not [name for name in left if name.endswith(".tmp") or "3" in name]
    assert f"{Path(user.ark).parts[0]}/notes" in left


def test_a_folder_that_was_moved_is_joined_anew_and_nothing_is_computed_again(user, monkeypatch, caplog):
    user.run()
    before, made = times(), Record.read(OUT / "made.json")
    home = Path.cwd()
    OUT.rename("moved")
    monkeypatch.setattr(sys.modules[__name__], "OUT", Path("moved"))
    user.run()
    assert f"moved/{user.scp} points to out/{user.ark.format(made_by(made))}, which is none of its arks" in caplog.text
    _, arks, _ = indexes.read_scp(OUT / user.scp)
    assert {ark.decode() for ark in arks} == {f"moved/{user.ark.format(job)}" for job in (1, 2)}
    after = times()
    for job in (1, 2):
        assert after[f"moved/{user.ark.format(job)}"] == before[f"out/{user.ark.format(job)}"]
    again = Record.read(OUT / "made.json")
    assert made is not None and again is not None and made.facts == again.facts
    (home / "link").symlink_to("moved")
    monkeypatch.setattr(sys.modules[__name__], "OUT", home / "link")
    user.run()
    assert {path.replace(f"{home}/link", "moved"): time for path, time in times().items()} == after


def made_by(record: Record | None) -> int:
    """The first job that had anything to do."""
    assert record is not None
    return min(int(re.findall(r"\d+", name)[0]) for name in record.arks())


def test_an_empty_part_leaves_nothing_of_an_earlier_one(user, caplog):
    user.run(2)
    (OUT / "made.json").unlink()
    user.run(11)
    empty = [job for job in range(1, 12) if not (OUT / user.ark.format(job)).exists()]
    assert empty
    user.run(11)
    record = Record.read(OUT / "made.json")
    assert record is not None and record.facts["num_jobs"] == 11
    assert {name for name in record.outputs if name.endswith(".ark")} == {
        user.ark.format(job) for job in range(1, 12) if job not in empty
    }


def test_a_record_with_another_value_is_not_the_one_that_was_written(tmp_path, caplog):
    record = Record(
        {"bands": 40}, {"audio": "12"}, {"a.ark": {"bytes": 3, "contents": "ff"}}, {"rates": {44100: 1, 8000: 2}}
    )
    record.write(tmp_path / "made.json")
    found = Record.read(tmp_path / "made.json")
    assert found is not None and found.facts == {"rates": {"44100": 1, "8000": 2}} and found.outputs == record.outputs
    assert records.read(tmp_path) is not None, "other readers of records take it, too"
    text = (tmp_path / "made.json").read_text()
    (tmp_path / "made.json").write_text(text.replace("44100", "44101"))
    with caplog.at_level(logging.WARNING):
        assert Record.read(tmp_path / "made.json") is None
    assert "made.json is damaged" in caplog.text and Record.read(tmp_path / "none.json") is None


def test_digests_of_arks_are_joined_as_their_entries_are():
    entries = [(b"a ", b"xyz"), (b"b ", b""), (b"c ", b"0" * 99)]
    whole, first, second = digests.Contents(), digests.Contents(), digests.Contents()
    for number, (head, body) in enumerate(entries):
        whole.add(head, digests.of_stretch(body))
        (first if number == 1 else second).add(head, digests.of_stretch(body))
    assert digests.joined([first.hexdigest(), second.hexdigest()]) == whole.hexdigest()
    assert whole.hexdigest() != second.hexdigest() and digests.joined([]) == digests.Contents().hexdigest() == "0" * 32
