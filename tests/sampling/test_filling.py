"""Which pass is asked for before which epoch: one state machine for every sampler."""

import pytest

from sslsv_tk.sampling.filling import Filling


def asked(filling: Filling, epochs: range) -> list[str]:
    """What is wanted before each epoch, where every pass is made and every epoch follows."""
    found = []
    for epoch in epochs:
        found.append(filling.pass_before(epoch))
        if found[-1] != "nothing":
            filling.end_pass(epoch)
        assert filling.pass_before(epoch) == "nothing"
        filling.start(epoch)
        assert filling.pass_before(epoch) == "nothing"
    return found


@pytest.mark.parametrize(
    "settings, expected",
    [
        ((), ["nothing"] * 3),
        (("everything",), ["everything", "nothing", "nothing"]),
        (("everything", "epoch"), ["nothing"] * 3),
        (("everything", "pass", "epochs"), ["everything", "references", "references"]),
        (("everything", "epoch", "epochs"), ["nothing", "references", "references"]),
        (("references",), ["references", "nothing", "nothing"]),
        (("references", "pass", "epochs"), ["references"] * 3),
    ],
)
def test_what_is_asked_before_each_of_three_epochs(settings, expected):
    assert asked(Filling(*settings), range(3, 6)) == expected


@pytest.mark.parametrize("refresh", ["steps", "epochs"])
def test_a_pass_that_has_not_ended_is_asked_for_again_after_a_restart(refresh):
    filling = Filling("everything", "pass", refresh)
    for epoch in range(3):
        other = Filling("everything", "pass", refresh)
        other.load_state_dict(filling.state_dict())
        wanted = filling.pass_before(epoch)
        assert other.pass_before(epoch) == wanted == filling.pass_before(epoch)
        if wanted != "nothing":
            other.end_pass(epoch)
        filling = Filling("everything", "pass", refresh)
        filling.load_state_dict(other.state_dict())
        assert filling.pass_before(epoch) == "nothing"
        filling.start(epoch)


def test_it_is_filled_by_a_pass_or_by_an_epoch_that_another_one_follows():
    by_pass, by_epoch = Filling("everything"), Filling("everything", "epoch")
    assert not by_pass.is_filled and not by_epoch.is_filled
    by_pass.end_pass(5)
    assert by_pass.is_filled
    for _ in range(2):
        by_epoch.start(5)  # the second time after a restart from before its first step
        assert not by_epoch.is_filled
    by_epoch.start(6)
    assert by_epoch.is_filled


def test_before_the_first_epoch_nothing_is_replaced():
    filling = Filling("everything")
    with pytest.raises(ValueError, match="start_epoch comes before replace"):
        filling.check_started()
    filling.start(0)
    filling.check_started()
