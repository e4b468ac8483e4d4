"""What a folder of arks holds, as digests: the input of all that is made of it.

No path, no name and no number of jobs decides them: a folder that was moved, linked or packed again is the same input.
They are found without reading an ark, since whoever wrote it knew its digest.
"""

from pathlib import Path

import numpy as np

from sslsv_tk import artifacts, digests
from sslsv_tk.arks import feature_archive, indexes, sources
from sslsv_tk.arks.audio_archive import AUDIO, is_in_place
from sslsv_tk.arks.feature_archive import FEATURES
from sslsv_tk.arks.indexes import ArchiveKind
from sslsv_tk.arks.parted_folder import misplaced_arks
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.records import CONTENTS, Record
from sslsv_tk.stamps import Stamps

_ABOUT_UTTERANCES = ("utt2spk", "utt2rec", "utt2category")


def identity(folder: str | Path) -> dict[str, str]:
    """Digests by name: `contents` of the entries, and of the tables that say whose they are.

    ValueError where the folder is not what its record says.
    """
    found = {name: Path(folder) / name for name in _ABOUT_UTTERANCES}
    return {CONTENTS: contents(folder)} | {
        name: digests.of_file(path) for name, path in found.items() if path.is_file()
    }


def contents(folder: str | Path) -> str:
    """The digest of the entries of packed audio (or features): their keys and their bytes.

    It stands in the record of a folder that stage 3 wrote; all its files are compared first, and so are arks of others
    that it points to. Those of a folder without a record are known by keys, lengths and places, and by the sizes of
    the files.
    """
    folder = Path(folder)
    kind = FEATURES if feature_archive.has_features(folder) else AUDIO
    path = folder / artifacts.RECORD
    record = Record.read(path)
    if record is None and path.exists():
        raise ValueError(f"{path} is damaged. Run {kind.stage} again.")
    if record is None or CONTENTS not in record.facts:
        return _of_others(folder, kind)
    faults = record.faults(folder, stamps=Stamps(path))
    if faults:
        raise ValueError(f"{'; '.join(faults)}. {_remedy(folder, kind)}")
    if misplaced := misplaced_arks(folder, kind.scp, record):
        raise ValueError(f"{misplaced}. Run {kind.stage} again: it writes the tables anew and keeps the arks.")
    if is_in_place(folder) and (files := sources.changed(folder, DataDirectory.load(folder).values)):
        raise ValueError(f"{files[0]} has changed since {folder} was made of it. Run {kind.stage} with --force true.")
    return str(record.facts[CONTENTS])


def _remedy(folder: Path, kind: ArchiveKind) -> str:
    if kind.is_of_others(folder):
        return "Restore what others made, or take it as it is now: stage 3 with --force true."
    return f"Run {kind.stage} again."


def _of_others(folder: Path, kind: ArchiveKind) -> str:
    found = indexes.load(folder, kind)
    sizes = np.array([file.st_size for file in kind.stat(folder, found.files)], dtype=np.int64)
    return digests.of_columns([found.keys, found.lengths, found.offsets, sizes[found.file_of_row]])
