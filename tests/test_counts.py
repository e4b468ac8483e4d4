"""Counts that are a number or a share of N, and what fits a small corpus."""

from pathlib import Path

import pytest

from sslsv_tk import config
from sslsv_tk.counts import count_of, fitting_batch, fitting_clusters, share_of

ALIASES = Path(__file__).resolve().parents[1] / "egs" / "voxceleb" / "conf" / "aliases.yaml"


@pytest.mark.parametrize(
    ("count", "utterances", "expected"),
    [
        (240, 7, 240),
        (25_000.0, 7, 25_000),
        ("N", 1440, 1440),
        ("N/6", 1440, 240),
        ("N/3.59", 1435, 400),
        ("0.981N", 1435, 1408),
        ("0.5 N/2", 100, 25),
        (0.02, 1440, 29),
        ("N/6", 2, 1),
    ],
)
def test_a_count_of_a_corpus(count, utterances, expected):
    assert count_of("clusters", count, utterances) == expected


@pytest.mark.parametrize("count", [0, -3, 1.5, "2N", "N/0", "N/0.5", "n", "N*N", "6/N", "", "N/6/2", "12", "-N", "0N"])
def test_what_is_no_count(count):
    with pytest.raises(ValueError, match=r"queue_size: expected a whole number, or a share of the utterances: N, N/6"):
        share_of("queue_size", count)


@pytest.mark.parametrize(
    ("alias", "utterances", "clusters", "queue"),
    [
        ("ssps_mini", 1440, 240, 1440),
        ("ssps_mini_permuted", 1440, 240, 1440),
        ("ssps_live_mini", 1440, 240, None),
        ("ssps_knn_mini", 1440, None, 1440),
        ("ssps_testbed", 1435, 400, 1408),
        ("ssps_knn_testbed", 1435, None, 1408),
        ("ssps_live_testbed", 1435, 400, None),
        ("ssps_tiny", 48, 6, 32),
        ("ssps_25k_1", 1_092_009, 25_000, None),
    ],
)
def test_the_numbers_of_the_corpora_that_were_measured(alias, utterances, clusters, queue):
    words = dict(word.split("=") for word in config.read(ALIASES)[alias].partition(":")[2].split(","))
    for name, expected in (("clusters", clusters), ("queue_size", queue)):
        found = config.merged(overrides=[f"{name}={words[name]}"])[name] if name in words else None
        assert (None if found is None else count_of(name, found, utterances)) == expected


@pytest.mark.parametrize(
    ("utterances", "batch", "clusters"),
    [(1, 2, 2), (18, 2, 3), (100, 4, 17), (1440, 64, 240), (4096, 256, 683), (1_092_009, 65_536, 182_002)],
)
def test_what_fits_a_corpus(utterances, batch, clusters):
    assert (fitting_batch(utterances), fitting_clusters(utterances)) == (batch, clusters)
