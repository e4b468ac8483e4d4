"""What every encoder is."""

from typing import Any, Literal

from torch import Tensor, nn


class Encoder(nn.Module):
    """A network from an utterance to a speaker embedding.

    A subclass names its configuration dataclass as `Config`, is made from it alone, and sets

    * `input`: "logmel" (B, F, L) or "waveform" (B, T); the front end stops there;
    * `dimension`: D, the width of the embedding;
    * `bands`: the mel bands that it was made for; None: any number;
    * `blocks`: a container of the modules that follow one another, where it has them, for training.recompute.
    """

    Config: type[Any]
    input: Literal["logmel", "waveform"] = "logmel"
    dimension: int
    bands: int | None = None
    parts: int = 1
    """In how many parts the rows of a training batch pass, one after the other; training.encoder_parts."""

    def forward(self, input_BFL: Tensor) -> Tensor:
        """(B, F, L) frames, or (B, T) samples, to (B, D) embeddings, not normalised."""
        raise NotImplementedError
