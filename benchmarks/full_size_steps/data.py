"""Steps of stages 1 to 3: listings, data directories, trial lists, offline copies, packed audio."""

import contextlib
import pickle
import shutil
from pathlib import Path

import numpy as np

from full_size_steps import tables as synthetic
from full_size_steps.site import Site, Step, entering
from sslsv_tk.arks import feature_archive, indexes
from sslsv_tk.arks.audio_archive import AudioArchive, of_tables
from sslsv_tk.arks.feature_archive import FEATURES, CopiedFeatures, FeatureArchive
from sslsv_tk.bin import (
    check_disk_space,
    combine_data,
    copy_data_dir,
    finish_packing,
    prepare_copies,
    prepare_trials,
    split_data,
    subset_data_dir,
)
from sslsv_tk.corpora import audio_files, copies, trees
from sslsv_tk.corpora.copies import KINDS
from sslsv_tk.corpora.copy_tables import CopyTable
from sslsv_tk.kaldi import directories, repair
from sslsv_tk.kaldi.directories import DataDirectory

STEPS: dict[str, Step] = {}
step = entering(STEPS)
JOBS = 4
CLIPS = 2000


@step("4096 x 4096 fp32 product")
def product(site: Site) -> str:
    side = 4096 if site.size.utterances > 100_000 else 64
    left = np.random.default_rng(0).standard_normal((side, side), dtype=np.float32)
    with site.clock():
        left @ left
    return f"{2 * side**3 / site.seconds / 1e12:.3f} TFLOP/s"


@step("nothing: Python, numpy and the package")
def nothing(site: Site) -> None:
    pass


@step("walk over empty files")
def walk(site: Site) -> str:
    found = synthetic.listing(synthetic.Size.of(site.files))
    for relative in found.relative.tolist():
        path = site.folder / "corpus" / relative.decode()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with site.clock():
        listing = audio_files.find(site.folder / "corpus")
    shutil.rmtree(site.folder / "corpus")
    return f"{len(listing):,} files"


@step("digest of a listing")
def listing_digest(site: Site) -> None:
    listing = synthetic.listing(site.size)
    with site.clock():
        listing.digest()


@step("ids, recordings and speakers of a listing, data directory written")
def write(site: Site) -> None:
    listing = synthetic.listing(site.size)
    with site.clock():
        found = trees.identify([trees.of_part(listing, "dev")], ())
        trees.tree_of(found, ["voxceleb"], "voxceleb")
        speakers, recordings = found.speakers_and_recordings()
        lengths = synthetic.seconds(len(found.keys))
        DataDirectory(found.keys, found.paths, speakers, recordings, lengths).write(site.train)


@step("data directory read")
def load(site: Site) -> None:
    with site.clock():
        DataDirectory.load(site.train)


@step("validated")
def validate(site: Site) -> None:
    with site.clock():
        directories.validate(site.train)


@step("fixed: one table unsorted, one line missing")
def fix(site: Site) -> str:
    broken = site.folder / "data" / "broken"
    shutil.copytree(site.train, broken, dirs_exist_ok=True)
    lines = (site.train / "utt2rec").read_bytes().splitlines(keepends=True)
    (broken / "utt2rec").write_bytes(b"".join(reversed(lines[1:])))
    del lines
    with site.clock():
        kept, total = repair.fix(broken)
    shutil.rmtree(broken)
    return f"kept {kept:,} of {total:,}"


@step(f"split into {JOBS}, no speaker in two")
def split(site: Site) -> None:
    with site.clock():
        split_data.main([str(site.train), str(JOBS), "--force", "true"])


@step("parts combined")
def combine(site: Site) -> None:
    parts = [str(site.train / f"split{JOBS}" / str(job)) for job in range(1, JOBS + 1)]
    with site.clock():
        combine_data.main([str(site.folder / "data" / "combined"), *parts, "--force", "true"])
    shutil.rmtree(site.train / f"split{JOBS}")


@step("half of it at random")
def subset(site: Site) -> None:
    half, out = site.size.utterances // 2, site.folder / "data" / "half"
    with site.clock():
        subset_data_dir.main([str(site.train), str(half), str(out), "--force", "true"])
    shutil.rmtree(out)


