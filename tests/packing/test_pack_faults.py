"""Stage 3 against full disks, kills in the middle of decoding, commands, speech decisions and swapped arks."""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from sslsv_tk import artifacts, logs
from sslsv_tk.arks import indexes
from sslsv_tk.arks.audio_archive import AUDIO, AudioArchive
from sslsv_tk.audio.commands import CommandOutputs
from sslsv_tk.bin import finish_packing, pack_audio
from sslsv_tk.corpora.speech import Corpus, prepare
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import as_words
from sslsv_tk.packing import join, pack
from sslsv_tk.packing.parts import Part, Wanted

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


@pytest.fixture
def data(tmp_path, corpus) -> Path:
    prepare(Corpus([str(corpus)], "folder"), tmp_path / "data")
    return tmp_path / "data"


DEFAULT = Wanted()


def pack_corpus(data: Path, out: Path, wanted: Wanted = DEFAULT, num_jobs: int = 2, **options) -> AudioArchive:
    for job in range(1, num_jobs + 1):
        pack.pack_part(data, Part(out, job, num_jobs), wanted, **options)
    join.finish(data, out, num_jobs)
    return AudioArchive(out)


def command(data: Path, out: Path, *options: str) -> int:
    return logs.run_command(
        pack_audio.main, ["--data", str(data), "--out", str(out), "--num-jobs", "1", "--job", "1", *options]
    )


@pytest.fixture
def mounted(tmp_path) -> Iterator[Callable[..., Path]]:
    """mounted(*options): a file system in memory of 1 MB; skips where it cannot be mounted."""
    folder = tmp_path / "mounted"
    folder.mkdir()

    def mount(*options: str) -> Path:
        words = ["mount", "-t", "tmpfs", "-o", ",".join(["size=1m", *options]), "tmpfs", str(folder)]
        if os.getuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode:
            pytest.skip("a small file system cannot be mounted here: not root, or not allowed")
        return folder

    yield mount
    with contextlib.suppress(subprocess.CalledProcessError):
        subprocess.run(["umount", str(folder)], capture_output=True, check=True)


