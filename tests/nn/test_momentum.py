"""Teachers that follow: closed forms, and what they leave alone."""

import pytest
import torch
from torch import nn

from sslsv_tk.nn.momentum import follow, frozen_copy


@pytest.fixture
def student() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_a_copy_is_equal_frozen_and_a_thing_of_its_own(student):
    teacher = frozen_copy(student)
    for ours, theirs in zip(teacher.state_dict().values(), student.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in student.parameters())
    with torch.no_grad():
        student[0].weight.add_(1)
    assert not torch.equal(teacher[0].weight, student[0].weight)


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.999])
def test_n_steps_towards_a_student_that_stands_still_leave_momentum_to_the_n(student, momentum):
    teacher = frozen_copy(student).double()
    student = student.double()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    begin = [p.clone() for p in teacher.parameters()]
    for _ in range(7):
        follow(teacher, student, momentum)
    for ours, first, theirs in zip(teacher.parameters(), begin, student.parameters(), strict=True):
        assert torch.allclose(ours, theirs + momentum**7 * (first - theirs), atol=1e-12)


def test_a_student_that_has_not_moved_is_followed_without_a_change_of_bits(student):
    teacher = frozen_copy(student)
    follow(teacher, student, 0.999)
    assert all(torch.equal(p, q) for p, q in zip(teacher.parameters(), student.parameters(), strict=True))


@pytest.mark.parametrize("buffers", [False, True])
def test_batch_statistics_follow_only_when_asked(student, buffers):
    teacher = frozen_copy(student)
    student(torch.randn(16, 3))
    before = student[1].running_mean.clone()
    follow(teacher, student, 0.75, buffers=buffers)
    expected = 0.25 * before if buffers else torch.zeros(4)
    assert torch.allclose(teacher[1].running_mean, expected)
    assert teacher[1].num_batches_tracked == 0
    assert torch.equal(student[1].running_mean, before)


def test_the_student_gets_no_gradient_and_does_not_change(student):
    teacher, before = frozen_copy(student), [p.clone() for p in student.parameters()]
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.zero_()
    follow(teacher, student, 0.5)
    assert all(torch.equal(p, q) and p.grad is None for p, q in zip(student.parameters(), before, strict=True))
    assert not any(p.requires_grad or p.grad_fn is not None for p in teacher.parameters())


def test_another_network_is_refused(student):
    with pytest.raises(ValueError, match="zip"):
        follow(frozen_copy(student), nn.Sequential(student, nn.Linear(4, 4)), 0.5)
