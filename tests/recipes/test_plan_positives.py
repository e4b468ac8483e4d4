"""Names, aliases, paths and written settings of --positives."""

import re
from pathlib import Path

import pytest

from sslsv_tk.recipes import positives
from sslsv_tk.recipes.options import Mistake
from sslsv_tk.recipes.positives import Choice

KMEANS = Path("conf/positives/ssps_kmeans.yaml")


def test_names_aliases_settings_and_paths(places, recipe):
    Path("mine.yaml").write_text("positives: {name: same_utterance}\n")
    words = ["same_utterance", "ssps_25k_1", "ssps_kmeans:clusters=240,neighbours=1", "mine.yaml", "mine.yaml:a=b"]
    assert positives.find(words, places) == [
        Choice("same_utterance", Path("conf/positives/same_utterance.yaml")),
        Choice("ssps_25k_1", KMEANS, ("positives.clusters=25000", "positives.neighbours=1")),
        Choice("ssps_kmeans_240_1", KMEANS, ("positives.clusters=240", "positives.neighbours=1")),
        Choice("mine", Path("mine.yaml")),
        Choice("mine_b", Path("mine.yaml"), ("positives.a=b",)),
    ]


def test_a_sampler_of_a_plugin_folder_has_its_file_beside_it(places, tmp_path, monkeypatch):
    lab = tmp_path / "lab"
    (lab / "positives").mkdir(parents=True)
    (lab / "positives" / "mine.yaml").write_text("positives: {name: mine}\n")
    monkeypatch.setenv("SSLSV_PLUGINS", str(lab))
    assert positives.find(["mine", "mine:clusters=3"], places) == [
        Choice("mine", lab / "positives" / "mine.yaml"),
        Choice("mine_3", lab / "positives" / "mine.yaml", ("positives.clusters=3",)),
    ]
    with pytest.raises(Mistake, match=re.escape(f"no conf/positives/other.yaml or {lab}/positives/other.yaml here")):
        positives.find(["other"], places)


def test_every_alias_stands_for_a_sampler_that_is_there(places):
    from sslsv_tk import config

    for name in config.read(positives.ALIASES):
        (choice,) = positives.find([name], places)
        assert choice.name == name and choice.settings and choice.file.is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["ssps_25k_3"],
            "--positives ssps_25k_3: there is no conf/positives/ssps_25k_3.yaml here, nor such a name in conf/",
        ),
        (["ssps_kmean"], "Did you mean ssps_kmeans?"),
        (
            ["ssps_25k_1+as_writen"],
            "a variant is one of systems: write --system SYSTEM+VARIANT. Did you mean as_written?",
        ),
        (["ssps_25k_1+masked"], "a variant is one of systems: write --system SYSTEM+masked."),
        (["ssps_kmean:clusters=3"], "Did you mean ssps_kmeans?"),
        (["ssps_kmeans:clusters"], "expected SAMPLER:NAME=VALUE,NAME=VALUE; found 'clusters'"),
        (["ssps_kmeans:"], "found ''"),
        (["ssps_kmeans:clusters=$(touch)"], "found 'clusters=$(touch)'"),
        (["nowhere.yaml"], "there is no file nowhere.yaml"),
        (["ssps_live", "ssps_live"], "two of ssps_live ssps_live would be trained into the folder SYSTEM_ssps_live"),
        (["ssps_kmeans:clusters=2", "ssps_kmeans:neighbours=2"], "into the folder SYSTEM_ssps_kmeans_2"),
    ],
)
def test_what_cannot_be_meant(places, words, message):
    with pytest.raises(Mistake, match=re.escape(message)):
        positives.find(words, places)
