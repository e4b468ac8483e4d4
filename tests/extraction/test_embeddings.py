"""Embeddings of full utterances: the same bits whatever the number of jobs, and nothing stale or missing."""

import os
import shutil
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_corpus import pack, pack_all, write_configuration

from sslsv_tk import logs, records
from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.bin import average_checkpoints, extract_embeddings, finish_extraction, train
from sslsv_tk.blocks import BLOCK, blocks_of_job
from sslsv_tk.extraction.embeddings import batches_of_rows
from sslsv_tk.records import Made
from sslsv_tk.runs.extractor import ExtractionOptions, embedding_folder, load_extractor
from sslsv_tk.systems import assembly


def run(command, *arguments: object) -> int:
    return logs.run_command(command.main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """inputs/{train,test,long,...} and exp/ssl after one epoch with its average; read only."""
    root = tmp_path_factory.mktemp("extraction")
    pack_all(root / "inputs")
    lengths = {f"s{n % 3}-r{n}-{n:05d}": 4_000 + 160 * (n % 4) for n in range(2 * BLOCK + 30)}
    pack(root / "inputs" / "long", lengths)
    configuration = write_configuration(root)
    words = ["--config", configuration, "--train-set", root / "inputs" / "train", "--augmentation", root / "inputs"]
    assert run(train, *words, "--out", root / "exp" / "ssl", "--set", "training.epochs=1") == 0
    assert run(average_checkpoints, "--system", root / "exp" / "ssl") == 0
    return root


@pytest.fixture
def system(trained, tmp_path) -> Path:
    """A copy of the system that a test may write into."""
    shutil.copytree(trained / "exp" / "ssl", tmp_path / "ssl")
    return tmp_path / "ssl"


def extract(system: Path, data: Path, jobs: int, *more: object) -> int:
    """All jobs, then the joining; the largest exit status."""
    words = ("--system", system, "--data", data, "--num-jobs", jobs, *more)
    statuses = [run(extract_embeddings, *words, "--job", job) for job in range(1, jobs + 1)]
    return max(*statuses, run(finish_extraction, *words))


def vectors(system: Path, name: str) -> dict[str, np.ndarray]:
    """What kaldiio reads from the joined scp, in its order."""
    return dict(kaldiio.load_scp_sequential(str(system / "embeddings" / name / "xvector.scp")))


def states(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes())
        for p in folder.rglob("*")
        if p.is_file() and p.suffix != ".stamps"
    }


@pytest.mark.parametrize("jobs", [2, 3, 5])
def test_the_number_of_jobs_changes_no_bit(trained, system, tmp_path, jobs):
    """286 utterances are three blocks; with five jobs two have none."""
    shutil.copytree(system, tmp_path / "one")
    assert extract(tmp_path / "one", trained / "inputs" / "long", 1) == 0
    assert extract(system, trained / "inputs" / "long", jobs) == 0
    one, several = vectors(tmp_path / "one", "long"), vectors(system, "long")
    assert list(one) == list(several) == [key.decode() for key in AudioArchive(trained / "inputs" / "long").keys]
    for key, expected in one.items():
        assert several[key].dtype == np.float32 and several[key].tobytes() == expected.tobytes(), key


def test_embeddings_are_those_of_the_encoder_over_one_utterance_at_a_time(trained, system):
    data = trained / "inputs" / "test"
    assert extract(system, data, 2) == 0
    found, archive = vectors(system, "test"), AudioArchive(data)
    extractor, epochs = load_extractor(ExtractionOptions(system, "averaged", data, 1), "cpu")
    assert epochs == [1]
    _, method, _ = assembly.load_system(system, "averaged")
    encoder = method.scoring_encoder().eval()
    for row, key in enumerate(archive.keys):
        waveform = torch.from_numpy(archive.read(row, 0, int(archive.samples[row])))[None]
        with torch.no_grad():
            expected = encoder(extractor.front_end(waveform))[0].numpy()
        one = found[key.decode()]
        assert one.shape == (12,)
        cosine = one @ expected / np.linalg.norm(one) / np.linalg.norm(expected)
        assert cosine >= 1 - 1e-6 and np.abs(one - expected).max() <= 1e-4 * np.abs(expected).max()


