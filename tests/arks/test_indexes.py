"""audio.index and features.index against the tables: the same rows, never those of other tables, never damaged ones."""

import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslsv_tk.arks import indexes, matrices
from sslsv_tk.arks.audio_archive import AUDIO, OFFSETS, AudioArchive, write_pcm_ark
from sslsv_tk.arks.feature_archive import FEATURES, FeatureArchive
from sslsv_tk.arks.indexes import ArchiveKind, Index
from sslsv_tk.kaldi.tables import write_table

COLUMNS = ("keys", "files", "file_of_row", "offsets", "lengths")
ARCHIVES = {"audio": AudioArchive, "features": FeatureArchive}
KINDS = {"audio": AUDIO, "features": FEATURES}
LENGTHS = {"u0": 9, "u1": 4, "u2": 7, "u3": 5, "u4": 1}


def lay_out(folder: Path, kind: str) -> Path:
    """Five utterances, of number 0 to 4 throughout, by turns in two arks."""
    lines = {}
    for part in range(2):
        here = {key: int(key[1:]) for key in LENGTHS if int(key[1:]) % 2 == part}
        place = folder / str(part)
        place.mkdir(parents=True)
        if kind == "audio":
            waves = [(key, np.full(LENGTHS[key], number, np.int16)) for key, number in here.items()]
            write_pcm_ark(waves, place / "wav.ark", place / "scp", place / "lengths")
        else:
            frames = {key: np.full((LENGTHS[key], 3), number, np.float32) for key, number in here.items()}
            kaldiio.save_ark(str(place / "feats.ark"), frames, str(place / "scp"))
        lines.update(line.split(maxsplit=1) for line in (place / "scp").read_text().splitlines())
    write_table(folder / KINDS[kind].scp, list(LENGTHS), [lines[key] for key in LENGTHS])
    write_table(folder / KINDS[kind].lengths, list(LENGTHS), list(map(str, LENGTHS.values())))
    return folder


