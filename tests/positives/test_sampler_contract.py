"""What every sampler of the registry promises, in every mode that its settings allow."""

import copy
import dataclasses
import functools

import pytest
import torch
from all_samplers import (
    KINDS,
    NAMES,
    UTTERANCES,
    batches,
    begin,
    kind_of,
    made,
    partners,
    projections,
    read_back,
    references_of_step,
    show_everyone,
    step,
    told,
)

from sslsv_tk import config
from sslsv_tk.positives.base import PositiveSampler

EVERYONE = torch.arange(UTTERANCES)
OF_THE_PACKAGE = [name for name in NAMES if kind_of(name).__module__ == f"sslsv_tk.positives.{name}"]
REPLACING = [kind for kind in KINDS if kind != "same_utterance"]
IN_STEPS = [kind for kind in KINDS if made(kind).reference_segments and made(kind).reference_in_steps]
FILLED_BY_AN_EPOCH = [kind for kind, (_, settings) in KINDS.items() if settings.get("filling") == "epoch"]


def in_the_third_epoch(kind: str) -> PositiveSampler:
    """A sampler that was shown two epochs, at the beginning of the next."""
    return copy.deepcopy(_in_the_third_epoch(kind))


@functools.cache
def _in_the_third_epoch(kind: str) -> PositiveSampler:
    sampler = made(kind)
    for epoch in range(2):
        begin(sampler, epoch)
        for utterance_B in batches(epoch):
            step(sampler, utterance_B, epoch)
    begin(sampler, 2)
    return sampler


def assert_same(mine: dict, theirs: dict) -> None:
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(theirs[name])), name


def state_of(sampler: PositiveSampler) -> dict:
    """Everything that is saved but the name, which is no number."""
    state = sampler.state_dict()
    assert state.pop("positives") == sampler.name
    return state


def choices(sampler: PositiveSampler) -> dict:
    """Those of an epoch that can be asked for at once."""
    found = {"partners": partners(sampler), "clusters": sampler.cluster_of(EVERYONE)}
    return {name: value for name, value in found.items() if value is not None}


# -- what it is ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_its_file_holds_one_sampler_with_settings_and_one_with_all_defaults_can_be_made(name):
    cls = kind_of(name)
    assert cls.__bases__ == (PositiveSampler,), "put together from parts, not from other samplers"
    assert config.build(cls.Config, {}) == cls.Config()
    assert made(name).name == name


@pytest.mark.parametrize("name", OF_THE_PACKAGE)
def test_the_recipe_has_a_file_of_its_name_with_settings_it_knows(name, request):
    file = request.config.rootpath / "egs" / "voxceleb" / "conf" / "positives" / f"{name}.yaml"
    settings = dict(config.read(file)["positives"])
    assert settings.pop("name") == name
    config.build(kind_of(name).Config, settings)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_set_without_the_tables_it_needs_is_refused_with_a_remedy(name):
    cls, lacking = kind_of(name), dataclasses.replace(told(name), speakers=None, recordings=None)
    if cls.needs_labels:
        with pytest.raises(ValueError, match=rf"{name} need true speakers.*utt2spk with labels"):
            cls(made(name).config, lacking)
    if cls.needs_recordings:
        with pytest.raises(ValueError, match=rf"{name} must know .* of one recording, .* no utt2rec\. Give"):
            cls(made(name).config, lacking)
    assert (told(name).speakers is not None) == cls.needs_labels, "nobody else is told true speakers"


