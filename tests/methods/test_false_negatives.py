"""Negatives of the anchor's own cluster, or of its positive's, are left out: against loops over hand-made clusters."""

import pytest
import torch
from clustered_rows import WIDTH, cosine, cross_entropy, is_left_out, naive_info_nce
from torch import Tensor
from torch.nn.functional import normalize
from two_processes import Means, numbers

from sslsv_tk.methods.base import Pairs, same_cluster
from sslsv_tk.methods.moco import info_nce_loss
from sslsv_tk.methods.simclr import SimCLR, SimCLRConfig, false_negatives, nt_xent_loss

ROWS = 6
# Rows 0 and 1 share cluster 4; 2 took its positive from cluster 4; 3 and 5 know nothing, or half; 4 is alone.
CLUSTERS = torch.tensor([[4, 4, 7, -1, 1, -1], [4, 4, 4, -1, 1, 7]])
# By anchor: the other utterances whose first view, and whose second view, are no negatives of its.
FIRST_VIEWS = [{1}, {0}, {0, 1}, set(), set(), {2}]
SECOND_VIEWS = [{1, 2}, {0, 2}, {0, 1, 5}, set(), set(), set()]


def pair(batch: int = ROWS) -> tuple[Tensor, Tensor]:
    return numbers(1, batch, 3), numbers(2, batch, 3)


def naive_nt_xent(
    z1: Tensor, z2: Tensor, clusters: Tensor, temperature: float, symmetric: bool, margin: float = 0.0
) -> tuple[float, float]:
    """The loss and the share of the negatives left out, anchor by anchor and candidate by candidate."""
    batch, losses, negatives, left_out = len(z1), [], 0, 0
    for view in (0, 1) if symmetric else (0,):
        for i in range(batch):
            anchor, others = (z1, z2)[view][i], []
            for other_view in (0, 1) if symmetric else (1,):
                for j in range(batch):
                    if j == i:  # itself, or its positive
                        continue
                    negatives += 1
                    if is_left_out(clusters, i, int(clusters[other_view, j])):
                        left_out += 1
                    else:
                        others.append(cosine(anchor, (z1, z2)[other_view][j]))
            losses.append(cross_entropy(cosine(z1[i], z2[i]) - margin, others, temperature))
    return sum(losses) / len(losses), left_out / negatives


# -- which negatives -----------------------------------------------------------------------------------------------


def test_the_hand_listed_negatives_are_left_out_of_both_views() -> None:
    masked_RR = false_negatives(CLUSTERS)
    for anchor in range(ROWS):
        expected = FIRST_VIEWS[anchor] | {ROWS + j for j in SECOND_VIEWS[anchor]}
        for row in (anchor, ROWS + anchor):
            assert set(masked_RR[row].nonzero()[:, 0].tolist()) == expected, row


def test_in_one_direction_the_candidates_are_those_of_the_second_view() -> None:
    found = [set(row.nonzero()[:, 0].tolist()) for row in false_negatives(CLUSTERS, symmetric=False)]
    assert found == SECOND_VIEWS


