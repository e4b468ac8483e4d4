"""Partners: whose audio serves whom."""

import torch

from sslsv_tk.sampling.facts import SamplerFacts
from sslsv_tk.sampling.partners import Partners


def test_everyone_is_the_own_partner_until_others_are_taken():
    partners = Partners(SamplerFacts(5))
    assert partners.numbers().tolist() == [0, 1, 2, 3, 4]
    partners.take(torch.tensor([3, -1, 0, -1, 2]))
    assert partners.numbers().tolist() == [3, 1, 0, 3, 2]
    assert partners.of(torch.tensor([4, 0])).tolist() == [2, 3]


def test_partners_among_some_are_given_by_their_places_and_the_others_keep_themselves():
    partners = Partners(SamplerFacts(6))
    partners.take(torch.tensor([1, 2, 3, 4, 5, 0]))
    partners.take_among(torch.tensor([1, 3, 4]), torch.tensor([2, -1, 0]))
    assert partners.numbers().tolist() == [0, 4, 2, 3, 1, 5]
    partners.forget()
    assert partners.numbers().tolist() == list(range(6))


def test_what_the_loader_took_does_not_change_with_the_next_epoch():
    partners = Partners(SamplerFacts(3))
    taken = partners.numbers()
    partners.take_among(torch.arange(3), torch.tensor([1, 2, 0]))
    other = Partners(SamplerFacts(3))
    other.load_state_dict(partners.state_dict())
    assert taken.tolist() == [0, 1, 2] and other.numbers().tolist() == [1, 2, 0]
