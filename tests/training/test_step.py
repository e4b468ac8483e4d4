import torch
from torch import nn

from sslsv_tk.encoders.base import Encoder
from sslsv_tk.methods.simclr import SimCLR, SimCLRConfig
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts
from sslsv_tk.training.step import TrainingStep

calls = []


class Mean(Encoder):
    """A linear layer over the mean frame, with dropout to see the mode."""

    dimension = 3

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(3)

    def forward(self, input_BFL):
        return self.norm(self.linear(input_BFL.mean(-1)))


class RecordingSimCLR(SimCLR):
    def project(self, views):
        calls.append(("project", len(views)))
        return super().project(views)

    def loss(self, pairs):
        calls.append(("loss", pairs.positives_SBP, pairs.clusters_2B))
        return super().loss(pairs)


class Swap(PositiveSampler):
    """Replaces the positive of even utterances by a constant row of ones."""

    reference_segments = 2

    def replace(self, positives_SBP, utterance_B, reference_RBD=None):
        calls.append(("replace", positives_SBP, reference_RBD))
        even_B = utterance_B % 2 == 0
        ones = torch.ones_like(positives_SBP)
        return torch.where(even_B[None, :, None], ones, positives_SBP), torch.where(even_B, 99, utterance_B)

    def cluster_of(self, utterance_B):
        return utterance_B + 1000

    def observe(self, positives_SBP, utterance_B, reference_RBD=None):
        calls.append(("observe", positives_SBP, utterance_B, reference_RBD))


def make():
    calls.clear()
    torch.manual_seed(0)
    method = RecordingSimCLR(Mean(), SimCLRConfig())
    step = TrainingStep(method, Swap(None, SamplerFacts(10, 0)))
    views = [torch.randn(4, 4, 6, requires_grad=True) for _ in range(2)]
    return step, views, torch.tensor([2, 5, 8, 7])


def test_the_order_is_project_replace_observe_loss():
    step, views, utterance_B = make()
    reference_RBD = torch.randn(2, 4, 3)
    _, chosen_B = step(views, utterance_B, reference_RBD)
    assert [name for name, *_ in calls] == ["project", "replace", "observe", "loss"]
    assert chosen_B.tolist() == [99, 5, 99, 7]
    (_, original, given), (_, observed, owners, references), (_, used, clusters) = calls[1:]
    torch.testing.assert_close(observed, original, rtol=0, atol=0)
    assert not observed.requires_grad, "the sampler keeps constants"
    assert given is reference_RBD
    assert torch.equal(owners, utterance_B) and torch.equal(references, reference_RBD)
    assert clusters.tolist() == [[1002, 1005, 1008, 1007], [1099, 1005, 1099, 1007]], "of anchors, of positives"
    assert (used[0, [0, 2]] == 1).all() and torch.equal(used[0, [1, 3]], original[0, [1, 3]])


def test_a_sampler_that_keeps_no_projections_is_shown_none():
    step, views, utterance_B = make()
    step.sampler.keeps_projections = False
    step(views, utterance_B, None)
    (_, observed, owners, _) = calls[2]
    assert observed is None and torch.equal(owners, utterance_B)


def test_replaced_rows_are_constants_and_the_others_carry_a_gradient():
    step, views, utterance_B = make()
    step.method.encoder.norm = nn.Identity()  # batch statistics would mix the rows
    loss, _ = step(views, utterance_B, None)
    loss.backward()
    per_row = views[1].grad.abs().sum((1, 2))
    assert per_row[[0, 2]].tolist() == [0, 0] and (per_row[[1, 3]] > 0).all()
    assert (views[0].grad.abs().sum((1, 2)) > 0).all(), "anchors always carry one"


def test_reference_embeddings_are_unit_rows_and_change_no_statistics():
    step, views, _ = make()
    step.train()
    before = {name: tensor.clone() for name, tensor in step.method.state_dict().items()}
    reference_RBD = step.embed_references(views)
    torch.testing.assert_close(reference_RBD.norm(dim=2), torch.ones(2, 4))
    assert not reference_RBD.requires_grad
    for view, reference_BD in zip(views, reference_RBD, strict=True):
        torch.testing.assert_close(reference_BD, step.method.embed_reference(view))
    assert step.embed_references([]) is None
    assert all(torch.equal(before[name], tensor) for name, tensor in step.method.state_dict().items())
    assert all(part.training for part in step.modules())
    step.method.encoder.norm.eval()
    step.embed_references(views)
    assert not step.method.encoder.norm.training and step.method.encoder.linear.training, "each part keeps its mode"


def test_positives_of_a_pass_are_those_of_evaluation_mode_and_leave_no_trace():
    step, views, _ = make()
    step.train()
    before = {name: tensor.clone() for name, tensor in step.method.state_dict().items()}
    positives_SBP = step.project_positives(views)
    assert not positives_SBP.requires_grad
    assert all(torch.equal(before[name], tensor) for name, tensor in step.method.state_dict().items())
    assert all(part.training for part in step.modules())
    alone = torch.cat([step.project_positives([view[row : row + 1] for view in views]) for row in range(4)], dim=1)
    torch.testing.assert_close(positives_SBP, alone, msg="batch statistics play no part")
    assert [name for name, *_ in calls] == ["project"] * 5, "the sampler is asked for nothing"
    step.eval()
    torch.testing.assert_close(step.method.project(views)[1], positives_SBP)


def test_the_loss_stays_in_single_precision_under_autocast():
    step, views, utterance_B = make()
    step.precision = "bf16"
    loss, _ = step(views, utterance_B, None)
    used = calls[-1][1]
    assert loss.dtype == used.dtype == torch.float32
    exact = TrainingStep(step.method, step.sampler)
    torch.testing.assert_close(loss, exact(views, utterance_B, None)[0], rtol=0.5, atol=0.5)
    assert loss != exact(views, utterance_B, None)[0], "the encoder ran in bf16"