def test_bf16_embeddings_are_nearly_those_of_fp32_and_the_record_tells_them_apart(trained, system, tmp_path):
    data = trained / "inputs" / "test"
    shutil.copytree(system, tmp_path / "half")
    assert extract(system, data, 1) == 0
    assert extract(tmp_path / "half", data, 2, "--precision", "bf16") == 0
    single, half = vectors(system, "test"), vectors(tmp_path / "half", "test")
    assert any(not np.array_equal(single[key], half[key]) for key in single)
    for key, one in single.items():
        other = half[key]
        assert other.dtype == np.float32
        assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 1 - 1e-3, key
    folders = {path: path / "embeddings/test" for path in (system, tmp_path / "half")}
    assert [records.read(folder).options["precision"] for folder in folders.values()] == ["fp32", "bf16"]
    assert run(extract_embeddings, "--system", system, "--data", data, "--num-jobs", 1, "--job", 1) == 0  # complete
    assert extract(system, data, 1, "--precision", "bf16") == 1  # refused: it would replace others
    assert extract(system, data, 1, "--precision", "bf16", "--force", "true") == 0
    assert records.read(folders[system]).options["precision"] == "bf16"


def test_auto_is_the_precision_of_training(trained, system):
    data = trained / "inputs" / "test"
    assert ExtractionOptions(system, "averaged", data, 1).decided_precision == "fp32"
    (system / "made.json").unlink()  # which would have noticed the edit
    configuration = system / "config.yaml"
    configuration.write_text(configuration.read_text().replace("precision: fp32", "precision: bf16"))
    assert ExtractionOptions(system, "averaged", data, 1).decided_precision == "bf16"
    assert ExtractionOptions(system, "averaged", data, 1, "fp32").decided_precision == "fp32"


def test_extraction_is_in_evaluation_mode_and_can_be_repeated(trained, system, tmp_path):
    shutil.copytree(system, tmp_path / "again")
    for folder in (system, tmp_path / "again"):
        assert extract(folder, trained / "inputs" / "test", 1) == 0
    first, second = vectors(system, "test"), vectors(tmp_path / "again", "test")
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert len({vector.tobytes() for vector in first.values()}) == len(first)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=400).map(np.array),
    st.integers(0, 3),
    st.sampled_from([10, 60, 10_000]),
)
def test_batches_of_a_block(samples, block, most):
    start = block * BLOCK
    if start >= len(samples):
        return
    batches = list(batches_of_rows(samples, np.arange(start, min(start + BLOCK, len(samples))), most))
    assert sorted(np.concatenate(batches)) == list(range(start, min(start + BLOCK, len(samples))))
    for rows in batches:
        assert len(set(samples[rows])) == 1, "a batch holds one length: nothing is padded"
        assert len(rows) == 1 or samples[rows].sum() <= most, "memory is bounded"


@given(st.integers(0, 2000), st.integers(1, 12))
def test_jobs_share_the_blocks_without_gap_or_overlap(utterances, jobs):
    shares = [list(blocks_of_job(utterances, job, jobs)) for job in range(1, jobs + 1)]
    assert [start for share in shares for start in share] == list(range(0, utterances, BLOCK))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_job_that_has_not_finished_is_named(trained, system, caplog):
    words = ("--system", system, "--data", trained / "inputs" / "test", "--num-jobs", 2)
    assert run(extract_embeddings, *words, "--job", 1) == 0
    assert run(finish_extraction, *words) == 1
    assert "test: part 2 of 2 has not been made. Run stage 6 again." in caplog.text
    assert not (system / "embeddings" / "test" / "xvector.scp").exists()
    assert run(extract_embeddings, *words, "--job", 2) == 0 and run(finish_extraction, *words) == 0