@step("copied with other ids")
def copy(site: Site) -> None:
    source, out = site.folder / "data" / "combined", site.folder / "data" / "renamed"
    options = ["--utt-prefix", "v2-", "--spk-prefix", "v2-", "--force", "true"]
    with site.clock():
        copy_data_dir.main([str(source), str(out), *options])
    shutil.rmtree(out)
    shutil.rmtree(source)


@step("(a test set and its trial list)")
def test_set(site: Site) -> None:
    synthetic.write_test_set(site.size, site.folder / "data" / "test", site.folder / "list_test_all2.txt")


@step("trial list read and written")
def trials(site: Site) -> str:
    data = site.folder / "data" / "test"
    options = ["--source", str(site.folder / "list_test_all2.txt"), "--data", str(data)]
    with site.clock():
        prepare_trials.main([*options, "--out", str(data / "trials_E")])
    return f"{site.size.trials:,} trials of {site.size.test_utterances:,}"


@step("offline copies decided (prepare_copies)")
def decide_copies(site: Site) -> str:
    synthetic.write_clips(site.folder, CLIPS)
    with site.clock():
        prepare_copies.main(["--data", str(site.train), "--clips", str(site.train.parent), "--force", "true"])
    return f"{len(KINDS)} kinds"


@step("babble's table read in blocks of 128")
def copy_table(site: Site) -> None:
    with site.clock():
        table = CopyTable(
            site.train.with_name("train_babble"), DataDirectory.load(site.folder / "data/musan_speech").keys
        )
        for begin in range(0, len(table.keys), 128):
            table.read(np.arange(begin, min(begin + 128, len(table.keys))))


@step("disk space estimated")
def disk_space(site: Site) -> None:
    with site.clock(), contextlib.suppress(ValueError):  # the disk is too small for VoxCeleb2
        check_disk_space.main(["--data", str(site.train), "--out", str(site.packed.parent)])


@step("(parts of stage 3)")
def parts(site: Site) -> None:
    for kind in KINDS:
        shutil.rmtree(site.train.with_name(f"train_{kind}"), ignore_errors=True)
    synthetic.write_parts(site.train, site.packed, JOBS)


@step("parts of stage 3 joined (finish_packing)")
def join(site: Site) -> str:
    options = ["--data", str(site.train), "--out", str(site.packed), "--num-jobs", str(JOBS), "--force", "true"]
    with site.clock():
        finish_packing.main(options)
    return f"{JOBS} parts"


@step("packed audio opened by its text tables")
def open_tables(site: Site) -> None:
    with site.clock():
        of_tables(site.packed)


@step("packed audio opened by its mapped index")
def open_index(site: Site) -> None:
    with site.clock():
        AudioArchive(site.packed)


def feature_folders(site: Site) -> list[Path]:
    """The features of the training set, then of its copies."""
    clean = site.folder / "dump" / "fbank" / "train"
    return [clean, *(copies.copy_folder(clean, kind) for kind in KINDS)]


@step("(features of the set and its copies)")
def write_features(site: Site) -> None:
    archive = AudioArchive(site.packed)
    for folder, kind in zip(feature_folders(site), (None, *KINDS), strict=True):
        keys = archive.keys if kind is None else np.sort(copies.copy_keys(archive.keys, kind))
        synthetic.write_features(folder, keys, archive.samples, JOBS)


@step("features and four copies read from their text tables")
def open_feature_tables(site: Site) -> None:
    with site.clock():
        kept = [feature_archive.of_tables(folder) for folder in feature_folders(site)]
    assert len(kept) == 1 + len(KINDS)


@step("their indexes written (finish_features)")
def write_feature_indexes(site: Site) -> None:
    with site.clock():
        for folder in feature_folders(site):
            indexes.load(folder, FEATURES)


@step("features and four copies opened by their mapped indexes")
def open_features(site: Site) -> str:
    with site.clock():
        found = CopiedFeatures(FeatureArchive(feature_folders(site)[0]), KINDS)
    status = Path("/proc/self/status").read_text().split()
    own = int(status[status.index("RssAnon:") + 1]) * 1024 / 1e6
    return f"{own:.0f} MB not of files; {len(pickle.dumps(found)):,} bytes sent to a spawned worker"
