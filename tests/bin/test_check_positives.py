"""Mistakes of stage 5 are told before stage 4."""

import logging
import shutil

import pytest
import yaml

from sslsv_tk.bin import check_positives


@pytest.fixture
def check(inputs, tmp_path):
    """check(settings of positives ..., method=...): as run.sh calls it."""

    def run(*positives, train_set=inputs / "train", method=None):
        files = []
        for number, settings in enumerate(positives):
            files.append(tmp_path / f"{number}.yaml")
            files[-1].write_text(yaml.safe_dump({"positives": settings}))
        (tmp_path / "method.yaml").write_text(yaml.safe_dump({"method": method or {}}))
        configs = [str(inputs / "system.yaml"), str(tmp_path / "method.yaml")]
        check_positives.main(["--config", *configs, "--train-set", str(train_set), "--positives", *map(str, files)])

    return run


def test_what_can_be_made_passes_without_a_word(check, caplog, capsys):
    with caplog.at_level(logging.INFO):
        check({"name": "ssps_kmeans", "clusters": 18}, {"name": "same_speaker"}, {"name": "ssps_live_recordings"})
    assert not caplog.messages and not capsys.readouterr().out


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"name": "ssps_kmeans", "clusters": 25_000}, r"25000 clusters need at least as many utterances, found 18"),
        ({"name": "ssps_knn"}, r"nearest: a queue of 18 utterances .*found 50\. Set fewer"),
        ({"name": "ssps_live_knn", "nearest": 18}, r"18 utterances have 17 others, found 18"),
        ({"name": "ssps_kmeans", "clusters": 2, "neighbor": 1}, r"neighbor"),
        ({"name": "nothing"}, r"nothing"),
    ],
)
def test_the_first_that_cannot_is_named_with_its_file(check, settings, message):
    with pytest.raises(ValueError, match=rf"1\.yaml: .*{message}"):
        check({"name": "ssps_live", "clusters": 4}, settings)


def test_tables_that_are_missing_are_noticed(check, inputs, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(inputs / "train", bare)
    (bare / "utt2spk").unlink()
    (bare / "utt2rec").unlink()
    check({"name": "ssps_live", "clusters": 4}, train_set=bare)
    for name, message in [("same_speaker", "need true speakers"), ("ssps_live_recordings", "no utt2rec")]:
        with pytest.raises(ValueError, match=message):
            check({"name": name}, train_set=bare)


def test_a_setting_of_the_method_that_needs_clusters_is_said_to_do_nothing_without(check, caplog):
    masked = {"mask_same_cluster": True}
    check({"name": "ssps_live", "clusters": 4}, {"name": "same_utterance"}, method=masked)
    assert not caplog.messages
    check({"name": "ssps_live_knn"}, method=masked)
    assert caplog.messages == ["method.mask_same_cluster does nothing: the positives ssps_live_knn have no clusters"]
