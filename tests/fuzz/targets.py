"""Every reader of a file that a user may have: a small whole specimen of what it reads, and a call that reads all."""

import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import kaldiio
import numpy as np
import soundfile
import torch
import yaml

from sslsv_tk import config, records
from sslsv_tk.arks import indexes
from sslsv_tk.arks.audio_archive import AUDIO, AudioArchive, write_pcm_ark
from sslsv_tk.arks.feature_archive import FeatureArchive
from sslsv_tk.audio import headers, vad
from sslsv_tk.corpora import copies, copy_tables, data_directories
from sslsv_tk.kaldi import directories, repair, segments, table_sets, tables, trials
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.packing import disk_space, in_place
from sslsv_tk.records import Made
from sslsv_tk.report import comparison, results, score_file, system
from sslsv_tk.report.evaluation import read_list
from sslsv_tk.systems import checkpoints
from sslsv_tk.systems.configuration import SystemConfig

KEYS = tables.as_words([f"id{speaker}-video{video}-0000{n}" for speaker in "12" for video in "ab" for n in "123"])
SPEAKERS = tables.as_words([tables.text(key).partition("-")[0] for key in KEYS])


@dataclass(frozen=True)
class Target:
    """`make` writes the specimen into a folder; `damaged` are the files (glob) to damage; `read` reads them."""

    name: str
    make: Callable[[Path], None]
    damaged: str
    read: Callable[[Path], object]


def make_directory(folder: Path) -> None:
    """A data directory with every table that there is."""
    recordings = tables.as_words([tables.text(key).rpartition("-")[0] for key in KEYS])
    files = tables.joined(b"/audio/", recordings, b".wav")
    starts = np.arange(len(KEYS)) % 3 * 2.0
    DataDirectory(
        *(KEYS, files, SPEAKERS, recordings, np.full(len(KEYS), 2.0)),
        channels=np.ones(len(KEYS), dtype=np.int64),
        vad=tables.joined(b"/audio/vad.ark:", tables.as_words(np.arange(len(KEYS)))),
        cuts=segments.Cuts(recordings, starts, starts + 2),
    ).write(folder)
    tables.write_table(folder / "utt2num_frames", KEYS, np.full(len(KEYS), 200))
    tables.write_table(folder / "spk2gender", ["id1", "id2"], ["f", "m"])


def rewrite(folder: Path) -> None:
    """Read all tables, combine, rename, divide, write."""
    found = table_sets.TableSet.load(folder)
    renamed = found.rename((b"x", b""), (b"x", b""))
    table_sets.combine([found, renamed]).select(np.arange(3)).write(folder / "out")


def estimate(folder: Path) -> None:
    disk_space.check(disk_space.Writing([folder], folder, disk_space.Encoding()))


def make_trials(form: Callable[[str, str, bool], str]) -> Callable[[Path], None]:
    """A data directory and a list of one of the forms."""

    def make(folder: Path) -> None:
        DataDirectory(KEYS, tables.joined(b"/audio/", KEYS), SPEAKERS).write(folder)
        names = [tables.text(key) for key in KEYS]
        lines = [form(a, b, a[:3] == b[:3]) for a in names[:4] for b in names[4:]]
        (folder / "list").write_text("\n".join(lines) + "\n")

    return make


def read_trials(folder: Path) -> None:
    read_list(folder, folder / "list").labelled()
    trials.named_rows(folder / "list", KEYS)


def make_decisions(folder: Path) -> None:
    folder.mkdir(parents=True)
    decisions = {"a": np.array([0, 1, 1], dtype=np.float32), "b": np.ones(4, dtype=np.float32)}
    kaldiio.save_ark(str(folder / "vad.ark"), decisions, str(folder / "vad.scp"))
    with open(folder / "vad.ark", "ab") as stream:
        stream.write(b"c \0B\4" + struct.pack("<ibibi", 2, 4, 1, 4, 0) + b"d  [ 1 0 1 ]\n")


def read_decisions(folder: Path) -> None:
    """Those of the table, and at the places of the whole ark's other entries."""
    for place in (2, 26, 52, 69):
        one_line(lambda place=place: vad.read_decisions(f"{folder}/vad.ark:{place}".encode()))
    for value in tables.read_table(folder / "vad.scp")[1].tolist():
        one_line(lambda value=value: vad.voiced(np.zeros(480, dtype=np.int16), vad.read_decisions(value)))


def one_line(read: Callable[[], object]) -> None:
    """Several reads in one case: what may come out of one does not end the others."""
    try:
        read()
    except (ValueError, OSError) as error:
        assert str(error).strip()


