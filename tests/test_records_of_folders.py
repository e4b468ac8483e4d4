"""Records: what made a folder, every difference named; outputs by their bytes, hashed again where stamps changed."""

import json
import os
import shutil
import zlib
from pathlib import Path

import pytest

from sslsv_tk import block_sums, digests, records, stamps
from sslsv_tk.artifacts import StaleArtifact
from sslsv_tk.records import Made, Record
from sslsv_tk.stamps import Stamps


def test_a_folder_without_a_record_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "none", tmp_path / "file"):
        assert not records.made_as(folder, {"bands": 40}, {})
        assert records.read(folder) is None


def test_a_record_is_recognised(tmp_path: Path) -> None:
    options, inputs = {"bands": 40, "widths": (8, 16), "name": None, "share": 400.0}, {"wav.scp of data/train": "12ab"}
    records.write(tmp_path / "new", Made(options, inputs))
    assert records.made_as(tmp_path / "new", options, inputs)
    assert records.made_as(tmp_path / "new", dict(reversed({**options, "share": 400}.items())), inputs)
    found = records.read(tmp_path / "new")
    assert found is not None and (found.options, found.inputs) == ({**options, "widths": [8, 16]}, inputs)


def test_every_difference_is_named(tmp_path: Path) -> None:
    records.write(tmp_path, Made({"bands": 40, "window": "hann", "same": 1}, {"wav.scp of data/train": "12ab"}))
    with pytest.raises(StaleArtifact) as caught:
        records.made_as(tmp_path, {"bands": 80, "shift": 160, "same": 1}, {"wav.scp of data/train": "34cd"})
    assert str(caught.value) == (
        f"{tmp_path} was made otherwise (option bands: was 40, now 80; option shift: was absent, now 160; "
        "option window: was hann, now absent; input wav.scp of data/train: was 12ab, now 34cd). "
        "Use another folder, or --force true to make it anew."
    )


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "{}", '{"options": {}}', "\xff", '{"options": 1, "inputs": 2, "digest": 3}', "[" * 100_000],
    ids=range(9),
)
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "made.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(StaleArtifact, match=r"made.json: not a record of how this folder was made"):
        records.made_as(tmp_path, {}, {})


def test_a_record_that_failed_to_be_written_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        records.write(tmp_path, Made({"path": object()}, {}))
    assert os.listdir(tmp_path) == []


def test_a_record_is_readable_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records.write(tmp_path, Made({"b": 1, "a": 2}, {}))
    text = (tmp_path / "made.json").read_text()
    assert text.endswith("}\n") and text.index('"a"') < text.index('"b"')
    found = json.loads(text)
    digest = found.pop("digest")
    assert found == {"inputs": {}, "options": {"a": 2, "b": 1}, "outputs": {}, "facts": {}}
    assert digest == digests.of_value(found)


def test_a_record_without_digests_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "made.json").write_text('{"options": {"bands": 40}, "inputs": {}}')
    with pytest.raises(
        StaleArtifact, match=r"a record without digests, of an earlier version: .*--force true"
    ) as caught:
        records.made_as(tmp_path, {"bands": 40}, {})
    assert "\n" not in str(caught.value)