def test_a_full_disk_is_one_line_and_leaves_no_file(tmp_path, write_audio, mounted, caplog):
    for number in range(20):
        write_audio(tmp_path / "corpus" / "anna" / "r1" / f"u{number:02d}.wav", 50_000)
    prepare(Corpus([str(tmp_path / "corpus")], "folder"), tmp_path / "data")
    out = mounted() / "raw"
    assert command(tmp_path / "data", out) == 1
    assert "No space left on device" in caplog.text and "Traceback" not in caplog.text
    assert [path for path in out.rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_written_is_one_line(data, mounted, caplog):
    folder = mounted("ro")
    assert command(data, folder / "raw") == 1
    assert "Read-only file system" in caplog.text


def test_a_file_that_vanishes_between_the_stages_is_named(tmp_path, data, caplog):
    (tmp_path / "corpus" / "bert" / "r1" / "u2.wav").unlink()
    assert command(data, tmp_path / "out") == 1
    assert "bert/r1/u2.wav: No such file" in caplog.text


def running_ffmpegs(parent: int) -> list[int]:
    """Processes called ffmpeg that `parent` started and that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            before, _, after = (folder / "stat").read_text().rpartition(")")
            if before.endswith("(ffmpeg") and int(after.split()[1]) == parent:
                found.append(int(folder.name))
    return found


def is_running(process: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until(condition: Callable[[], object]) -> None:
    """Poll; the limit only ends a test that would hang."""
    limit = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < limit, "it never came to be"
        time.sleep(0.01)


@needs_ffmpeg
def test_killed_while_ffmpeg_decodes_nothing_is_left_and_the_rerun_makes_what_is_missing(tmp_path, corpus):
    for speaker in ("anna", "bert"):
        path = corpus / speaker / "r1" / "u1.m4a"
        sound = ["-f", "lavfi", "-i", f"anoisesrc=duration={2 if speaker == 'anna' else 1800}:sample_rate=16000"]
        subprocess.run(["ffmpeg", "-v", "error", *sound, "-c:a", "aac", "-b:a", "32k", path], check=True)
        path.with_suffix(".wav").unlink()
    prepare(Corpus([str(corpus)], "folder"), tmp_path / "data")
    out = tmp_path / "out"
    pack.pack_part(tmp_path / "data", Part(out, 1, 2))
    first = (out / "split" / "wav.1.ark").stat().st_mtime_ns
    words = ["--data", tmp_path / "data", "--out", out, "--num-jobs", "2", "--job", "2"]
    job = subprocess.Popen([sys.executable, "-m", "sslsv_tk.bin.pack_audio", *words], stderr=subprocess.DEVNULL)
    wait_until(lambda: running_ffmpegs(job.pid) or job.poll() is not None)
    (decoder,) = running_ffmpegs(job.pid)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    wait_until(lambda: not is_running(decoder))
    finished = {path.name for path in (out / "split").iterdir() if not path.name.startswith(".")}
    assert finished == {"wav.1.ark", "wav.1.ark.sums", "wav.1.scp", "utt2samples.1", "sources.1", "part.1.json"}
    archive = pack_corpus(tmp_path / "data", out)
    assert (out / "split" / "wav.1.ark").stat().st_mtime_ns == first
    assert len(archive) == 8 and not list(out.rglob(".*.tmp"))
    assert abs(int(archive.samples[archive.keys == b"bert-r1-u1"][0]) - 1800 * 16000) < 800


@pytest.mark.parametrize("damage", [b"", b"x"])
def test_an_empty_ark_is_made_again_by_the_stage_and_named_by_the_reader(tmp_path, data, damage):
    archive = pack_corpus(data, tmp_path / "out")
    (tmp_path / "out" / "split" / "wav.2.ark").write_bytes(damage)
    with pytest.raises(ValueError, match=r"wav\.2\.ark: cut short: .*--force true"):
        archive.read(7, 0, 10)
    assert (
        pack_corpus(data, tmp_path / "out").read(7, 0, 10)
        == soundfile.read(DataDirectory.load(data).values[7].decode(), dtype="int16")[0][:10]
    ).all()


def test_swapped_arks_are_noticed_by_the_key_before_the_samples(tmp_path, data):
    archive = pack_corpus(data, tmp_path / "out")
    arks = [tmp_path / "out" / "split" / f"wav.{job}.ark" for job in (1, 2)]
    arks[0].rename(tmp_path / "other")
    arks[1].rename(arks[0])
    (tmp_path / "other").rename(arks[1])
    for row in (0, 4):
        with pytest.raises(ValueError, match=r"expected the key .* before offset \d+, found .*--force true|cut short"):
            archive.read(row, 0, 10)


def test_the_channel_is_recorded_and_another_one_makes_the_part_again(tmp_path, write_audio):
    waveform = write_audio(tmp_path / "corpus" / "a" / "r" / "u.wav", 500, channels=2)
    prepare(Corpus([str(tmp_path / "corpus")], "folder"), tmp_path / "data")
    pack.pack_part(tmp_path / "data", Part(tmp_path / "out", 1, 1))
    archive = pack_corpus(tmp_path / "data", tmp_path / "out", Wanted(channel=2), num_jobs=1)
    np.testing.assert_array_equal(archive.read(0, 0, 500), waveform[:, 1])
    with pytest.raises(
        artifacts.StaleArtifact, match="samples: was 16 kHz mono 16-bit, channel 2, now 16 kHz mono 16-bit"
    ):
        pack.pack_part(tmp_path / "data", Part(tmp_path / "out", 1, 1))
    with pytest.raises(ValueError, match="channel 3 asked for, found 2"):
        pack.pack_part(tmp_path / "data", Part(tmp_path / "out", 1, 1), Wanted(channel=3), force=True)
    assert command(tmp_path / "data", tmp_path / "new", "--channel", "1") == 0
    with pytest.raises(SystemExit) as ended:
        command(tmp_path / "data", tmp_path / "new", "--channel", "left")
    assert ended.value.code == 2


def write_scp(folder: Path, values: dict[str, str]) -> Path:
    DataDirectory(as_words(list(values)), as_words(list(values.values()))).write(folder)
    return folder


def test_commands_run_only_when_allowed(tmp_path, write_audio, caplog):
    waveform = write_audio(tmp_path / "a.wav", 700)
    write_audio(tmp_path / "b.flac", 800)
    data = write_scp(
        tmp_path / "data",
        {"a": f"cat {tmp_path}/a.wav | cat |", "b": str(tmp_path / "b.flac"), "c": f"cat {tmp_path}/b.flac|"},
    )
    assert command(data, tmp_path / "out") == 1
    assert "--allow-pipes true" in caplog.text
    assert command(data, tmp_path / "out", "--allow-pipes", "true") == 0
    join.finish(data, tmp_path / "out", 1)
    archive = AudioArchive(tmp_path / "out")
    assert archive.samples.tolist() == [700, 800, 800]
    np.testing.assert_array_equal(archive.read(0, 0, 700), waveform)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("echo not there >&2; exit 3 |", "exit status 3: not there"),
        ("true |", "an empty file"),
        ("echo nonsense; echo why >&2 |", r"Format not recognised.*\(why\)"),
        ("head -c 600 {}/a.wav |", "cut short"),
        ("no_such_program_at_all |", "exit status 127: .*not found"),
    ],
)
def test_a_command_that_fails_is_unreadable_audio_with_its_words(tmp_path, write_audio, caplog, words, message):
    write_audio(tmp_path / "a.wav", 700)
    data = write_scp(tmp_path / "data", {"a": words.format(tmp_path), "b": str(tmp_path / "a.wav")})
    with pytest.raises(ValueError, match=f"1 of 2 audio files cannot be used .*{message}"):
        pack.pack_part(data, Part(tmp_path / "out", 1, 1), Wanted(allow_pipes=True))
    assert len(pack_corpus(data, tmp_path / "out", Wanted(allow_pipes=True), num_jobs=1, tolerance=0.5)) == 1


@pytest.mark.parametrize("num_jobs", [1, 2, 3, 7])
def test_a_command_runs_once_in_an_array_wherever_its_segments_stand(tmp_path, write_audio, num_jobs):
    waves = {name: write_audio(tmp_path / f"{name}.wav", 4800) for name in ("one", "two")}
    commands = {name: f"echo {name} >>{tmp_path}/ran; cat {tmp_path}/{name}.wav |" for name in waves}
    # Utterances are sorted by speaker, so the two sides of a call stand apart.
    rows = [(f"{side}-{name}-{n}", name, n) for side in "ab" for name in waves for n in range(3)]
    (tmp_path / "data").mkdir()
    lines = "".join(f"{key} {name} {0.1 * n:.1f} {0.1 * n + 0.1:.1f}\n" for key, name, n in rows)
    (tmp_path / "data/segments").write_text(lines)
    (tmp_path / "data/wav.scp").write_text("".join(f"{name} {commands[name]}\n" for name in waves))
    archive = pack_corpus(tmp_path / "data", tmp_path / "out", Wanted(allow_pipes=True), num_jobs=num_jobs)
    assert sorted((tmp_path / "ran").read_text().split()) == ["one", "two"]
    assert archive.keys.tolist() == [key.encode() for key, _, _ in rows]
    for row, (_, name, n) in enumerate(rows):
        np.testing.assert_array_equal(archive.read(row, 0, 1600), waves[name][1600 * n :][:1600])
    assert len((tmp_path / "out/sources").read_bytes()) == 16 * len(rows)


def test_what_commands_of_a_killed_job_wrote_goes_when_the_next_one_begins(tmp_path, write_audio, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = """
import os
from sslsv_tk.audio.commands import CommandOutputs
outputs = CommandOutputs({"cat a.wav |": 2})
outputs.of("cat a.wav |")
os.kill(os.getpid(), 9)
"""
    write_audio(tmp_path / "a.wav", 700)
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=False)
    (left,) = tmp_path.glob("sslsv_commands.*")
    assert [path.stat().st_size for path in left.iterdir()] == [1444]
    command = f"cat {tmp_path}/a.wav |"
    with CommandOutputs({command: 2}) as outputs:
        outputs.of(command)
        (own,) = tmp_path.glob("sslsv_commands.*")
        assert own != left
        with CommandOutputs({command: 2}) as others:
            others.of(command)
            assert own.is_dir(), "its process is alive"
    assert not list(tmp_path.glob("sslsv_commands.*"))


def test_samples_without_speech_are_left_out(tmp_path, write_audio, caplog):
    waveforms = {key: write_audio(tmp_path / f"{key}.wav", 1600 + 7) for key in ("a", "b")}
    data = write_scp(tmp_path / "data", {key: str(tmp_path / f"{key}.wav") for key in waveforms})
    decisions = {"a": np.array([0, 1, 1, 0, 0, 0, 0, 1], np.float32), "b": np.zeros(9, np.float32)}
    kaldiio.save_ark(str(tmp_path / "vad.ark"), decisions, scp=str(data / "vad.scp"))
    with pytest.raises(ValueError, match=r"1 of 2 audio files cannot be used .*b: no speech"):
        pack.pack_part(data, Part(tmp_path / "out", 1, 1))
    with caplog.at_level(logging.WARNING):
        archive = pack_corpus(data, tmp_path / "out", num_jobs=1, tolerance=0.5)
    kept = np.concatenate([waveforms["a"][160:480], waveforms["a"][1120:1280]])
    np.testing.assert_array_equal(archive.read(0, 0, 480), kept)
    assert archive.samples.tolist() == [480]
    assert (tmp_path / "out" / "utt2dur").read_text() == "a 0.030000\n"
    with pytest.raises(ValueError, match=r"vad\.scp leaves samples out, which needs a copy"):
        pack.pack_part(data, Part(tmp_path / "other", 1, 1), Wanted(copy=False))


def test_speech_decisions_are_known_by_what_their_files_hold(tmp_path, write_audio, monkeypatch):
    write_audio(tmp_path / "a.wav", 1600)
    data = write_scp(tmp_path / "data", {"a": str(tmp_path / "a.wav")})
    decisions, ark = np.array([0, 1, 1, 0, 0, 0, 0, 1, 1, 1], np.float32), tmp_path / "vad.ark"
    kaldiio.save_ark(str(ark), {"a": decisions}, scp=str(data / "vad.scp"))
    pack_corpus(data, tmp_path / "out", num_jobs=1)
    shutil.move(ark, tmp_path / "moved.ark")
    (data / "vad.scp").write_text(f"a {tmp_path}/moved.ark:2\n")
    monkeypatch.setattr(pack, "_pack", lambda *words: pytest.fail("nothing has changed"))
    pack_corpus(data, tmp_path / "out", num_jobs=1)
    kaldiio.save_ark(str(tmp_path / "moved.ark"), {"a": 1 - decisions})  # of the same size
    with pytest.raises(artifacts.StaleArtifact, match="input speech decisions: was"):
        pack.pack_part(data, Part(tmp_path / "out", 1, 1))


def test_decisions_for_other_audio_stop_the_job_with_the_utterance(tmp_path, write_audio):
    write_audio(tmp_path / "a.wav", 1600)
    data = write_scp(tmp_path / "data", {"a": str(tmp_path / "a.wav")})
    kaldiio.save_ark(str(tmp_path / "vad.ark"), {"a": np.ones(30, np.float32)}, scp=str(data / "vad.scp"))
    with pytest.raises(ValueError, match="a: 30 speech decisions"):
        pack.pack_part(data, Part(tmp_path / "out", 1, 1), tolerance=0.9)


@needs_ffmpeg
def test_m4a_of_voxceleb_is_packed_whatever_the_number_of_jobs(tmp_path, contents):
    folder = tmp_path / "corpus" / "anna" / "r1"
    folder.mkdir(parents=True)
    for number in range(5):
        sound = ["-f", "lavfi", "-i", f"sine=duration={1 + number / 10}:sample_rate=16000"]
        subprocess.run(["ffmpeg", "-v", "error", *sound, "-c:a", "aac", folder / f"u{number}.m4a"], check=True)
    prepare(Corpus([str(tmp_path / "corpus")], "folder"), tmp_path / "data")
    one, three = (pack_corpus(tmp_path / "data", tmp_path / f"{jobs}", num_jobs=jobs) for jobs in (1, 3))
    assert np.abs(one.samples - 16000 * (1 + np.arange(5) / 10)).max() < 16
    for row in range(5):
        np.testing.assert_array_equal(one.read(row, 0, 16000), three.read(row, 0, 16000))
    shutil.copy(folder / "u0.m4a", tmp_path / "whole.m4a")
    (folder / "u0.m4a").write_bytes((tmp_path / "whole.m4a").read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"1 of 5 audio files cannot be used \(first: .*u0\.m4a: cut short"):
        pack.pack_part(tmp_path / "data", Part(tmp_path / "damaged", 1, 1))


def test_without_ffmpeg_the_job_stops_before_any_work(tmp_path, corpus, monkeypatch, caplog):
    path = corpus / "anna" / "r1" / "u1.wav"
    data = write_scp(tmp_path / "data", {"a": str(path), "b": str(tmp_path / "b.m4a")})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command(data, tmp_path / "out") == 1
    assert "b.m4a: needs the program ffmpeg" in caplog.text and not (tmp_path / "out").exists()


def test_finish_repairs_a_damaged_index(tmp_path, data):
    pack_corpus(data, tmp_path / "out")
    (tmp_path / "out" / "audio.index").write_bytes(b"nonsense")
    words = ["--data", str(data), "--out", str(tmp_path / "out"), "--num-jobs", "2"]
    assert logs.run_command(finish_packing.main, words) == 0
    assert indexes.mapped(tmp_path / "out", AUDIO) is not None