def make_configuration(folder: Path) -> None:
    """A system in three files, and overrides."""
    (folder / "parts").mkdir(parents=True)
    whole = {
        "encoder": {"name": "fast_resnet34", "widths": [8, 8, 8, 8]},
        "method": {"name": "simclr", "temperature": 0.03},
    }
    for name, section in whole.items():
        (folder / "parts" / f"{name}.yaml").write_text(yaml.safe_dump({name: section}))
    training = {"training": {"epochs": 3, "seed": 1}, "augmentation": {"kinds": ["none", "both"], "noise_db": [0, 15]}}
    head = "include: [parts/encoder.yaml, parts/method.yaml]  # parts\n"
    (folder / "system.yaml").write_text(head + yaml.safe_dump(training))
    (folder / "overrides").write_text("optimisation.learning_rate=1e-3\npositives={name: ssps_kmeans, clusters: 40}\n")


def read_configuration(folder: Path) -> None:
    overrides = (folder / "overrides").read_text(errors="surrogateescape").splitlines()
    found = config.load(SystemConfig, folder / "system.yaml", overrides=overrides)
    config.dump(found, folder / "config.yaml")
    if config.load(SystemConfig, folder / "config.yaml") != found:
        raise AssertionError("what was written is not read back as the same")
    system.configuration(folder)


def make_audio_ark(folder: Path) -> None:
    waves = ((tables.text(key), np.arange(40 + row, dtype=np.int16)) for row, key in enumerate(KEYS))
    write_pcm_ark(waves, folder / "wav.ark", folder / "wav.scp", folder / "utt2samples")
    tables.write_table(folder / "utt2spk", KEYS, SPEAKERS)


def make_indexed_ark(folder: Path) -> None:
    make_audio_ark(folder)
    indexes.load(folder, AUDIO)


def read_audio_ark(folder: Path) -> None:
    archive = AudioArchive(folder)
    archive.read_codes("utt2spk")
    for row in range(min(30, len(archive))):
        one_line(lambda row=row: archive.read_looped(row, 3, min(4000, int(archive.samples[row]))))


def make_features(method: int | None) -> Callable[[Path], None]:
    """Log-mel frames in one of kaldiio's kinds."""

    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        draw = np.random.default_rng(0)
        frames = {tables.text(key): draw.normal(size=(4 + row, 5)).astype("f4") for row, key in enumerate(KEYS)}
        ark, scp = str(folder / "feats.ark"), str(folder / "feats.scp")
        kaldiio.save_ark(ark, frames, scp, compression_method=method)
        tables.write_table(folder / "utt2num_frames", KEYS, [str(len(found)) for found in frames.values()])

    return make


def make_indexed_features(folder: Path) -> None:
    make_features(None)(folder)
    FeatureArchive(folder)


def read_features(folder: Path) -> None:
    archive = FeatureArchive(folder)
    for row in range(min(30, len(archive))):
        one_line(lambda row=row: archive.read(row, 0, int(min(archive.frames[row], 10_000))))
    (folder / "utt2num_frames").unlink()
    FeatureArchive(folder)


def make_copies(folder: Path) -> None:
    """The tables of babble and of reverberation, and the clips that they name."""
    for name in ("musan_speech", "rirs"):
        clips = tables.as_words([f"{name}-{number}" for number in range(5)])
        DataDirectory(clips, tables.joined(b"/noise/", clips), durations=np.full(5, 9.0)).write(folder / name)
    DataDirectory(KEYS, tables.joined(b"/audio/", KEYS), SPEAKERS).write(folder / "train")
    copies.prepare_copies(folder / "train", folder, copies.CopyConfig(), ["babble", "reverb"])


def read_copies(folder: Path) -> None:
    for kind, clips in (("babble", "musan_speech"), ("reverb", "rirs")):
        table = copy_tables.CopyTable(folder / f"train_{kind}", DataDirectory.load(folder / clips).keys)
        table.read(np.arange(len(table.keys)))


def make_sound(suffix: str, *options: str) -> Callable[[Path], None]:
    """A file of 0.3 s as soundfile, or with options ffmpeg, writes it."""

    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        noise = np.random.default_rng(0).normal(size=4800) / 10
        path = folder / f"sound{suffix}"
        if not options:
            soundfile.write(path, noise, 16_000)
            return
        soundfile.write(folder / "source.wav", noise, 16_000)
        command = ["ffmpeg", "-v", "error", "-i", folder / "source.wav", *options, path]
        subprocess.run(command, check=True)
        (folder / "source.wav").unlink()

    return make


def read_sound(folder: Path) -> None:
    path = str(next(folder.glob("sound*")))
    one_line(lambda: headers.read_header(path))
    one_line(lambda: in_place.locate(path))


def make_checkpoints(folder: Path) -> None:
    model = {"weight": torch.arange(6.0).view(2, 3), "count": torch.tensor(3)}
    saved = checkpoints.CheckpointFolder(folder)
    saved.save({"step": 3, "passed": 0, "model": model}, {"epoch": 1, "rows": torch.zeros(4)})
    saved.save({"step": 4, "passed": 0, "model": model}, {"epoch": 1, "rows": torch.zeros(4)})
    saved.save_epoch(1, model)