# outputs and stamps


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A table and an ark of three and a bit blocks, and their record."""
    place = tmp_path / "folder"
    place.mkdir()
    (place / "table").write_bytes(b"a 1\nb 2\n")
    contents = os.urandom(3 * block_sums.BLOCK_BYTES + 77)
    (place / "x.ark").write_bytes(contents)
    sums = block_sums.BlockSums()
    for begin in range(0, len(contents), 1000):
        sums.update(contents[begin : begin + 1000])
    sums.write(block_sums.path_of(place / "x.ark"))
    outputs = records.of_files(place, ["table", "x.ark.sums", "none"])
    outputs["x.ark"] = {"bytes": len(contents), "contents": "ab"}
    record = records.write(place, Made({}, {}), outputs)
    os.utime(place / "table", (1, 1))
    os.utime(place / "x.ark", (1, 1))
    record.stamp(place, Stamps(place / "made.json"))
    return place


def faults(folder: Path) -> list[str]:
    record = Record.read(folder / "made.json")
    assert record is not None
    return record.faults(folder, stamps=Stamps(folder / "made.json"))


@pytest.mark.parametrize("name", ["table", "x.ark"])
def test_a_flipped_bit_is_seen_and_named(folder: Path, name: str) -> None:
    assert faults(folder) == []
    contents = bytearray((folder / name).read_bytes())
    contents[-2] ^= 4
    (folder / name).write_bytes(contents)
    (found,) = faults(folder)
    assert found.startswith(f"{folder}/{name} has other contents than were written")
    assert name == "table" or "(1 of its blocks, the first at byte 196608)" in found
    contents[-2] ^= 4
    (folder / name).write_bytes(contents)
    assert faults(folder) == []


@pytest.mark.parametrize("change", ["touched", "copied", "another inode"])
def test_a_changed_stamp_is_no_error_and_hashed_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    if change == "touched":
        os.utime(folder / "table", (2, 2))
    elif change == "copied":
        shutil.copytree(folder, folder.with_name("copy"))
        folder = folder.with_name("copy")
        os.utime(folder / "x.ark", (3, 3))
    else:
        shutil.copy2(folder / "table", folder / "twin")
        (folder / "twin").rename(folder / "table")
    assert faults(folder) == []
    os.utime(folder / "x.ark.sums", (4, 4))
    assert faults(folder) == []
    monkeypatch.setattr(block_sums, "damaged_blocks", lambda path: pytest.fail(f"{path} was hashed again"))
    assert faults(folder) == []


def rot(path: Path) -> None:
    """A bit flips on the disk: neither time nor size nor inode changes."""
    before = path.stat()
    with open(path, "r+b") as stream:
        byte = stream.read(1)[0]
        stream.seek(0)
        stream.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert stamps.stamp_of(path) == stamps.stamp_in(before)


def test_a_table_whose_stamp_is_as_it_was_is_compared_all_the_same(folder: Path) -> None:
    assert faults(folder) == []
    rot(folder / "table")
    before = stamps.stamp_of(folder / "table")
    assert faults(folder) == [f"{folder}/table has other contents than were written"]
    assert stamps.stamp_of(folder / "table") != before  # whatever goes by stamps alone looks at it now


@pytest.mark.parametrize(("facts", "stage"), [({}, "stages 1 and 2"), ({"contents": "ab"}, "stage 3")])
def test_tables_that_a_stage_reads_are_compared_first(tmp_path: Path, facts: dict[str, str], stage: str) -> None:
    (tmp_path / "utt2rec").write_text("a Tg8\n")
    records.write(tmp_path, Made({}, {}), records.of_files(tmp_path, ["utt2rec"]), **facts)
    records.require_tables(tmp_path)
    (tmp_path / "utt2rec").write_text("a tg8\n")
    with pytest.raises(ValueError, match=f"utt2rec has other contents than were written. Run {stage} again."):
        records.require_tables(tmp_path)
    (tmp_path / "made.json").unlink()
    records.require_tables(tmp_path)  # nobody says what they were


def test_an_ark_that_a_reader_finds_damaged_loses_its_stamp(folder: Path) -> None:
    assert faults(folder) == []
    rot(folder / "x.ark")
    assert faults(folder) == []  # its stamp speaks for it
    stamps.distrust(folder / "x.ark")
    (found,) = faults(folder)
    assert found.startswith(f"{folder}/x.ark has other contents than were written")


def test_a_record_that_is_damaged_loses_its_stamp(folder: Path) -> None:
    rot(folder / "made.json")
    before = stamps.stamp_of(folder / "made.json")
    assert Record.read(folder / "made.json") is None
    assert stamps.stamp_of(folder / "made.json") != before


def test_a_file_written_within_the_clock_of_the_disk_is_hashed(folder: Path) -> None:
    (folder / "table").write_bytes(b"a 1\nb 2\n")
    assert faults(folder) == []
    time = (folder / "table").stat().st_mtime_ns
    (folder / "table").write_bytes(b"a 1\nb 3\n")
    os.utime(folder / "table", ns=(time, time))
    assert faults(folder) == [f"{folder}/table has other contents than were written"]


def test_stamps_of_a_folder_that_cannot_be_written_lie_in_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    os.utime(folder / "table", (2, 2))
    (folder / ".made.json.stamps").unlink()
    (folder / ".made.json.stamps").mkdir()  # root may write into folders that say they cannot be written
    os.utime(folder / "x.ark.sums", (4, 4))
    assert faults(folder) == []
    assert len(list((tmp_path / "cache/sslsv_tk/stamps").iterdir())) == 1
    monkeypatch.setattr(block_sums, "damaged_blocks", lambda path: pytest.fail(f"{path} was hashed again"))
    assert faults(folder) == []


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_sums_are_those_of_zlib_and_every_damage_is_found(tmp_path: Path, size: int) -> None:
    contents = os.urandom(size)
    (tmp_path / "a").write_bytes(contents)
    sums = block_sums.BlockSums()
    for begin in range(0, size, 999):
        sums.update(contents[begin : begin + 999])
    sums.write(block_sums.path_of(tmp_path / "a"))
    expected = [zlib.crc32(contents[begin : begin + 65_536]) for begin in range(0, size, 65_536)]
    assert block_sums.read(tmp_path / "a").tolist() == expected
    assert block_sums.damaged_blocks(tmp_path / "a") == []
    for place in {0, size // 2, size - 1} if size else ():
        changed = bytearray(contents)
        changed[place] ^= 128
        (tmp_path / "a").write_bytes(changed)
        assert block_sums.damaged_blocks(tmp_path / "a") == [place // 65_536]
    (tmp_path / "a").write_bytes(contents + b"x" * 65_536)
    assert block_sums.damaged_blocks(tmp_path / "a")
