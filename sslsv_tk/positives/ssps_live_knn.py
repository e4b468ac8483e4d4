"""Live pseudo-positives from the nearest reference embeddings, where possible only from those that agree.

Where speakers have few recordings, a cluster large enough to hold several of them holds other speakers, too. Here an
utterance's candidates are the k others whose reference embeddings are nearest, and with `mutual` only those of them
that count it among their own k nearest: an utterance without any keeps its own positive. The loader cuts the positive
from the chosen utterance's audio, as in ssps_live. The search is exact: N x N products before every epoch.
N utterances, k nearest, B batch, S positive slots, P projection.
"""

from dataclasses import dataclass

from sslsv_tk.positives.base import PositiveSampler, SamplerFacts
from sslsv_tk.sampling.candidates import CandidateConfig, find_candidates
from sslsv_tk.sampling.filling import Filling
from sslsv_tk.sampling.partners import Partners
from sslsv_tk.sampling.references import References


@dataclass(frozen=True, kw_only=True)
class SSPSLiveKNNConfig(CandidateConfig):
    """Settings of the sampler: those of candidates among utterances."""


class SSPSLiveKNN(PositiveSampler):
    """Pseudo-positives from the audio of one of the nearest utterances."""

    Config = SSPSLiveKNNConfig
    config: SSPSLiveKNNConfig
    keeps_projections = False
    references: References
    drawn: Partners

    def __init__(self, config: SSPSLiveKNNConfig, facts: SamplerFacts) -> None:
        super().__init__(config, facts)
        config.check_points(facts.utterances, "utterances")
        self.filling = Filling("references", config.filling, config.refresh)
        self.references = References(config, facts)
        self.drawn = Partners(facts)

    def draw(self, epoch: int) -> dict[str, float]:
        """Find the candidates of every utterance seen, and draw the partners of the epoch among them."""
        rows, points = self.references.collect()
        numbers = {"seen_share": len(rows) / self.facts.utterances}
        self.drawn.forget()
        if len(rows) <= self.config.nearest:
            return numbers
        found = find_candidates(points, self.config)
        (uniform_N,) = self.facts.uniform(1, self.name, epoch)[:, rows]
        self.drawn.take_among(rows, found.draw(uniform_N, self.config.weights, self.config.decay))
        return {**numbers, "candidates": found.mean_count}