@pytest.mark.parametrize("seed", range(5))
def test_a_candidate_is_compared_with_both_clusters_of_the_anchor(seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    clusters = torch.randint(-1, 3, (2, 7), generator=chance)
    candidates = torch.randint(-1, 3, (9,), generator=chance)
    expected = [[is_left_out(clusters, i, k) for k in candidates.tolist()] for i in range(7)]
    assert same_cluster(clusters, candidates).tolist() == expected


# -- SimCLR --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_nt_xent_is_that_of_loops(temperature: float, symmetric: bool, margin: float) -> None:
    z1, z2 = pair()
    expected, share = naive_nt_xent(z1, z2, CLUSTERS, temperature, symmetric, margin)
    masked_RR = false_negatives(CLUSTERS, symmetric)
    assert nt_xent_loss(z1, z2, temperature, symmetric, margin, masked_RR).item() == pytest.approx(expected, abs=1e-9)
    method = SimCLR(Means(WIDTH), SimCLRConfig(temperature, margin, symmetric, mask_same_cluster=True))
    assert method.loss(Pairs(z1[None], z2[None], clusters_2B=CLUSTERS)).item() == pytest.approx(expected, abs=1e-9)
    assert float(method.measures()["masked_share"]) == pytest.approx(share)
    assert 0 < share < 1 and expected < nt_xent_loss(z1, z2, temperature, symmetric, margin).item() - 1e-3


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_gradient_of_nt_xent_is_that_of_its_values(symmetric: bool) -> None:
    z1, z2 = (z.requires_grad_() for z in pair())
    masked_RR = false_negatives(CLUSTERS, symmetric)
    assert torch.autograd.gradcheck(lambda a, b: nt_xent_loss(a, b, 0.5, symmetric, 0.1, masked_RR), (z1, z2))


@pytest.mark.parametrize("symmetric", [True, False])
def test_simclr_with_unknown_clusters_or_without_any_leaves_nothing_out(symmetric: bool) -> None:
    z1, z2 = pair()
    plain = SimCLR(Means(WIDTH), SimCLRConfig(symmetric=symmetric)).loss(Pairs(z1[None], z2[None]))
    method = SimCLR(Means(WIDTH), SimCLRConfig(symmetric=symmetric, mask_same_cluster=True))
    for clusters_2B in (None, torch.full((2, ROWS), -1), torch.arange(ROWS).repeat(2, 1)):
        assert torch.equal(method.loss(Pairs(z1[None], z2[None], clusters_2B=clusters_2B)), plain)
        assert float(method.measures()["masked_share"]) == 0


def test_without_the_option_clusters_change_nothing() -> None:
    z1, z2 = pair()
    method = SimCLR(Means(WIDTH), SimCLRConfig())
    assert torch.equal(
        method.loss(Pairs(z1[None], z2[None], clusters_2B=CLUSTERS)), method.loss(Pairs(z1[None], z2[None]))
    )
    assert "masked_share" not in method.measures()


@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("symmetric", [True, False])
def test_where_all_share_one_cluster_only_the_positive_is_left(symmetric: bool, margin: float) -> None:
    z1, z2 = (z.requires_grad_() for z in pair())
    settings = SimCLRConfig(margin=margin, symmetric=symmetric, mask_same_cluster=True)
    method = SimCLR(Means(WIDTH), settings)
    loss = method.loss(Pairs(z1[None], z2[None], clusters_2B=torch.zeros(2, ROWS, dtype=torch.int64)))
    loss.backward()
    assert loss.item() == 0 and float(method.measures()["masked_share"]) == 1
    assert z1.grad is not None and z2.grad is not None
    assert z1.grad.eq(0).all() and z2.grad.eq(0).all()


def test_a_row_that_is_left_out_gets_no_gradient_from_the_anchor() -> None:
    """One direction: where anchor 0 is another one, only the gradients of its candidates change."""
    z1, z2 = pair()
    changed, gradients = z1.clone(), []
    changed[0] = -z1[0]
    for anchors in (z1, changed):
        candidates = z2.clone().requires_grad_()
        nt_xent_loss(anchors, candidates, 0.5, False, 0.0, false_negatives(CLUSTERS, symmetric=False)).backward()
        gradients.append(candidates.grad)
    moved = {row for row in range(ROWS) if not torch.allclose(gradients[0][row], gradients[1][row])}
    assert moved == set(range(ROWS)) - SECOND_VIEWS[0]


# -- MoCo's loss ----------------------------------------------------------------------------------------------------


def test_info_nce_is_that_of_loops_and_its_gradient_that_of_its_values() -> None:
    query, key, queue = numbers(1, ROWS, 3), numbers(2, ROWS, 3), numbers(3, 8, 3)
    queued = torch.tensor([4, -1, 7, 7, 1, 0, 0, -1])
    masked_BK, queue_DK = same_cluster(CLUSTERS, queued), normalize(queue, dim=1).T
    expected = naive_info_nce(query, key, list(queue), queued.tolist(), CLUSTERS, 0.3)
    assert info_nce_loss(query, key, queue_DK, 0.3, masked_BK).item() == pytest.approx(expected, abs=1e-9)
    assert expected < info_nce_loss(query, key, queue_DK, 0.3).item() - 1e-3
    leaves = [rows.clone().requires_grad_() for rows in (query, key, queue_DK)]
    assert torch.autograd.gradcheck(lambda q, k, negatives: info_nce_loss(q, k, negatives, 0.3, masked_BK), leaves)


def test_a_key_that_everybody_leaves_out_gets_no_gradient() -> None:
    query, key = numbers(1, 3, 3), numbers(2, 3, 3)
    queue_DK = normalize(numbers(3, 3, 4), dim=0).requires_grad_()
    clusters_2B, queued = torch.tensor([[0, 0, 1], [1, 0, 0]]), torch.tensor([0, 1, 2, -1])
    info_nce_loss(query, key, queue_DK, 0.3, same_cluster(clusters_2B, queued)).backward()
    assert queue_DK.grad is not None
    assert (queue_DK.grad != 0).any(0).tolist() == [False, True, True, True]


def test_with_all_keys_left_out_only_the_positive_is_left() -> None:
    query, key = numbers(1, 3, 3).requires_grad_(), numbers(2, 3, 3)
    everything = torch.ones(3, 4, dtype=torch.bool)
    loss = info_nce_loss(query, key, normalize(numbers(3, 3, 4), dim=0), 0.3, everything)
    loss.backward()
    assert loss.item() == 0 and query.grad is not None and query.grad.eq(0).all()
