"""Records of what stages made: of which options and inputs, and size and digest of everything that came out.

FOLDER/made.json is written last, so a folder that has one was completed. A later stage takes digests of this one's
outputs as its inputs: from the audio to the scores each link of the chain is a content, and no path, name or time.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sslsv_tk import artifacts, block_sums, digests, logs
from sslsv_tk.artifacts import RECORD, StaleArtifact
from sslsv_tk.stamps import Stamps, distrust

log = logs.logger("records")
CONTENTS = "contents"
"""The name of the digest of entries, in descriptions of files and in facts."""
_ARK, _SUMS = ".ark", ".sums"


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
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Record | None":
        """The record in a file; None where there is none, or where it is not as it was written (which is said).

        StaleArtifact for a record without digests, as earlier versions wrote it.
        """
        try:
            found = artifacts.from_json(path.read_text(encoding="utf-8"))
            if _is_without_digests(found):
                raise StaleArtifact(
                    f"{path}: a record without digests, of an earlier version: what is there cannot be compared. Use"
                    " another folder, or --force true to make it anew."
                )
            if (value := digests.unsealed(found)) is not None:
                return cls(**value)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except StaleArtifact:
            raise
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        log.warning("%s is damaged; its files are looked at anew", path)
        distrust(path)
        return None

    def write(self, path: Path) -> None:
        """Write the record with its own digest."""
        with artifacts.replacing(path) as stream:
            json.dump(digests.sealed(self._value()), stream, indent=1, sort_keys=True)
            stream.write("\n")

    def _value(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @property
    def identity(self) -> str:
        """A digest of options and inputs, for records of what is made of this."""
        return digests.of_value({"options": self.options, "inputs": self.inputs})

    def differences(self, made: Made) -> list[str]:
        """What was made otherwise, in words."""
        wanted = json.loads(json.dumps({"options": dict(made.options), "inputs": dict(made.inputs)}))
        found = self._value()
        return [
            f"{kind[:-1]} {name}: was {found[kind].get(name, 'absent')}, now {wanted[kind].get(name, 'absent')}"
            for kind in ("options", "inputs")
            for name in sorted(found[kind].keys() | wanted[kind].keys())
            if found[kind].get(name) != wanted[kind].get(name)
        ]

    def arks(self) -> list[str]:
        """The arks among the outputs."""
        return [name for name in self.outputs if name.endswith(_ARK)]

    def faults(self, folder: Path, names: Iterable[str] | None = None, stamps: Stamps | None = None) -> list[str]:
        """What is wrong with the outputs (or with those of some names), in words.

        An ark whose size, time and inode are those of `stamps` is taken as it is; all else is hashed. Of an ark whose
        sums are damaged nothing is known, and nothing said.
        """
        wanted = self.outputs if names is None else [name for name in names if name in self.outputs]
        faults: dict[str, str] = {}
        for name in sorted(wanted, key=lambda name: name.endswith(_ARK)):  # arks last, after their sums
            if f"{name}{_SUMS}" in faults:
                continue
            path, expected = folder / name, self.outputs[name]
            digest = _digest_of(expected)
            try:
                if stamps is not None and name.endswith(_ARK) and stamps.fit(name, path, digest):
                    continue
                fault = _fault(path, expected, has_sums=f"{name}{_SUMS}" in self.outputs)
                if stamps is not None and fault is None:
                    stamps.note(name, path, digest)
            except (FileNotFoundError, NotADirectoryError):
                fault = "is missing"
            if fault:
                distrust(path)
                faults[name] = f"{path} {fault}"
        if stamps is not None:
            stamps.save()
        return list(faults.values())

    def stamp(self, folder: Path, stamps: Stamps) -> None:
        """The outputs are what was just written: they need not be hashed until their stamps change."""
        for name, expected in self.outputs.items():
            stamps.note(name, folder / name, _digest_of(expected))
        stamps.save()


def _digest_of(described: Mapping[str, Any]) -> str:
    """Of a file by its description: of a table its own digest, of an ark that of its entries."""
    return str(described.get("digest", described.get(CONTENTS)))


def _is_without_digests(found: Any) -> bool:
    return isinstance(found, dict) and found.keys() == {"options", "inputs"}


def _fault(path: Path, expected: Mapping[str, Any], has_sums: bool) -> str | None:
    size = path.stat().st_size
    if size != expected["bytes"]:
        return f"has {size} bytes instead of {expected['bytes']}"
    if "digest" in expected:
        return None if digests.of_file(path) == expected["digest"] else "has other contents than were written"
    if has_sums and (blocks := block_sums.damaged_blocks(path)):
        where = f"byte {block_sums.BLOCK_BYTES * blocks[0]}"
        return f"has other contents than were written ({len(blocks)} of its blocks, the first at {where})"
    return None


def of_table(path: Path) -> dict[str, Any]:
    """A table as records describe it: size and digest."""
    return {"bytes": path.stat().st_size, "digest": digests.of_file(path)}


def of_files(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Those files of a folder that are there, as records describe them."""
    return {name: of_table(folder / name) for name in names if (folder / name).is_file()}


def read(folder: str | Path) -> Record | None:
    """The record of a folder, None where it is not complete; StaleArtifact where the record is damaged."""
    path = Path(folder) / RECORD
    found = Record.read(path)
    if found is None and path.exists():
        raise StaleArtifact(
            f"{path}: not a record of how this folder was made, or a damaged one. Restore it, use another folder, or"
            " --force true to make it anew."
        )
    return found


def made_as(folder: str | Path, options: Mapping[str, Any], inputs: Mapping[str, str]) -> Record | None:
    """The record of a folder that is complete and made with these options from these inputs; None: not complete.

    `inputs` maps a name that the user knows ("wav.scp of data/train") to a digest.
    Raises StaleArtifact, naming each difference, when it was made otherwise.
    """
    found = read(folder)
    if found is not None:
        refuse_other(folder, found, Made(options, inputs))
    return found


def refuse_other(folder: str | Path, found: Record, made: Made) -> None:
    """StaleArtifact, naming each difference, where a folder was made otherwise."""
    if differences := found.differences(made):
        raise StaleArtifact(
            f"{folder} was made otherwise ({'; '.join(differences)}). "
            "Use another folder, or --force true to make it anew."
        )


def write(folder: str | Path, made: Made, outputs: Mapping[str, Any] | None = None, **facts: Any) -> Record:
    """Mark the artifact in `folder` as complete; call it last."""
    record = Record(dict(made.options), dict(made.inputs), dict(outputs or {}), facts)
    record.write(Path(folder) / RECORD)
    return record


def require_tables(folder: str | Path) -> None:
    """ValueError where tables of a folder are not as a stage wrote them; one without a record is taken as it is."""
    found = Record.read(Path(folder) / RECORD)
    if found is None:
        return
    tables = [name for name in found.outputs if "/" not in name and not name.endswith((_ARK, _SUMS))]
    if faults := found.faults(Path(folder), tables):
        stage = "stage 3" if CONTENTS in found.facts else "stages 1 and 2"
        raise ValueError(f"{'; '.join(faults)}. Run {stage} again.")