@pytest.mark.parametrize("damaged", ["xvector.scp", "parts/2/xvector.scp", "parts/2/xvector.ark", "made.json"])
@pytest.mark.parametrize("cut", [True, False])
def test_embeddings_that_were_cut_or_deleted_are_made_anew_by_the_same_command(trained, system, damaged, cut):
    data, folder = trained / "inputs" / "long", system / "embeddings" / "long"
    assert extract(system, data, 2) == 0
    whole, first = states(folder), states(folder)["parts/1/xvector.ark"]
    if cut:
        os.truncate(folder / damaged, (folder / damaged).stat().st_size // 2)
    else:
        (folder / damaged).unlink()
    assert extract(system, data, 2) == 0
    after = states(folder)
    assert {name: text for name, (_, text) in after.items()} == {name: text for name, (_, text) in whole.items()}
    assert after["parts/1/xvector.ark"] == first


def test_a_list_that_grew_while_jobs_ran_is_named(trained, system, tmp_path, caplog):
    """Parts of the first six utterances, joined for a list of seven: as where somebody keeps the digest of a list."""
    data = trained / "inputs" / "test"
    wanted = ExtractionOptions(system, "averaged", data, 1)
    folder, archive = embedding_folder(wanted), AudioArchive(data)
    archive.keys = archive.keys[:6]
    archive.lengths = archive.lengths[:6]
    folder.write_part(1, lambda: load_extractor(wanted, "cpu"), archive)
    missing = AudioArchive(data).keys[6].decode()
    with pytest.raises(ValueError, match=f"expected 7 utterances, found 6; missing: {missing}; not of the list: none"):
        folder.join(AudioArchive(data))


def test_a_second_run_changes_nothing_and_force_makes_anew(trained, system):
    data = trained / "inputs" / "test"
    assert extract(system, data, 2) == 0
    before = states(system)
    assert extract(system, data, 2) == 0
    assert states(system) == before
    assert extract(system, data, 2, "--force", "true") == 0
    after = states(system)
    ark = "embeddings/test/parts/2/xvector.ark"  # of one block: the first job has none
    assert after[ark][1] == before[ark][1] and after[ark][0] > before[ark][0]


def test_embeddings_older_than_their_checkpoint_are_made_anew(trained, system, tmp_path):
    data = trained / "inputs" / "test"
    assert extract(system, data, 1) == 0
    before = vectors(system, "test")
    state = torch.load(system / "checkpoints" / "averaged.pt", weights_only=True)
    for name, tensor in state["model"].items():
        if name.endswith("weight"):
            tensor *= 1.5
    torch.save(state, system / "checkpoints" / "averaged.pt")
    assert extract(system, data, 1) == 0
    after = vectors(system, "test")
    assert list(after) == list(before) and all(not np.allclose(after[key], before[key]) for key in before)


def test_embeddings_of_a_second_set_of_the_same_name_are_refused(trained, system, tmp_path, caplog):
    data = tmp_path / "test"
    shutil.copytree(trained / "inputs" / "test", data)
    assert extract(system, data, 1) == 0
    for table in ("wav.scp", "utt2samples", "utt2spk", "utt2rec"):
        lines = (data / table).read_text().splitlines(keepends=True)
        (data / table).write_text("".join(lines[1:]))
    before = states(system)
    assert extract(system, data, 1) == 1
    assert "embeddings/test was made otherwise (input data: was " in caplog.text and "--force true" in caplog.text
    assert states(system) == before
    assert extract(system, data, 1, "--force", "true") == 0
    assert len(vectors(system, "test")) == 6


def test_an_edited_configuration_extracts_nothing(trained, system, caplog):
    path = system / "config.yaml"
    path.write_text(path.read_text().replace("window: hamming", "window: hann"))
    assert extract(system, trained / "inputs" / "test", 1) == 1
    assert "config.yaml has " in caplog.text and "Run stage 4 (or 5) again: it writes the file anew" in caplog.text
    assert not (system / "embeddings").exists()


def test_a_system_without_a_record_extracts_nothing(trained, system, caplog):
    (system / "made.json").unlink()
    assert extract(system, trained / "inputs" / "test", 1) == 1
    assert "no made.json, so what made its checkpoints is not known" in caplog.text


def test_the_same_data_by_another_path_is_nothing_new(trained, system, tmp_path, monkeypatch):
    data = tmp_path / "dump" / "test"
    shutil.copytree(trained / "inputs" / "test", data)
    shutil.copy(trained / "inputs" / "test" / "wav.ark", data / "wav.ark")
    (data / "wav.scp").write_text((data / "wav.scp").read_text().replace(f"{trained}/inputs/test/", f"{data}/"))
    assert extract(system, data, 1) == 0
    before = states(system)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("dump")
    assert extract(system, Path("dump/test"), 1) == extract(system, Path("link/test"), 3) == 0
    (tmp_path / "dump").rename("elsewhere")
    data = tmp_path / "elsewhere" / "test"
    (data / "wav.scp").write_text((data / "wav.scp").read_text().replace("/dump/", "/elsewhere/"))
    assert extract(system, data, 2) == 0
    assert states(system) == before


def test_parts_of_an_earlier_number_of_jobs_go(trained, system):
    data = trained / "inputs" / "test"
    assert extract(system, data, 3) == 0
    (system / "embeddings" / "test" / "made.json").unlink()
    assert extract(system, data, 2) == 0
    parts = system / "embeddings" / "test" / "parts"
    assert sorted(part.name for part in parts.iterdir()) == ["1", "2"]
    assert len(vectors(system, "test")) == 7


def test_each_checkpoint_has_a_folder_of_its_own(trained, system):
    data = trained / "inputs" / "test"
    for checkpoint in ("averaged", "latest", "0", "1"):
        assert extract(system, data, 1, "--checkpoint", checkpoint) == 0
    untrained, trained_one, latest = (vectors(system, f"test_{name}") for name in ("0", "1", "latest"))
    assert all(np.array_equal(latest[key], trained_one[key]) for key in latest)
    assert not any(np.allclose(untrained[key], trained_one[key]) for key in latest)
    assert vectors(system, "test").keys() == latest.keys()


def test_what_a_killed_job_left_is_removed(trained, system):
    part = system / "embeddings" / "test" / "parts" / "1"
    part.mkdir(parents=True)
    for stray in (part / ".xvector.ark.99999.tmp", part.parent.parent / ".xvector.scp.99999.tmp"):
        stray.write_bytes(b"half")
    (part / "xvector.ark").write_bytes(b"half")
    assert extract(system, trained / "inputs" / "test", 1) == 0
    assert not list(system.rglob("*.tmp")) and len(vectors(system, "test")) == 7


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no system", "no such checkpoint"),
        ("no checkpoint", "no such checkpoint. There are: latest, 0, 1."),
        ("cut checkpoint", "averaged.pt: not a checkpoint that can be read"),
        ("other encoder", "averaged.pt does not fit"),
        ("no configuration", "no config.yaml, so not a trained system"),
        ("no data", "wav.scp"),
        ("cut ark", "wav.ark: "),
        ("job 2 of 1", "--job 2 of --num-jobs 1"),
        ("too short", "t0-rec0-00000"),
    ],
)
def test_what_cannot_be_extracted_is_one_line(trained, system, tmp_path, caplog, fault, message):
    data, averaged, job = tmp_path / "test", system / "checkpoints" / "averaged.pt", 1
    shutil.copytree(trained / "inputs" / "test", data)
    if fault == "no system":
        shutil.rmtree(system)
    elif fault == "no checkpoint":
        averaged.unlink()
    elif fault == "cut checkpoint":
        os.truncate(averaged, 1000)
    elif fault == "other encoder":
        text = (system / "config.yaml").read_text()
        (system / "config.yaml").write_text(text.replace("dimension: 12", "dimension: 13"))
        made = records.read(system)
        records.write(system, Made(made.options, made.inputs), records.of_files(system, ["config.yaml"]))
    elif fault == "no configuration":
        (system / "config.yaml").unlink()
    elif fault == "no data":
        shutil.rmtree(data)
    elif fault == "cut ark":
        ark = shutil.copy(trained / "inputs" / "test" / "wav.ark", data / "wav.ark")
        os.truncate(ark, 30_000)
        scp = (data / "wav.scp").read_text()
        (data / "wav.scp").write_text(scp.replace(str(trained / "inputs" / "test"), str(data)))
    elif fault == "job 2 of 1":
        job = 2
    else:
        shutil.rmtree(data)
        pack(data, {"t0-rec0-00000": 100})
    words = ("--system", system, "--data", data, "--num-jobs", 1, "--job", job)
    assert run(extract_embeddings, *words) == 1
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1 and message in errors[0], errors
    assert not list((system / "embeddings").rglob("xvector.ark")) if system.exists() else True
