"""Any input to the readers of tables, lists and data directories: it is read, or one line says what is wrong."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sslsv_tk.arks import audio_archive, indexes, matrices
from sslsv_tk.arks.feature_archive import FeatureArchive
from sslsv_tk.corpora import kept_features
from sslsv_tk.corpora.speech import Corpus, prepare
from sslsv_tk.kaldi import directories, repair, subsets, table_sets, tables, trials
from sslsv_tk.kaldi.tables import as_words

KEYS = as_words(["a", "a-b", "b"])
anything = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = "a|b|a-b|id1/v/0.wav|0|1|-1|1.5|nan|1e999|target|nontarget|é|x.ark:7|:|/|x.ark:999999999999999999999"
word = st.sampled_from([*WORDS.split("|"), "|", "", "\u00a0", "\x85", "\u2028", "\t", "\x0b", "\x00", "\r"])
line = st.lists(word, max_size=5).map(" ".join)
lines = st.lists(line, max_size=6).map("\n".join).map(str.encode)
ended = st.tuples(st.one_of(lines, st.binary(max_size=80)), st.sampled_from([b"", b"\n"])).map(b"".join)


def read_or_one_line(read: Callable[[], object]) -> None:
    """Nothing but ValueError and OSError may come out, and each is one line once white space is joined."""
    try:
        read()
    except (ValueError, OSError) as error:
        assert str(error).strip()


@pytest.mark.parametrize(
    "read",
    [
        tables.read_rows,
        tables.read_table,
        lambda path: tables.read_columns(path, 3),
        lambda path: tables.read_columns(path, 4, may_lack_newline=True),
        lambda path: tables.numbers(tables.read_rows(path)[1], path),
        lambda path: tables.integers(tables.read_rows(path)[1], path),
        indexes.read_scp,
        trials.read_columns,
        lambda path: trials.read_trials(path, KEYS),
        lambda path: trials.named_rows(path, KEYS),
        lambda path: subsets.listed(KEYS, path),
    ],
)
@anything
@given(contents=ended)
def test_a_file_of_any_bytes(tmp_path, read, contents):
    (tmp_path / "file").write_bytes(contents)
    read_or_one_line(lambda: read(tmp_path / "file"))


@anything
@given(contents=ended)
def test_what_was_read_is_what_line_by_line_reading_finds(tmp_path, contents):
    (tmp_path / "file").write_bytes(contents)
    try:
        keys, values = tables.read_rows(tmp_path / "file")
    except (ValueError, OSError):
        return
    expected = [line.replace(b"\t", b" ").split(b" ", 1) for line in contents.split(b"\n")[:-1]]
    assert keys.tolist() == [key for key, _ in expected]
    found = [value.replace(b"\t", b" ") for value in values.tolist()]
    assert found == [value.strip(b" ") for _, value in expected]


tables_of_a_directory = st.dictionaries(
    st.sampled_from([*directories.TABLES, "feats.scp", "text", "spk2gender"]), ended, max_size=5
)


@pytest.mark.parametrize(
    "read",
    [
        directories.DataDirectory.load,
        directories.validate,
        directories.fingerprints,
        repair.fix,
        lambda path: table_sets.combine([table_sets.TableSet.load(path)] * 2),
        lambda path: table_sets.TableSet.load(path).rename((b"x", b""), (b"", b"y")).write(path / "out", force=True),
    ],
)
@anything
@given(contents=tables_of_a_directory)
def test_a_data_directory_of_any_tables(tmp_path_factory, read, contents):
    folder = tmp_path_factory.mktemp("data")
    for name, text in {"wav.scp": b"a /a.wav\na-b /b.wav\nb /b.wav\n", **contents}.items():
        (folder / name).write_bytes(text)
    read_or_one_line(lambda: read(folder))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=tables_of_a_directory)
def test_any_tables_taken_over_as_a_corpus(tmp_path_factory, contents):
    folder = tmp_path_factory.mktemp("data")
    for name, text in {"wav.scp": b"a /a.wav\na-b /b.wav\nb /b.wav\n", **contents}.items():
        (folder / name).write_bytes(text)
    read_or_one_line(lambda: prepare(Corpus([str(folder)], labels=None, tolerance=0.9), folder / "out"))


WHOLE = b"a a.ark:2\nb a.ark:43\n"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(contents={}, listed=WHOLE)
@given(contents=tables_of_a_directory, listed=st.sampled_from([WHOLE, b"a a.ark:2\nb a.ark:3\n", b""]))
def test_any_tables_with_features_alone(tmp_path_factory, contents, listed):
    folder = tmp_path_factory.mktemp("data")
    entries = [key + b" " + matrices.encode(np.ones((2, 3), dtype="f4")) for key in (b"a", b"b")]
    (folder / "a.ark").write_bytes(b"".join(entries))
    for name, text in {"feats.scp": listed, **contents}.items():
        (folder / name).write_bytes(text)
    (folder / "wav.scp").unlink(missing_ok=True)
    read_or_one_line(lambda: repair.fix(folder))
    read_or_one_line(lambda: prepare(Corpus([str(folder)], labels=None), folder / "out"))
    settings = {"bands": 3, "shift_seconds": 0.01}
    read_or_one_line(lambda: kept_features.take(folder / "out", folder / "dump", settings))
    assert (folder / "dump" / "made.json").exists() or contents or listed != WHOLE
    if (folder / "dump" / "made.json").exists():
        found = FeatureArchive(folder / "dump")
        read_or_one_line(lambda: [found.read(row, 0, int(found.frames[row])) for row in range(len(found))])


@anything
@given(contents=tables_of_a_directory)
def test_what_fix_repairs_is_well_formed_or_says_why_not(tmp_path_factory, contents):
    folder = tmp_path_factory.mktemp("data")
    for name, text in {"wav.scp": b"b /b.wav\na /a.wav\na-b /b.wav\n", **contents}.items():
        (folder / name).write_bytes(text)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    try:
        kept, total = repair.fix(folder)
    except (ValueError, OSError):
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        return
    assert 1 <= kept <= total
    read_or_one_line(lambda: directories.validate(folder, speaker_prefix=False))


names = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    paths=st.lists(st.tuples(names, names, names), min_size=1, max_size=4), labels=st.sampled_from([True, False, None])
)
def test_a_tree_of_any_names(tmp_path_factory, paths, labels):
    folder = tmp_path_factory.mktemp("tree")
    for parts in paths:
        path = folder.joinpath("corpus", *(part if part not in (".", "..") else "x" for part in parts))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            Path(f"{path}.wav").write_bytes(b"x")
        except OSError:
            continue
    read_or_one_line(lambda: prepare(Corpus([str(folder / "corpus")], labels=labels), folder / "out"))


def test_words_of_any_width_are_gathered_as_slices_are():
    buffer = np.frombuffer(b"one two  three", dtype=np.uint8)
    starts, ends = np.array([0, 4, 8, 9, 9]), np.array([3, 7, 8, 14, 10])
    assert tables.gather(buffer, starts, ends).tolist() == [b"one", b"two", b"", b"three", b"t"]


FORMS = {
    "voxceleb": lambda a, b, same: f"{int(same)} {a.replace('-', '/')}.wav {b.replace('-', '/')}.wav",
    "kaldi": lambda a, b, same: f"{a} {b} {'target' if same else 'nontarget'}",
    "cnceleb": lambda a, b, same: f"{a} {b} {int(same)}",
}
UTTERANCES = sorted(
    f"id{speaker}-video{video}-{number:05d}" for speaker in (7, 8) for video in "xyz" for number in (1, 2)
)
pairs = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), min_size=1, max_size=20)


@pytest.mark.parametrize("form", FORMS)
@anything
@given(chosen=pairs, newline=st.sampled_from(["\n", ""]), space=st.sampled_from([" ", "  ", "\t"]))
def test_trials_of_every_form_are_those_of_a_loop_over_the_lines(tmp_path, form, chosen, newline, space):
    lines = [FORMS[form](UTTERANCES[a], UTTERANCES[b], a // 6 == b // 6) for a, b in chosen]
    (tmp_path / "list").write_text("\n".join(line.replace(" ", space) for line in lines) + newline)
    found = trials.read_trials(tmp_path / "list", as_words(UTTERANCES))
    assert list(zip(found.enrol.tolist(), found.test.tolist(), strict=True)) == chosen
    assert found.target.tolist() == [a // 6 == b // 6 for a, b in chosen]


def header_bytes(data: st.DataObject, contents: bytes, regions: list[tuple[int, int]]) -> bytearray:
    """The contents with one byte of one of the regions changed."""
    begin, end = data.draw(st.sampled_from(regions))
    changed = bytearray(contents)
    changed[data.draw(st.integers(begin, end - 1))] ^= data.draw(st.integers(1, 255))
    return changed


@anything
@given(data=st.data())
def test_no_change_to_a_key_or_a_header_of_packed_audio_is_read_as_audio(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("packed")
    waves = {"a": np.arange(9, dtype=np.int16), "bb": np.arange(70, dtype=np.int16)}
    audio_archive.write_pcm_ark(waves.items(), folder / "wav.ark", folder / "wav.scp", folder / "utt2samples")
    archive = audio_archive.AudioArchive(folder)
    regions = [
        (int(offset) - len(key) - 1, int(offset) + 44) for key, offset in zip(waves, archive.offsets, strict=True)
    ]
    (folder / "wav.ark").write_bytes(header_bytes(data, (folder / "wav.ark").read_bytes(), regions))
    with pytest.raises(ValueError, match=r"expected the key|expected 16000 Hz"):
        for row, wave in enumerate(waves.values()):
            np.testing.assert_array_equal(archive.read(row, 0, len(wave)), wave)


def test_a_header_that_says_64_bits_of_32_is_refused(tmp_path):
    """The next entry, of another utterance, would be read as values."""
    frames = {"a": np.ones((5, 3), dtype="f4"), "b": np.ones((9, 3), dtype="f4")}
    first, second = (matrices.encode(matrix) for matrix in frames.values())
    contents = bytearray(b"a " + first + b"b " + second)
    contents[4] = ord("D")
    (tmp_path / "feats.ark").write_bytes(contents)
    places = [2, 4 + len(first)]
    tables.write_table(tmp_path / "feats.scp", list(frames), [f"{tmp_path}/feats.ark:{place}" for place in places])
    tables.write_table(tmp_path / "utt2num_frames", list(frames), ["5", "9"])
    with pytest.raises(ValueError, match=r"feats\.ark:2: a: its header says 64-bit values"):
        FeatureArchive(tmp_path).read(0, 0, 5)


@pytest.mark.parametrize("compression", ["none", "cm2"])
@anything
@given(data=st.data())
def test_a_changed_header_of_features_is_refused_or_moves_their_values_alone(tmp_path_factory, compression, data):
    folder = tmp_path_factory.mktemp("features")
    frames = {
        key: np.random.default_rng(rows).normal(size=(rows, 3)).astype("f4") for key, rows in (("a", 5), ("b", 9))
    }
    entries = [(key.encode() + b" ", matrices.encode(matrix, compression)) for key, matrix in frames.items()]
    contents = b"".join(label + entry for label, entry in entries)
    places = [2, 4 + len(entries[0][1])]
    tables.write_table(folder / "feats.scp", list(frames), [f"{folder}/feats.ark:{place}" for place in places])
    tables.write_table(folder / "utt2num_frames", list(frames), [str(len(matrix)) for matrix in frames.values()])
    size = {"none": 15, "cm2": 22}[compression]
    (folder / "feats.ark").write_bytes(header_bytes(data, contents, [(place - 2, place + size) for place in places]))
    try:
        archive = FeatureArchive(folder)
        found = [archive.read(row, 0, len(matrix)) for row, matrix in enumerate(frames.values())]
    except ValueError as error:
        assert f"{folder}/feats.ark:" in str(error)
        return
    assert compression == "cm2"
    assert [one.shape for one in found] == [matrix.shape for matrix in frames.values()]
