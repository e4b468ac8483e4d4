"""Embeddings read back from Kaldi arks, where things lie, and what a row says of its machine."""

import os
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import yaml

from sslsv_tk import artifacts, digests, records
from sslsv_tk.records import Made
from sslsv_tk.report import system


def write(folder: Path, vectors, name="xvector.ark"):
    folder.mkdir(parents=True, exist_ok=True)
    kaldiio.save_ark(f"{folder}/{name}", vectors, scp=f"{folder}/xvector.scp")
    records.write(folder, Made({}, {}), contents="00")


def draw(count=7, dimension=5):
    values = np.random.default_rng(0).standard_normal((count, dimension)).astype(np.float32)
    return {f"utterance-{number}": value for number, value in enumerate(values)}


def test_embeddings_equal_what_kaldiio_wrote(tmp_path):
    vectors = draw()
    write(tmp_path, vectors)
    keys, matrix = system.read_embeddings(tmp_path)
    assert keys.tolist() == [key.encode() for key in sorted(vectors)]
    np.testing.assert_array_equal(matrix, np.stack([vectors[key] for key in sorted(vectors)]))
    assert matrix.dtype == np.float32


def test_keys_come_sorted_whatever_the_order_of_the_arks(tmp_path):
    vectors = draw()
    write(tmp_path, dict(reversed(vectors.items())))
    keys, matrix = system.read_embeddings(tmp_path)
    assert keys.tolist() == sorted(keys.tolist())
    np.testing.assert_array_equal(matrix, np.stack([vectors[key] for key in sorted(vectors)]))


@pytest.mark.parametrize("cut", [1, 4, 19, 25])
def test_an_ark_cut_short_is_named_with_the_first_key(tmp_path, cut):
    write(tmp_path, draw())
    ark = tmp_path / "xvector.ark"
    os.truncate(ark, ark.stat().st_size - cut)
    with pytest.raises(ValueError, match=r"xvector\.ark: 1 of 7 embeddings .*first is utterance-6"):
        system.read_embeddings(tmp_path)


def test_an_empty_ark_is_named(tmp_path):
    write(tmp_path, draw())
    os.truncate(tmp_path / "xvector.ark", 0)
    with pytest.raises(ValueError, match=r"7 of 7 embeddings lie beyond the end"):
        system.read_embeddings(tmp_path)


@pytest.mark.parametrize(
    "wrong", [np.ones((2, 3), np.float32), np.ones(5, np.float64), np.ones(3, np.int32)], ids=["FM", "DV", "integers"]
)
def test_other_kinds_of_entries_are_refused(tmp_path, wrong):
    write(tmp_path, {**draw(), "utterance-3": wrong})
    with pytest.raises(ValueError, match=r"not Kaldi float vectors, the first is utterance-3"):
        system.read_embeddings(tmp_path)


def test_embeddings_of_different_sizes_are_refused(tmp_path):
    write(tmp_path, {**draw(), "utterance-4": np.ones(6, np.float32)})
    with pytest.raises(ValueError, match=r"do not have 5 values .* utterance-4"):
        system.read_embeddings(tmp_path)


def test_arks_of_different_sizes_are_refused(tmp_path):
    write(tmp_path, draw(3, 5), "1.ark")
    first = (tmp_path / "xvector.scp").read_text()
    write(tmp_path, {"zz": np.ones(6, np.float32)}, "2.ark")
    (tmp_path / "xvector.scp").write_text(first + (tmp_path / "xvector.scp").read_text())
    with pytest.raises(ValueError, match=r"2\.ark: embeddings of 6 values, others have 5"):
        system.read_embeddings(tmp_path)


def test_an_scp_that_points_nowhere_names_the_file(tmp_path):
    write(tmp_path, draw())
    (tmp_path / "xvector.ark").unlink()
    with pytest.raises(OSError, match=r"xvector\.ark"):
        system.read_embeddings(tmp_path)


def test_a_pipe_in_an_scp_is_never_run(tmp_path):
    write(tmp_path, draw())
    (tmp_path / "xvector.scp").write_text(f"utterance-0 touch {tmp_path}/trace |\n")
    with pytest.raises((ValueError, OSError)):
        system.read_embeddings(tmp_path)
    assert not (tmp_path / "trace").exists()


def test_unfinished_embeddings_are_refused(tmp_path):
    write(tmp_path, draw())
    (tmp_path / artifacts.RECORD).unlink()
    with pytest.raises(ValueError, match="no finished embeddings"):
        system.read_embeddings(tmp_path)


def test_a_configuration_that_is_no_yaml_is_named(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: [1\n")
    with pytest.raises(ValueError, match=r"config\.yaml: not YAML"):
        system.configuration(tmp_path)


@pytest.mark.parametrize(
    ("training", "seed", "arithmetic"),
    [({"seed": 3, "precision": "fp32"}, 3, "fp32"), ({"precision": "bf16", "compile": True}, 0, "bf16, compiled")],
)
def test_seed_and_arithmetic_are_those_of_the_training(tmp_path, training, seed, arithmetic):
    components = {"encoder": {"name": "fast_resnet34"}, "method": {"name": "simclr"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**components, "training": training}))
    found = system.configuration(tmp_path)
    assert found == {
        "config_fingerprint": digests.of_file(tmp_path / "config.yaml")[:16],
        "seed": seed,
        "arithmetic": arithmetic,
    }


@pytest.mark.parametrize("text", ["training: {seed: 3}", "training: 5", "- 1"])
def test_what_is_no_configuration_of_a_system_is_named(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml"):
        system.configuration(tmp_path)
