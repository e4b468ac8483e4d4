"""Where a system keeps what it makes."""

from pathlib import Path

from sslsv_tk import layout


def test_only_the_averaged_checkpoint_takes_no_suffix():
    assert layout.embeddings_folder("exp/a", "dump/raw/test", "averaged") == Path("exp/a/embeddings/test")
    assert layout.embeddings_folder("exp/a", "dump/raw/test/", "latest") == Path("exp/a/embeddings/test_latest")
    assert layout.score_file("exp/a", "data/test/trials_O.clean", "averaged") == Path("exp/a/scores/O.clean.score")
    assert layout.score_file("exp/a", "data/trials.txt", "12") == Path("exp/a/scores/trials_12.score")
