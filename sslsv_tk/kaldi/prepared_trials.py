"""Records of the trial lists that stage 1 wrote: data/SET/.trials_NAME.json beside data/SET/trials_NAME."""

from pathlib import Path

from sslsv_tk import digests, records
from sslsv_tk.records import Record


def record_of(trials: Path) -> Path:
    """Where the record of a list lies."""
    return trials.with_name(f".{trials.name}.json")


def write_record(trials: Path, source: Path) -> None:
    """A list was made of another one."""
    inputs = {"list": digests.of_file(source)}
    Record({"list": trials.name}, inputs, records.of_files(trials.parent, [trials.name])).write(record_of(trials))


def require_whole(trials: Path) -> None:
    """ValueError where a list is not as stage 1 wrote it; one without a record is the user's own."""
    found = Record.read(record_of(trials))
    if found is not None and (faults := found.faults(trials.parent)):
        raise ValueError(f"{faults[0]}. Run stage 1 again.")


def digest(trials: Path) -> str:
    """The digest of a list that is whole."""
    require_whole(trials)
    return digests.of_file(trials)