# -- what it chooses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_rows_kept_are_untouched_with_their_gradient_and_replaced_rows_are_constants(kind):
    sampler = in_the_third_epoch(kind)
    positives = (projections(sampler, EVERYONE, 2) + 0.25).requires_grad_()
    replaced, chosen = sampler.replace(positives, EVERYONE, references_of_step(sampler, EVERYONE, 2))
    assert chosen.dtype == torch.int64 and ((chosen >= 0) & (chosen < UTTERANCES)).all()
    if sampler.partners() is not None:
        assert replaced is positives, "the loader cut them from the partners' audio"
        assert chosen.tolist() == partners(sampler)
        return
    is_replaced = chosen != EVERYONE
    assert torch.equal(replaced[:, ~is_replaced], positives[:, ~is_replaced])
    if is_replaced.any():
        assert (replaced[:, is_replaced] != positives[:, is_replaced]).any(-1).all(), "named, so another's"
    replaced.sum().backward()
    assert torch.equal(positives.grad, (~is_replaced).float()[None, :, None].expand_as(positives))


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_taken_from_a_queue_is_what_was_seen_of_the_utterance_named_in_all_slots(kind):
    sampler = in_the_third_epoch(kind)
    if not sampler.keeps_projections or sampler.partners() is not None:
        return
    replaced, chosen = sampler.replace(
        projections(sampler, EVERYONE, 2), EVERYONE, references_of_step(sampler, EVERYONE, 2)
    )
    epochs = 10 * (replaced - 100 * torch.arange(sampler.facts.slots)[:, None, None] - chosen[None, :, None])
    torch.testing.assert_close(epochs, epochs.round(), atol=1e-3, rtol=0)
    assert ((epochs.round() == epochs[:1, :, :1].round()).all()) and ((epochs > -0.1) & (epochs < 2.1)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_choice_depends_on_the_utterance_and_not_on_its_batch(kind):
    sampler = in_the_third_epoch(kind)
    rows, wanted = projections(sampler, EVERYONE, 2), references_of_step(sampler, EVERYONE, 2)
    together = sampler.replace(rows, EVERYONE, wanted)
    for part in batches(9):
        alone = sampler.replace(rows[:, part], part, None if wanted is None else wanted[:, part])
        assert torch.equal(alone[0], together[0][:, part]) and torch.equal(alone[1], together[1][part])


@pytest.mark.parametrize("kind", REPLACING)
def test_most_positives_are_those_of_others(kind):
    """So that what the other tests compare is no trivial case."""
    sampler, share = in_the_third_epoch(kind), []
    for epoch in (2, 3):
        if epoch == 3:
            begin(sampler, 3)
        share += [(step(sampler, part, epoch)["chosen"] != part).double().mean() for part in batches(epoch)]
    assert torch.stack(share).mean() > 0.2


@pytest.mark.parametrize("kind", FILLED_BY_AN_EPOCH)
def test_the_epoch_that_fills_it_keeps_all_positives(kind):
    sampler = made(kind)
    begin(sampler, 0)
    assert all(torch.equal(step(sampler, part, 0)["chosen"], part) for part in batches(0))


@pytest.mark.parametrize("kind", KINDS)
def test_clusters_are_numbers_of_every_utterance_or_there_are_none(kind):
    sampler = in_the_third_epoch(kind)
    cluster = sampler.cluster_of(EVERYONE)
    assert sampler.has_clusters == (cluster is not None)
    if cluster is not None:
        assert cluster.dtype == torch.int64 and cluster.shape == EVERYONE.shape and (cluster >= -1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_measures_are_detached_numbers(kind):
    sampler = in_the_third_epoch(kind)
    step(sampler, batches(2)[0], 2)
    assert all(number.ndim == 0 and not number.requires_grad for number in sampler.measures().values())


# -- what it asks for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_is_asked_for_until_it_has_ended_and_never_for_an_epoch_that_was_started(kind):
    sampler, asked = made(kind), []
    for epoch in range(3):
        asked.append(sampler.pass_before(epoch))
        for number in range(len(batches(0))):
            show_everyone(sampler, epoch, number, number + 1)
            sampler = read_back(sampler)
            assert sampler.pass_before(epoch) == asked[-1]
        sampler.end_pass(epoch) if asked[-1] != "nothing" else None
        assert sampler.pass_before(epoch) == "nothing" == read_back(sampler).pass_before(epoch)
        sampler.start_epoch(epoch)
        for utterance_B in batches(epoch):
            step(sampler, utterance_B, epoch)
            assert read_back(sampler).pass_before(epoch) == "nothing"
    assert asked[0] != "everything" or sampler.keeps_projections
    in_passes = sampler.reference_segments and not sampler.reference_in_steps
    assert asked[1:] == ["references" if in_passes else "nothing"] * 2


@pytest.mark.parametrize("kind", IN_STEPS)
def test_a_step_without_the_references_it_wants_is_refused(kind):
    sampler = in_the_third_epoch(kind)
    with pytest.raises(ValueError, match="need the embeddings of reference segments with every batch"):
        sampler.observe(projections(sampler, EVERYONE, 2), EVERYONE)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_replaced_before_the_first_epoch(kind):
    sampler = made(kind)
    show_everyone(sampler, 0)
    positives = projections(sampler, EVERYONE, 0)
    try:
        replaced, chosen = sampler.replace(positives, EVERYONE, references_of_step(sampler, EVERYONE, 0))
    except ValueError as error:
        assert "start_epoch comes before replace" in str(error)
    else:
        assert replaced is positives and torch.equal(chosen, EVERYONE)


# -- what it keeps -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 3], ids=["before its steps", "in the middle"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_state_saved_in_an_epoch_gives_the_same_choices_ever_after(kind, first):
    sampler = in_the_third_epoch(kind)
    for part in batches(2)[:first]:
        step(sampler, part, 2)
    other = read_back(sampler)
    assert_same(choices(sampler), choices(other))
    for part in batches(2)[first:]:
        assert_same(step(sampler, part, 2), step(other, part, 2))
    assert begin(sampler, 3) == begin(other, 3)
    for part in batches(3):
        assert_same(step(sampler, part, 3), step(other, part, 3))
    assert_same(state_of(sampler), state_of(other))


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_saved_in_the_pass_that_fills_it_gives_the_same_choices_ever_after(kind):
    sampler = made(kind)
    show_everyone(sampler, 0, 0, 4)
    other = read_back(sampler)
    for one in (sampler, other):
        show_everyone(one, 0, 4)
    assert sampler.start_epoch(0) == other.start_epoch(0)
    assert_same(choices(sampler), choices(other))
    for part in batches(0):
        assert_same(step(sampler, part, 0), step(other, part, 0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_of_other_positives_or_of_another_training_set_is_refused_and_changes_nothing(kind):
    sampler = in_the_third_epoch(kind)
    before = copy.deepcopy(state_of(sampler))
    others = {other: made(other).state_dict() for other in NAMES if other != KINDS[kind][0]}
    for name, state in {**others, "no positives": {}}.items():
        with pytest.raises(ValueError, match=rf"state of the positives {sampler.name} .*that of {name} .*Resume with"):
            sampler.load_state_dict(state)
    if len(before) > 3:  # more than where it stands
        with pytest.raises(ValueError, match="another training set or other settings"):
            sampler.load_state_dict(made(kind, utterances=UTTERANCES + 10).state_dict())
    assert_same(state_of(sampler), before)
