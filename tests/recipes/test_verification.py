"""bin/verify: every damaged byte of a recipe's folders is named, with the stage that makes it anew."""

import json
import os
import shutil
from pathlib import Path

import pytest

from sslsv_tk import digests, logs, records
from sslsv_tk.bin import average_checkpoints, prepare_trials, verify
from sslsv_tk.corpora.speech import Corpus, prepare
from sslsv_tk.packing import join, pack
from sslsv_tk.packing.parts import Part
from sslsv_tk.records import Made


@pytest.fixture
def recipe(tmp_path: Path, corpus: Path, stage4: Path) -> Path:
    """data, dump and exp as stages 1, 3 and 4 leave them, embeddings and a row of results among them."""
    prepare(Corpus([str(corpus)], "folder"), tmp_path / "data/test")
    (tmp_path / "list").write_text("1 anna/r1/u1.wav anna/r2/u1.wav\n0 anna/r1/u1.wav bert/r1/u1.wav\n")
    words = ["--source", tmp_path / "list", "--data", tmp_path / "data/test", "--out", tmp_path / "data/test/trials_a"]
    prepare_trials.main([str(word) for word in words])
    out = tmp_path / "dump/raw/test"
    for job in (1, 2):
        pack.pack_part(tmp_path / "data/test", Part(out, job, 2))
    join.finish(tmp_path / "data/test", out, 2)
    system = tmp_path / "exp/ssl"
    shutil.copytree(stage4, system)
    average_checkpoints.main(["--system", str(system)])
    (system / "scores").mkdir()
    (system / "scores/a.score").write_text("a b 1\n")
    row = digests.sealed({"system": "ssl", "scores_fingerprint": digests.of_file(system / "scores/a.score")})
    (system / "scores/a.json").write_text(json.dumps(row))
    embeddings = system / "embeddings/test"
    embeddings.mkdir(parents=True)
    (embeddings / "xvector.scp").write_text("a x.ark:2\n")
    records.write(embeddings, Made({"checkpoint": "averaged"}, {}), records.of_files(embeddings, ["xvector.scp"]))
    return tmp_path


def run(*folders: Path, sources: bool = False) -> int:
    words = [*map(str, folders), "--sources", "true" if sources else "false"]
    return logs.run_command(verify.main, words)


def damage(path: Path, kind: str) -> None:
    contents = bytearray(path.read_bytes())
    if kind == "flipped":
        contents[len(contents) // 2] ^= 4
        times = path.stat()
        path.write_bytes(contents)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif kind == "cut":
        path.write_bytes(contents[:-1])
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("data/test/utt2spk", "stage 1"),
        ("data/test/trials_a", "stage 1"),
        ("dump/raw/test/split/wav.2.ark", "stage 3"),
        ("dump/raw/test/split/wav.1.ark.sums", "stage 3"),
        ("dump/raw/test/sources", "stage 3"),
        ("dump/raw/test/wav.scp", "stage 3"),
        ("exp/ssl/config.yaml", "stage 4"),
        ("exp/ssl/checkpoints/latest.pt", "stage 4 or 5, which go on from the checkpoint before"),
        ("exp/ssl/checkpoints/averaged.pt", "stage 4 or 5"),
        ("exp/ssl/checkpoints/2epoch.pt", "else restore it, or train anew"),
        ("exp/ssl/embeddings/test/xvector.scp", "stage 6"),
        ("exp/ssl/scores/a.score", "stage 7"),
        ("exp/ssl/scores/a.json", "stage 7"),
    ],
)
def test_what_is_damaged_is_named_with_the_stage_that_makes_it_anew(recipe, capsys, name, stage):
    folders = [recipe / part for part in ("data", "dump", "exp")]
    assert run(*folders) == 0 and capsys.readouterr().out == ""
    path = recipe / name
    whole = path.read_bytes()
    kinds = ["flipped"] if name.endswith((".pt", ".json")) else ["flipped", "cut", "missing"]
    for kind in kinds:
        damage(path, kind)
        assert run(*folders) == 1
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 1 and lines[0].startswith(str(path)) and stage in lines[0], lines
        path.write_bytes(whole)
    assert run(*folders) == 0


def test_with_sources_the_audio_of_the_user_is_compared(recipe, corpus, capsys):
    path = corpus / "bert/r2/u1.wav"
    assert run(recipe / "data", recipe / "dump", sources=True) == 0
    damage(path, "flipped")
    assert run(recipe / "data", recipe / "dump") == 0
    assert run(recipe / "data", recipe / "dump", sources=True) == 1
    assert f"{path} has other contents than were packed: stage 3 with --force true" in capsys.readouterr().out
    assert run(recipe / "dump", sources=True) == 1
    assert "no data directory of its name" in capsys.readouterr().out


def test_a_damaged_record_and_a_folder_of_nothing_are_named(recipe, capsys, caplog):
    path = recipe / "dump/raw/test/made.json"
    path.write_text(path.read_text().replace('"rejected"', '"rejecte"').replace("num_jobs", "num_jabs"))
    assert run(recipe / "dump") == 1
    assert f"{path} has other contents than were written" in capsys.readouterr().out
    (recipe / "empty").mkdir()
    assert run(recipe / "empty") == 1 and "no record at any depth" in caplog.text


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("2epoch.pt", "restore it, or train anew with --force true"),
        ("averaged.pt", "stage 4 or 5"),
        ("latest.pt", "stage 4 or 5, which go on from the checkpoint before"),
    ],
)
def test_a_checkpoint_that_was_deleted_is_missed(recipe, capsys, name, remedy):
    path = recipe / "exp/ssl/checkpoints" / name
    assert run(recipe / "exp") == 0
    path.unlink()
    assert run(recipe / "exp") == 1
    assert capsys.readouterr().out == f"{path} is missing: {remedy}\n"
    if name == "averaged.pt":
        average_checkpoints.main(["--system", str(recipe / "exp/ssl")])
        assert run(recipe / "exp") == 0