def read_checkpoints(folder: Path) -> None:
    for path in sorted((folder / "checkpoints").glob("*.pt")):
        one_line(lambda path=path: checkpoints.read(path))
    saved = checkpoints.CheckpointFolder(folder)
    newest = saved.newest()
    assert newest is not None, "a damaged checkpoint is no fresh start"
    saved.read_whole(newest)


def make_record(folder: Path) -> None:
    records.write(folder, Made({"checkpoint": "averaged", "numbers": [1, 2]}, {"wav.scp": "0123456789abcdef"}))


def read_record(folder: Path) -> None:
    records.made_as(folder, {"checkpoint": "averaged", "numbers": [1, 2]}, {"wav.scp": "0123456789abcdef"})


def make_embeddings(folder: Path) -> None:
    draw = np.random.default_rng(0)
    vectors = {tables.text(key): draw.normal(size=6).astype("f4") for key in KEYS}
    folder.mkdir(parents=True)
    kaldiio.save_ark(str(folder / "xvector.ark"), vectors, str(folder / "xvector.scp"))
    records.write(folder, Made({}, {}), contents="00")


def make_experiments(folder: Path) -> None:
    """A system's scores, the row of its figures and its metrics, and the list that they are of."""
    make_trials(lambda a, b, same: f"{int(same)} {a} {b}")(folder / "data")
    listed = read_list(folder / "data", folder / "data" / "list")
    enrol, test = listed.keys[listed.trials.enrol], listed.keys[listed.trials.test]
    scores = folder / "system" / "scores" / "O.score"
    score_file.write_scores(scores, enrol, test, np.linspace(-1, 1, len(enrol)))
    row = dict.fromkeys(results._NEEDED, 1) | {
        "system": "system",
        "checkpoint": "averaged",
        "trials": "O",
        "data": "test",
        "number_of_trials": 32,
        "eer_interval_percent": [1.0, 2.0],
        "extraction": {"epochs": [1, 2, 3]},
        "seed": 0,
    }
    scores.with_suffix(".json").write_text(json.dumps(row, indent=1))
    lines = [{"step": 1, "loss": 2.5}, {"step": 2, "kind": "epoch", "coverage": 0.5, "seconds": 3.25}]
    (folder / "system" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def read_experiments(folder: Path) -> None:
    one_line(lambda: results.table(results.read_rows(folder)))
    listed = read_list(folder / "data", folder / "data" / "list")
    repetition = comparison.Repetition(folder, listed)
    row = comparison.TableRow("ours", "system/scores/O.score")
    comparison.comparison_table([row], "ours", [repetition])


def find_targets() -> list[Target]:
    """All, without those whose specimen needs a program that is not here."""
    made_by_ffmpeg = {
        "m4a": (".m4a", "-c:a", "aac"),
        "fragmented m4a": (".m4a", "-c:a", "aac", "-movflags", "+frag_keyframe+empty_moov", "-frag_duration", "100000"),
        "aac": (".aac", "-c:a", "aac"),
        "mp3": (".mp3", "-c:a", "libmp3lame"),
    }
    forms = {
        "voxceleb": lambda a, b, same: f"{int(same)} {a.replace('-', '/')}.wav {b.replace('-', '/')}.wav",
        "kaldi": lambda a, b, same: f"{a} {b} {'target' if same else 'nontarget'}",
        "cnceleb": lambda a, b, same: f"{a} {b} {int(same)}",
    }
    found = [
        Target("data directory", make_directory, "*", directories.validate),
        Target("data directory repaired", make_directory, "*", repair.fix),
        Target("data directory rewritten", make_directory, "*", rewrite),
        Target("data directory taken over", make_directory, "*", data_directories.read),
        Target("durations for the disk", make_directory, "*", estimate),
        *(Target(f"trials, {name}", make_trials(form), "list", read_trials) for name, form in forms.items()),
        Target("speech decisions", make_decisions, "*", read_decisions),
        Target("configuration", make_configuration, "**/*", read_configuration),
        Target("audio ark", make_audio_ark, "*", read_audio_ark),
        Target("audio ark with index", make_indexed_ark, "audio.index", read_audio_ark),
        *(
            Target(f"features {kind}", make_features(method), "*", read_features)
            for kind, method in {"FM": None, "CM": 2, "CM2": 3, "CM3": 5}.items()
        ),
        Target("features with index", make_indexed_features, "features.index", read_features),
        Target("offline copies", make_copies, "*/augmentation", read_copies),
        *(Target(suffix[1:], make_sound(suffix), "*", read_sound) for suffix in (".wav", ".flac", ".ogg")),
        Target("checkpoints", make_checkpoints, "checkpoints/*", read_checkpoints),
        Target("record", make_record, "*", read_record),
        Target("embeddings", make_embeddings, "*", system.read_embeddings),
        Target("scores, rows and metrics", make_experiments, "system/**/*", read_experiments),
    ]
    if shutil.which("ffmpeg"):
        found += [Target(name, make_sound(*words), "*", read_sound) for name, words in made_by_ffmpeg.items()]
    return found
