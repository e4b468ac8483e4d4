"""Records of folders of arks: what made them, and size and digest of every file that came out."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sslsv_tk import artifacts, digests, logs

log = logs.logger("parts")
CONTENTS = "contents"  # the digest of all entries of an ark, or of a folder


@dataclass(frozen=True)
class Made:
    """What decides the contents of a folder or of a part: options, and digests of the inputs by name."""

    options: Mapping[str, Any]
    inputs: Mapping[str, str]


@dataclass(frozen=True)
class Record:
    """What made a folder or a part, and what came out.

    `outputs` gives bytes and digest of each file by its path below the folder; `facts` is whatever else is worth
    keeping, of which nothing is compared.
    """

    options: Mapping[str, Any]
    inputs: Mapping[str, str]
    outputs: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> "Record | None":
        """The record in a file; None where there is none, or where it is not as it was written (which is said)."""
        try:
            found = artifacts.from_json(path.read_text(encoding="utf-8"))
            if found.pop("digest") == digests.of_value(found):
                return cls(**found)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        log.warning("%s is damaged; its files are looked at anew", path)
        return None

    def write(self, path: Path) -> None:
        """Write the record with its own digest."""
        value = json.loads(json.dumps(self._value()))
        with artifacts.replacing(path) as stream:
            json.dump({**value, "digest": digests.of_value(value)}, stream, indent=1, sort_keys=True)
            stream.write("\n")

    def _value(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def differences(self, made: Made) -> list[str]:
        """What was made otherwise, in words."""
        return artifacts.differences_of(self._value(), made.options, made.inputs)

    def arks(self) -> list[str]:
        """The arks among the outputs."""
        return [name for name in self.outputs if name.endswith(".ark")]

    def faults(self, folder: Path, names: Iterable[str] | None = None) -> list[str]:
        """What is wrong with the outputs (or with those of some names), in words.

        Each is looked at by its size, and a table also by its contents.
        """
        wanted = self.outputs if names is None else [name for name in names if name in self.outputs]
        found = ((folder / name, fault_of(folder / name, self.outputs[name])) for name in wanted)
        return [f"{path} {fault}" for path, fault in found if fault]


def fault_of(path: Path, expected: Mapping[str, Any]) -> str | None:
    """What is wrong with a file that a record describes so; None: nothing. An ark is looked at by its size."""
    try:
        size = path.stat().st_size
        if size != expected["bytes"]:
            return f"has {size} bytes instead of {expected['bytes']}"
        changed = "digest" in expected and digests.of_file(path) != expected["digest"]
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    return "has other contents than were written" if changed else None


def about(path: Path) -> dict[str, Any]:
    """A table as records describe it."""
    return {"bytes": path.stat().st_size, "digest": digests.of_file(path)}
