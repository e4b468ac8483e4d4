"""What a system left on disk: its embeddings, and what its rows must say of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import digests, records
from sslsv_tk.arks.indexes import read_scp
from sslsv_tk.arks.vectors import read_vectors
from sslsv_tk.artifacts import StaleArtifact
from sslsv_tk.kaldi.tables import Words, text
from sslsv_tk.records import CONTENTS, Record
from sslsv_tk.systems.on_disk import System


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
        vectors = read_vectors(text(ark), offsets[rows], keys[rows])
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


def configuration(system: str | Path) -> dict[str, Any]:
    """Fingerprint, seed and arithmetic of the resolved configuration; all None for a system that was never trained."""
    trained = System(Path(system))
    if not trained.config_file.exists():
        return {"config_fingerprint": None, "seed": None, "arithmetic": None}
    training, fingerprint = trained.config().training, digests.of_file(trained.config_file)[:16]
    return {"config_fingerprint": fingerprint, "seed": training.seed, "arithmetic": training.arithmetic}
