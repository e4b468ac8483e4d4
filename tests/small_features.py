"""Features of the small corpus and of its offline copies, as stages 2 and 3 leave them with --feats-type fbank."""

from pathlib import Path

from small_corpus import pack_all, write_configuration

from sslsv_tk import logs
from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.bin import compute_features, finish_features
from sslsv_tk.corpora import copies
from sslsv_tk.kaldi import tables
from sslsv_tk.kaldi.directories import DataDirectory

FBANK = "frontend.feats_type=fbank"


def run(command, *words: object) -> int:
    """A command as from the command line; its exit status."""
    return logs.run_command(command.main, [str(word) for word in words])


def write_data(packed: Path, out: Path) -> None:
    """The data directory that packed audio was made of; its sound files do not exist."""
    archive = AudioArchive(packed)
    names = {name: packed / name for name in ("utt2spk", "utt2rec")}
    columns = [tables.read_table(path)[1] if path.exists() else None for path in names.values()]
    values = tables.as_words([f"/nowhere/{tables.text(key)}.wav" for key in archive.keys])
    DataDirectory(archive.keys, values, columns[0], columns[1], archive.samples / 16_000).write(out)


def feature_words(root: Path, name: str, copy: str | None = None, jobs: int = 1) -> list[object]:
    """The words of compute_features and finish_features for a set or one of its copies."""
    words: list[object] = ["--config", root / "system.yaml", "--audio", root / "raw" / name, "--num-jobs", jobs]
    if copy is None:
        return [*words, "--out", root / "fbank" / name]
    return [*words, "--copy", root / "data" / f"{name}_{copy}", "--out", root / "fbank" / f"{name}_{copy}"]


def compute(words: list[object], jobs: int = 1) -> int:
    """All jobs, then the joining; the largest exit status."""
    statuses = [run(compute_features, *words, "--job", job) for job in range(1, jobs + 1)]
    return max(*statuses, run(finish_features, *words))


def prepare_small(root: Path) -> Path:
    """ROOT/raw packed, ROOT/data with the copies of train, ROOT/system.yaml; no features yet."""
    pack_all(root / "raw")
    write_configuration(root)
    for name in ("train", *sorted(set(copies.CLIPS.values()))):
        write_data(root / "raw" / name, root / "data" / name)
    copies.prepare_copies(root / "data" / "train", root / "data", copies.CopyConfig())
    return root


def make_features(root: Path, compress: str = "none") -> Path:
    """Everything, with features of train, of its copies and of test in ROOT/fbank."""
    prepare_small(root)
    for name, copy in (("test", None), ("train", None), *(("train", kind) for kind in copies.KINDS)):
        assert compute([*feature_words(root, name, copy), "--compress", compress]) == 0
    return root
