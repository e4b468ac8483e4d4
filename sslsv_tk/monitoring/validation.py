"""The EER on a small trial list while a system trains, and the checkpoint where it was lowest.

Labels come in here: a checkpoint chosen by such an EER is no longer that of a training without labels. So the best
one stands beside the rest as best.pt and is evaluated only where `--checkpoint best` asks for it.
"""

import itertools
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sslsv_tk import digests
from sslsv_tk.arks.feature_archive import Archive
from sslsv_tk.distributed.collectives import processes, rank
from sslsv_tk.distributed.processes import from_first, gather_objects
from sslsv_tk.extraction.embeddings import Extractor
from sslsv_tk.frontend.features import FrontEnd
from sslsv_tk.kaldi.trials import left_out, read_trials
from sslsv_tk.methods.base import Method, evaluation_mode
from sslsv_tk.scoring.bootstrap import chance_interval
from sslsv_tk.scoring.cosine import cosine_scores
from sslsv_tk.scoring.metrics import error_rates
from sslsv_tk.systems import checkpoints
from sslsv_tk.systems.on_disk import System

_log = logging.getLogger("train")


@dataclass(frozen=True)
class ValidationList:
    """Which trials over which packed audio or features, and after how many epochs each."""

    data: Path
    trials: Path
    every: int


class Validation:
    """Scores a list with the method as it is, and keeps the best weights so far."""

    def __init__(self, listed: ValidationList, archive: Archive, front_end: FrontEnd, system: System) -> None:
        self.listed, self.archive, self.front_end = listed, archive, front_end
        self.best = system.checkpoints.folder / "best.pt"
        self.trials = read_trials(listed.trials, archive.keys, left_out(listed.data))
        self.trials.require_both_kinds(listed.trials)
        self.rows = np.unique(np.concatenate([self.trials.enrol, self.trials.test])).astype(np.int64)
        self._fingerprint = digests.of_file(listed.trials)

    def is_due(self, epoch: int, last_epoch: int) -> bool:
        """Is the list scored after so many epochs? After the last one it always is."""
        return epoch % self.listed.every == 0 or epoch == last_epoch

    def score(self, method: Method, epoch: int, device: torch.device) -> dict[str, float]:
        """EER in per cent, minDCF(0.01) and whether that is chance; best.pt is replaced where the EER is the lowest."""
        embeddings = self._embed(method, device)
        return from_first(lambda: self._judge(embeddings, method, epoch))

    def _judge(self, embeddings: NDArray[np.float32], method: Method, epoch: int) -> dict[str, float]:
        enrol, test = (np.searchsorted(self.rows, side) for side in (self.trials.enrol, self.trials.test))
        rates = error_rates(cosine_scores(embeddings, enrol, test), self.trials.target)
        eer = float(rates.equal_error_rate())
        lowest = self._lowest()
        if eer < lowest:
            state = {"epoch": epoch, "eer_percent": eer, "trials": self._fingerprint, "model": method.weights()}
            checkpoints.write(self.best, state)
        against_chance = chance_interval(eer, self.trials.target).against_chance
        if against_chance:
            _log.info("epoch %d: the EER of %.2f %% is %s", epoch, eer, against_chance)
        return {
            "eer_percent": eer,
            "eer_nearest_percent": rates.equal_error_rate("nearest"),
            "mindcf_001": float(rates.minimum_dcf(0.01)),
            "best_eer_percent": min(eer, lowest),
            "at_chance": float(bool(against_chance)),
        }

    def _embed(self, method: Method, device: torch.device) -> NDArray[np.float32]:
        """(U, D) embeddings of the utterances of the list, of full length, in fp32; each process makes some."""
        encoder = method.scoring_encoder()
        own_rows = self.rows[rank() :: processes()]
        # A compiled encoder would be compiled again for every length.
        with evaluation_mode(method), torch.compiler.set_stance("force_eager"):
            extractor = Extractor(encoder, self.front_end, device)
            made = list(extractor.all(self.archive, own_rows))
        embeddings = np.empty((len(self.rows), encoder.dimension), dtype=np.float32)
        for rows, some in itertools.chain(*gather_objects(made)):
            embeddings[np.searchsorted(self.rows, rows)] = some
        return embeddings

    def _lowest(self) -> float:
        """The EER of best.pt, where it is of this list."""
        try:
            state = checkpoints.read(self.best)
        except FileNotFoundError:
            return float("inf")
        except checkpoints.DamagedCheckpoint as error:
            _log.warning("%s It is written anew.", error)
            return float("inf")
        return float(state["eer_percent"]) if state.get("trials") == self._fingerprint else float("inf")
