"""The options as words, and what is refused of them at once."""

import re
from dataclasses import fields

import pytest
from plan_words import RECIPE, words

from sslsv_tk.recipes.options import Mistake, Options, parse

FROM_RUN_SH = {"cores", "cmd_backend", "caller", "recipe"}


def test_the_block_of_run_sh_has_every_option_that_a_plan_reads(recipe):
    block = set(re.findall(r"^([a-z_]+)=", (RECIPE / "run.sh").read_text().partition("# End of options")[0], re.M))
    assert {field.name for field in fields(Options)} - FROM_RUN_SH <= block


def test_values_are_taken_as_they_are_and_lists_in_their_order(recipe):
    found = parse(words(musan='a b="$(c)"', stage=3, tiny="true", config=("one", "t=wo"), set=("a.b=c=d",)))
    assert (found.musan, found.stage, found.tiny, found.mini) == ('a b="$(c)"', 3, True, False)
    assert found.config == ("one", "t=wo") and found.set == ("a.b=c=d",)
    assert found.generated and found.suffix == "_tiny"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stage": 0}, "--stage 0 --stop-stage 7: expected a range within 1 to 7"),
        ({"stop_stage": 8}, "expected a range within 1 to 7"),
        ({"stage": 5, "stop_stage": 4}, "--stage 5 --stop-stage 4: expected a range"),
        ({"stage": "two"}, "--stage two: expected a whole number"),
        ({"ngpu": "-1"}, "--ngpu -1: expected a number or auto"),
        ({"num_nodes": "0"}, "--num-nodes 0: expected a number from 1"),
        ({"num_threads": "0"}, "--num-threads 0: expected a number from 1 or auto"),
        ({"tolerance": "half"}, "--tolerance half: expected a share from 0 to 1"),
        ({"tolerance": "1.5"}, "--tolerance 1.5: expected a share from 0 to 1"),
        ({"copies_seed": "x"}, "--copies-seed x: expected a number"),
        ({"corpus_seed": ""}, "--corpus-seed : expected a number"),
        ({"prefer": "wav; ls"}, "--prefer wav; ls: expected some of wav, flac, ogg"),
        ({"nj": "few"}, "--nj few: expected a number from 1 or auto"),
        ({"checkpoint": "first"}, "--checkpoint first: expected averaged, latest, best or the number of an epoch"),
        ({"channel": "left"}, "--channel left: expected mix or a number from 1"),
        ({"train_part": "train"}, "--train-part train: expected dev, test or all"),
        ({"feats_type": "mfcc"}, "--feats-type mfcc: expected raw or fbank"),
        ({"features": "some"}, "--features some: expected auto, keep or compute"),
        ({"compress": "zip"}, "--compress zip: expected none or cm2"),
        ({"tag": "a/b"}, "--tag a/b: expected letters, digits and dots"),
        ({"mini": "true", "tiny": "true"}, "choose one"),
    ],
)
def test_what_no_option_may_be(recipe, given, message):
    with pytest.raises(Mistake, match=re.escape(message)):
        parse(words(**given))


def test_words_that_are_no_options(recipe):
    with pytest.raises(Mistake, match="stray: expected NAME=VALUE"):
        parse([*words(), "stray"])
    with pytest.raises(Mistake, match=r"needs all options of run.sh, and seed is not given"):
        parse([word for word in words() if not word.startswith("seed=")])
