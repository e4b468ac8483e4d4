"""Rows with clusters, the rule of who is no negative word by word, and methods that leave such rows out."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from two_processes import Means

from sslsv_tk.methods.moco import MoCo, MoCoConfig
from sslsv_tk.methods.simclr import SimCLR, SimCLRConfig

WIDTH = 5


def cosine(a: Tensor, b: Tensor) -> float:
    return float(cosine_similarity(a, b, dim=0))


def cross_entropy(own: float, others: list[float], temperature: float) -> float:
    below = math.exp(own / temperature) + sum(math.exp(other / temperature) for other in others)
    return math.log(below) - own / temperature


def is_left_out(clusters: Tensor, anchor: int, candidate: int) -> bool:
    """The rule, word by word, for a candidate's cluster and the number of the anchor's pair."""
    if candidate == -1:
        return False
    own, chosen = clusters[:, anchor].tolist()
    return (own != -1 and candidate == own) or (chosen != -1 and candidate == chosen)


def naive_info_nce(
    query: Tensor, key: Tensor, queue: list[Tensor], queued: list[int], clusters: Tensor, temperature: float
) -> float:
    total = 0.0
    for i in range(len(query)):
        others = [
            cosine(query[i], row)
            for row, cluster in zip(queue, queued, strict=True)
            if not is_left_out(clusters, i, cluster)
        ]
        total += cross_entropy(cosine(query[i], key[i]), others, temperature)
    return total / len(query)


def make_simclr() -> SimCLR:
    torch.manual_seed(0)
    return SimCLR(Means(WIDTH), SimCLRConfig(temperature=0.3, margin=0.1, mask_same_cluster=True))


def make_moco(seed: int = 0, **settings: Any) -> MoCo:
    torch.manual_seed(seed)
    return MoCo(
        Means(WIDTH), MoCoConfig(**{"queue_size": 7, "temperature": 0.3, "mask_same_cluster": True, **settings})
    )
