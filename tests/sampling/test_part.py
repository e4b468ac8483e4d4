"""States of parts: what is saved, what is refused, and that a refused state changes nothing."""

import pytest
import torch

from sslsv_tk.distributed.shards import ShardNames
from sslsv_tk.sampling.part import Part, load_state, parts_of, shard_names, state_of


class Counter(Part):
    saved = ("total_N", "count", "is_full")
    shards = ShardNames(sharded=("total_N",))

    def __init__(self, size: int = 3, dtype: torch.dtype = torch.float32) -> None:
        self.total_N = torch.zeros(size, dtype=dtype)
        self.count = 0
        self.is_full = False
        self.other = 7


class Owner:
    def __init__(self, size: int = 3) -> None:
        self.left, self.right = Counter(), Counter(size)
        self.nothing: Part | None = None
        self.number = 3


def counted() -> Counter:
    counter = Counter()
    counter.total_N += torch.tensor([1.0, 2.0, 4.0])
    counter.count, counter.is_full = 7, True
    return counter


def test_a_part_goes_on_with_a_copy_of_the_state_of_another():
    counter, other = counted(), Counter()
    other.load_state_dict(counter.state_dict())
    counter.total_N.zero_()
    assert other.total_N.tolist() == [1, 2, 4] and (other.count, other.is_full) == (7, True)
    assert "other" not in other.state_dict()


@pytest.mark.parametrize("fresh", [Counter(4), Counter(3, torch.float16)])
def test_a_state_of_another_shape_or_type_is_refused(fresh):
    with pytest.raises(ValueError, match=r"saved total_N is .*another training set or other settings\. Resume"):
        fresh.load_state_dict(counted().state_dict())
    assert fresh.count == 0 and fresh.total_N.abs().sum() == 0


def test_all_parts_of_an_owner_are_saved_under_their_names():
    owner, other = Owner(), Owner()
    owner.right = counted()
    assert list(parts_of(owner)) == ["left", "right"]
    assert shard_names(parts_of(owner)) == ShardNames(sharded=("left.total_N", "right.total_N"))
    load_state(parts_of(other), state_of(parts_of(owner)))
    assert other.right.total_N.tolist() == [1, 2, 4] and other.left.count == 0 and other.right.count == 7


def test_where_one_part_does_not_fit_none_is_changed():
    owner, other = Owner(4), Owner()
    owner.left = counted()
    with pytest.raises(ValueError, match="another training set"):
        load_state(parts_of(other), state_of(parts_of(owner)))
    assert other.left.count == 0 and other.left.total_N.abs().sum() == 0
