"""Files that appear whole or not at all, and the record of what made them."""

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

RECORD = "made.json"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StaleArtifact(ValueError):
    """An artifact on disk was made with other options or from other inputs."""


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Where the disk, a quota or a limit has no room for what the block writes, the OSError names the file."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextlib.contextmanager
def replacing(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` that takes its name when the block ends without an error.

    A reader sees the old file or the new one, never a part, also after kill -9 or on a full disk.
    `mode` is "w" (UTF-8 text) or "wb".
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path), open(temporary, mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def from_json(text: str | bytes) -> Any:
    """The value that a JSON text holds; ValueError where it is none, also where it is nested without end."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("not JSON: nested too deeply") from None


def read_record(folder: str | Path) -> dict[str, dict[str, Any]] | None:
    """The options and inputs that made the artifact in `folder`, or None when it is not complete."""
    try:
        found = from_json((Path(folder) / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(found.get(kind), dict) for kind in ("options", "inputs")):
        raise StaleArtifact(
            f"{folder}/{RECORD}: not a record of how this folder was made. Remove it, or use --force true."
        )
    return found


def made_as(folder: str | Path, options: Mapping[str, Any], inputs: Mapping[str, str]) -> bool:
    """Is the artifact in `folder` complete and made with these options from these inputs?

    `inputs` maps a name that the user knows ("wav.scp of data/train") to a digest.
    Raises StaleArtifact, naming each difference, when it was made otherwise.
    """
    found = read_record(folder)
    if found is None:
        return False
    differences = differences_of(found, options, inputs)
    if differences:
        raise StaleArtifact(
            f"{folder} was made otherwise ({'; '.join(differences)}). "
            "Use another folder, or --force true to make it anew."
        )
    return True


def differences_of(
    found: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], inputs: Mapping[str, str]
) -> list[str]:
    """What another record has otherwise than these options and inputs, each in words."""
    wanted = json.loads(json.dumps({"options": dict(options), "inputs": dict(inputs)}))
    return [
        f"{kind[:-1]} {name}: was {found[kind].get(name, 'absent')}, now {wanted[kind].get(name, 'absent')}"
        for kind in ("options", "inputs")
        for name in sorted(found[kind].keys() | wanted[kind].keys())
        if found[kind].get(name) != wanted[kind].get(name)
    ]


def record(folder: str | Path, options: Mapping[str, Any], inputs: Mapping[str, str]) -> None:
    """Mark the artifact in `folder` as complete; call it last."""
    with replacing(Path(folder) / RECORD) as stream:
        json.dump({"options": dict(options), "inputs": dict(inputs)}, stream, indent=1, sort_keys=True)
        stream.write("\n")
