"""What a system left on disk: its embeddings, and what its rows must say of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import digests, records
from sslsv_tk.arks.indexes import read_scp
from sslsv_tk.artifacts import StaleArtifact
from sslsv_tk.kaldi.tables import Words, text
from sslsv_tk.records import CONTENTS, Record
from sslsv_tk.systems.on_disk import System

_VECTOR = np.dtype([("marker", "S6"), ("dimension", "<i4")])  # then that many float32
_MARKER = b"\0BFV \4"


def record_of(folder: Path) -> Record:
    """The record of finished embeddings, all of whose files are whole, whichever bytes they consist of."""
    scp = folder / "xvector.scp"
    found = records.read(folder)
    if found is None or not scp.is_file():
        raise ValueError(f"{folder}: no finished embeddings (made.json and xvector.scp). Run stage 6 first.")
    if CONTENTS not in found.facts:
        raise StaleArtifact(f"{folder}: its record has no digest of the embeddings. Run stage 6 with --force true.")
    if faults := found.faults(folder):
        raise ValueError(f"{'; '.join(faults)}. Run stage 6 again.")
    return found


def read_embeddings(folder: str | Path) -> tuple[Words, NDArray[np.float32]]:
    """Keys (N,), sorted, and embeddings (N, D) of xvector.scp, whose arks hold Kaldi float vectors (FV).

    Every byte is compared with what stage 6 wrote. A folder that was moved is read where it is.
    """
    folder = Path(folder)
    own = {name: str(folder / name) for name in record_of(folder).arks()}
    keys, arks, offsets = read_scp(folder / "xvector.scp")
    if own:
        arks = np.array([_own_ark(text(ark), own).encode() for ark in np.unique(arks)])[
            np.unique(arks, return_inverse=True)[1]
        ]
    parts = {ark: np.flatnonzero(arks == ark) for ark in np.unique(arks).tolist()}
    matrix: NDArray[np.float32] | None = None
    for ark, rows in parts.items():
        vectors = _read_vectors(text(ark), offsets[rows], keys[rows])
        matrix = np.empty((len(keys), vectors.shape[1]), dtype=np.float32) if matrix is None else matrix
        if vectors.shape[1] != matrix.shape[1]:
            raise ValueError(f"{text(ark)}: embeddings of {vectors.shape[1]} values, others have {matrix.shape[1]}.")
        matrix[rows] = vectors
    assert matrix is not None  # read_scp refuses an empty table
    order = np.argsort(keys, kind="stable")
    return keys[order], matrix[order]


def _own_ark(ark: str, own: Mapping[str, str]) -> str:
    """The path of an ark that a scp names, where the folder lies now."""
    return next((path for name, path in own.items() if ark.endswith(f"/{name}")), ark)


def _read_vectors(ark: str, offsets: NDArray[np.int64], keys: Words) -> NDArray[np.float32]:
    """Float vectors of one ark, all of one length: (n, D)."""
    contents = np.memmap(ark, dtype=np.uint8, mode="r") if Path(ark).stat().st_size else np.zeros(0, dtype=np.uint8)
    _refuse(offsets + _VECTOR.itemsize > len(contents), ark, keys, "lie beyond the end of the file")
    headers = contents[offsets[:, None] + np.arange(_VECTOR.itemsize)].view(_VECTOR)[:, 0]
    _refuse(headers["marker"] != _MARKER, ark, keys, "are not Kaldi float vectors")
    dimension = int(headers["dimension"][0])
    _refuse(headers["dimension"] != dimension, ark, keys, f"do not have {dimension} values as the first one does")
    starts = offsets + _VECTOR.itemsize
    _refuse(starts + 4 * dimension > len(contents), ark, keys, "are cut short")
    vectors = np.empty((len(offsets), dimension), dtype=np.float32)
    block = max(1, 2**20 // max(1, dimension))
    for first in range(0, len(offsets), block):
        part = slice(first, first + block)
        vectors[part] = contents[starts[part, None] + np.arange(4 * dimension)].view("<f4")
    return vectors


def _refuse(wrong: NDArray[np.bool_], ark: str, keys: Words, what: str) -> None:
    if wrong.any():
        count, first = int(wrong.sum()), text(keys[wrong.argmax()])
        raise ValueError(f"{ark}: {count} of {len(keys)} embeddings {what}, the first is {first}. Run stage 6 again.")


def configuration(system: str | Path) -> dict[str, Any]:
    """Fingerprint, seed and arithmetic of the resolved configuration; all None for a system that was never trained."""
    trained = System(Path(system))
    if not trained.config_file.exists():
        return {"config_fingerprint": None, "seed": None, "arithmetic": None}
    training, fingerprint = trained.config().training, digests.of_file(trained.config_file)[:16]
    return {"config_fingerprint": fingerprint, "seed": training.seed, "arithmetic": training.arithmetic}