@pytest.fixture(params=["audio", "features"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def folder(tmp_path, kind) -> Path:
    return lay_out(tmp_path / "set", kind)


def by_hand(folder: Path, kind: ArchiveKind) -> list[tuple[str, str, int, int]]:
    """Key, file, offset and length of each line, by a loop over the tables."""
    places = [line.split(maxsplit=1) for line in (folder / kind.scp).read_text().splitlines()]
    lengths = dict(line.split() for line in (folder / kind.lengths).read_text().splitlines())
    return [(key, *(split := place.rpartition(":"))[:1], int(split[2]), int(lengths[key])) for key, place in places]


def rows(index: Index) -> list[tuple[str, str, int, int]]:
    files = [index.files[number].decode() for number in index.file_of_row]
    return [
        (key.decode(), file, int(offset), int(length))
        for key, file, offset, length in zip(index.keys, files, index.offsets, index.lengths, strict=True)
    ]


def change(folder: Path, kind: ArchiveKind) -> None:
    """Another length of the last utterance."""
    write_table(folder / kind.lengths, list(LENGTHS), ["9", "4", "7", "5", "2"])


def read_all(archive: AudioArchive | FeatureArchive) -> None:
    """Does every utterance hold its number, to its end?"""
    for row, (key, length) in enumerate(LENGTHS.items()):
        found = archive.read_looped(row, length - 1, 2 * length + 1)
        assert found.shape[0] == 2 * length + 1 and (found == int(key[1:])).all()


def is_mapped(index: Index) -> bool:
    return index.head.endswith(b"\n")


def unwritable(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr("sslsv_tk.artifacts.replacing", refuse)


# the same rows


def test_opening_makes_an_index_of_what_the_tables_say(folder, kind):
    read_all(ARCHIVES[kind](folder))
    assert (folder / KINDS[kind].name).is_file()
    found = indexes.mapped(folder, KINDS[kind])
    assert found is not None and is_mapped(found) and rows(found) == by_hand(folder, KINDS[kind])
    for name in COLUMNS:
        assert not getattr(found, name).flags.writeable
    read_all(ARCHIVES[kind](folder))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_tables_have_the_index_that_a_loop_over_their_lines_finds(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    characters = st.characters(blacklist_categories=("Cs", "Cc", "Zs", "Zl", "Zp"))
    keys = data.draw(st.lists(st.text(characters, min_size=1, max_size=9), min_size=1, max_size=9, unique=True))
    keys.sort(key=str.encode)
    arks = st.sampled_from(["x.ark", "folder with: colons/y.ark", "é"])
    numbers = st.integers(1, 10**15)
    places = [f"{data.draw(arks)}:{data.draw(numbers)}" for _ in keys]
    write_table(folder / "feats.scp", keys, places)
    write_table(folder / "utt2num_frames", keys, [str(data.draw(numbers)) for _ in keys])
    found = indexes.load(folder, FEATURES)
    assert is_mapped(found)
    assert rows(found) == [
        (key, place.rpartition(":")[0], int(place.rpartition(":")[2]), int(line.split()[1]))
        for key, place, line in zip(keys, places, (folder / "utt2num_frames").read_text().splitlines(), strict=True)
    ]


def test_an_index_that_fits_is_not_written_again(folder, kind):
    indexes.load(folder, KINDS[kind])
    before = (folder / KINDS[kind].name).stat()
    indexes.load(folder, KINDS[kind])
    after = (folder / KINDS[kind].name).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_without_a_table_of_frames_the_headers_are_read_once_until_an_ark_changes(tmp_path, monkeypatch):
    folder = lay_out(tmp_path, "features")
    (folder / "utt2num_frames").unlink()
    parsed: list[int] = []
    parse = matrices.parse_header
    monkeypatch.setattr(matrices, "parse_header", lambda found: (parsed.append(1), parse(found))[1])
    for headers in (5 + 1, 1):  # each, and the first again for the bands
        parsed.clear()
        archive = FeatureArchive(folder)
        assert archive.frames.tolist() == list(LENGTHS.values()) and len(parsed) == headers
    kaldiio.save_ark(str(folder / "1" / "feats.ark"), {"u1": np.ones((4, 3), "f4"), "u3": np.full((8, 3), 3, "f4")})
    assert FeatureArchive(folder).frames.tolist() == [9, 4, 7, 8, 1]


# other rows


def test_an_index_of_other_tables_is_made_anew(folder, kind, caplog):
    indexes.load(folder, KINDS[kind])
    change(folder, KINDS[kind])
    with caplog.at_level(logging.INFO):
        found = indexes.load(folder, KINDS[kind])
    assert "is not of the tables beside it" in caplog.text
    assert is_mapped(found) and rows(found) == by_hand(folder, KINDS[kind]) and found.lengths[-1] == 2


def test_an_index_of_another_folder_is_not_taken(tmp_path, kind):
    one, other = (lay_out(tmp_path / name, kind) for name in ("one", "other"))
    change(other, KINDS[kind])
    for folder in (one, other):
        indexes.load(folder, KINDS[kind])
    (one / KINDS[kind].name).rename(tmp_path / "swapped")
    (other / KINDS[kind].name).rename(one / KINDS[kind].name)
    (tmp_path / "swapped").rename(other / KINDS[kind].name)
    for folder in (one, other):
        assert rows(indexes.load(folder, KINDS[kind])) == by_hand(folder, KINDS[kind])


def test_tables_that_change_while_they_are_read_leave_no_index_that_fits(folder, kind):
    def read(folder: Path) -> Index:
        found = KINDS[kind].read(folder)
        change(folder, KINDS[kind])
        return found

    assert indexes.load(folder, replace(KINDS[kind], read=read)).lengths[-1] == 1
    assert indexes.mapped(folder, KINDS[kind]) is None
    assert indexes.load(folder, KINDS[kind]).lengths[-1] == 2


@settings(max_examples=150, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_index_never_gives_other_rows_and_is_repaired(tmp_path_factory, kind, data):
    folder = lay_out(tmp_path_factory.mktemp("damaged"), kind)
    indexes.load(folder, KINDS[kind])
    path = folder / KINDS[kind].name
    contents = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        contents = contents[: data.draw(st.integers(0, len(contents) - 1))]
    else:
        place = data.draw(st.integers(0, len(contents) - 1))
        contents[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(contents)
    found = indexes.load(folder, KINDS[kind])
    assert rows(found) == by_hand(folder, KINDS[kind]) and is_mapped(found)
    assert indexes.mapped(folder, KINDS[kind]) is not None


def test_an_index_of_a_machine_with_another_order_of_bytes_is_made_anew(folder, kind, caplog):
    own = KINDS[kind].read(folder)
    swapped = {name: getattr(own, name).astype(getattr(own, name).dtype.newbyteorder()) for name in COLUMNS[2:]}
    indexes.load(folder, replace(KINDS[kind], read=lambda folder: replace(own, **swapped)))
    assert b'">i8"' in (folder / KINDS[kind].name).read_bytes()
    found = indexes.load(folder, KINDS[kind])
    assert "another order of bytes" in caplog.text
    assert is_mapped(found) and found.offsets.dtype.isnative and rows(found) == by_hand(folder, KINDS[kind])


# where it cannot be written, and who else writes it


@pytest.fixture
def read_only(tmp_path) -> Iterator[Callable[[Path], None]]:
    """Makes a folder read-only: by its permissions, or for root by a file system."""
    mounted: list[Path] = []

    def close(folder: Path) -> None:
        if os.geteuid() != 0:
            folder.chmod(0o555)
            return
        for options in (("--bind", str(folder), str(folder)), ("-o", "remount,bind,ro", str(folder))):
            if subprocess.run(["mount", *options], capture_output=True, check=False).returncode != 0:
                pytest.skip("mounting needs more rights: the test with a refused write stands in for it")
            mounted[:] = [folder]

    yield close
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_read_only_folder_without_an_index_is_read_by_its_tables(folder, kind, read_only, caplog):
    read_only(folder)
    with caplog.at_level(logging.INFO):
        read_all(ARCHIVES[kind](folder))
    assert f"its tables are read, since {KINDS[kind].name} cannot be written" in caplog.text


def test_a_read_only_folder_with_a_stale_index_is_read_by_its_tables(folder, kind, monkeypatch):
    indexes.load(folder, KINDS[kind])
    change(folder, KINDS[kind])
    unwritable(monkeypatch)
    found = indexes.load(folder, KINDS[kind])
    assert not is_mapped(found) and rows(found) == by_hand(folder, KINDS[kind])


def test_one_who_opens_while_another_makes_the_index_finds_the_same(folder, kind):
    def read(folder: Path) -> Index:
        assert is_mapped(indexes.load(folder, KINDS[kind]))  # the other begins and ends in the middle of this one
        return KINDS[kind].read(folder)

    found = indexes.load(folder, replace(KINDS[kind], read=read))
    assert is_mapped(found) and rows(found) == by_hand(folder, KINDS[kind])


def test_several_processes_may_make_it_at_once(folder, kind):
    module = {"audio": "audio_archive", "features": "feature_archive"}[kind]
    program = (
        f"import sys; from sslsv_tk.arks.{module} import {ARCHIVES[kind].__name__} as Archive\n"
        "sys.stdin.readline(); print(Archive(sys.argv[1]).lengths.tolist())"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", program, str(folder)]
    started = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(3)]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in started:
        assert process.communicate()[0].strip() == str(list(LENGTHS.values())) and process.returncode == 0
    assert indexes.mapped(folder, KINDS[kind]) is not None
    assert not list(folder.glob(".*"))


def test_one_killed_half_way_leaves_no_index_and_the_next_makes_it(folder, kind):
    name = {"audio": "audio_archive.AUDIO", "features": "feature_archive.FEATURES"}[kind]
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from sslsv_tk.arks import audio_archive, feature_archive, indexes\n"
        "os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"indexes.load(Path(sys.argv[1]), {name})"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL and len(list(folder.glob(".*.tmp"))) == 1
    assert not (folder / KINDS[kind].name).exists()
    read_all(ARCHIVES[kind](folder))
    assert indexes.mapped(folder, KINDS[kind]) is not None


def test_what_a_killed_one_left_is_removed_once_it_cannot_be_of_one_at_work(folder, kind):
    left, at_work = (folder / f".{KINDS[kind].name}.{process}.tmp" for process in (1, 2))
    other = folder / ".wav.scp.1.tmp"
    for path in (left, at_work, other):
        path.write_bytes(b"half")
    for path in (left, other):
        os.utime(path, (0, 0))
    indexes.load(folder, KINDS[kind])
    assert (left.exists(), at_work.exists(), other.exists()) == (False, True, True)


# loader workers


def look(archive: AudioArchive | FeatureArchive) -> tuple[list[int], bool]:
    """What a worker has: lengths, and is the index among the files that its process maps?"""
    read_all(archive)
    mapped = any(archive.kind.name in line for line in Path("/proc/self/maps").read_text().splitlines())
    return archive.lengths.tolist(), mapped


def test_a_spawned_worker_is_sent_a_path_and_maps_the_same_file(folder, kind):
    archive = ARCHIVES[kind](folder)
    read_all(archive)
    sent = pickle.dumps(archive)
    assert b"u0" not in sent and len(sent) < 1000
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(look, (archive,)) == (list(LENGTHS.values()), True)


def test_a_worker_does_not_hash_what_is_mapped_already(folder, kind, monkeypatch):
    sent = pickle.dumps(ARCHIVES[kind](folder))
    monkeypatch.setattr("sslsv_tk.digests.of_file", lambda path: pytest.fail(f"{path} is hashed"))
    read_all(pickle.loads(sent))


def test_a_worker_reads_the_tables_where_nothing_could_be_mapped(folder, kind, monkeypatch):
    unwritable(monkeypatch)
    archive = ARCHIVES[kind](folder)
    sent = pickle.dumps(archive)
    assert b"u0" not in sent
    read_all(pickle.loads(sent))
    monkeypatch.undo()
    read_all(pickle.loads(sent))  # a worker that may write the index
    change(folder, KINDS[kind])
    with pytest.raises(ValueError, match=r"were changed while in use\. Start this step again"):
        pickle.loads(sent)


def test_an_index_that_changed_on_the_way_to_a_worker_is_an_error(folder, kind):
    sent = pickle.dumps(ARCHIVES[kind](folder))
    change(folder, KINDS[kind])
    indexes.load(folder, KINDS[kind])
    with pytest.raises(ValueError, match=r"were changed while in use\. Start this step again"):
        pickle.loads(sent)
    (folder / KINDS[kind].name).unlink()
    with pytest.raises(ValueError, match=r"were changed while in use\. Start this step again"):
        pickle.loads(sent)


def test_two_hundred_thousand_rows_open_in_little_memory(tmp_path, kind):
    count = 200_000
    keys = [f"id{row:08d}" for row in range(count)]
    if kind == "audio":
        write_table(tmp_path / "wav.scp", keys, [f"/corpus/of/many/files/{key}/recording/00001.wav" for key in keys])
        write_table(tmp_path / OFFSETS, keys, np.full(count, 44))
    else:
        kaldiio.save_ark(str(tmp_path / "feats.ark"), {keys[0]: np.zeros((16000, 3), "f4")})
        write_table(tmp_path / "feats.scp", keys, [f"{tmp_path}/feats.ark:{row * 160 + 11}" for row in range(count)])
    write_table(tmp_path / KINDS[kind].lengths, keys, np.arange(count) + 16000)
    indexes.load(tmp_path, KINDS[kind])
    module = {"audio": "audio_archive", "features": "feature_archive"}[kind]
    program = (
        f"import resource, sys; from sslsv_tk.arks.{module} import {ARCHIVES[kind].__name__} as Archive\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); archive = Archive(sys.argv[1])\n"
        "print(len(archive), int(archive.lengths[-1]), peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    found, last, grown_kilobytes = (int(word) for word in done.stdout.split())
    assert (found, last) == (count, count + 15999)
    assert grown_kilobytes < 8_000, "the columns alone are 6 to 18 MB: they were read, not mapped"
