"""Vectors of arks against what kaldiio reads."""

import kaldiio
import numpy as np
import pytest

from sslsv_tk.arks.vectors import vector_blocks


def written(folder, counts=(5, 3), width=4):
    """Arks of vectors, whose keys differ in length, and one table over all of them."""
    generator, lines, rows = np.random.default_rng(0), [], []
    for number, count in enumerate(counts):
        vectors = {f"k{number}{'x' * row}": generator.standard_normal(width).astype(np.float32) for row in range(count)}
        kaldiio.save_ark(str(folder / f"{number}.ark"), vectors, scp=str(folder / f"{number}.scp"))
        lines += (folder / f"{number}.scp").read_text().splitlines()
        rows += vectors.values()
    (folder / "xvector.scp").write_text("\n".join(lines) + "\n")
    return folder / "xvector.scp", np.stack(rows)


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_blocks_are_all_vectors_in_the_order_of_the_table(tmp_path, rows):
    scp, wanted = written(tmp_path)
    blocks = list(vector_blocks(scp, rows))
    assert max(map(len, blocks)) <= rows
    np.testing.assert_array_equal(np.concatenate(blocks), wanted)


def test_a_cut_ark_is_refused_and_the_first_lost_vector_named(tmp_path):
    scp, _ = written(tmp_path)
    ark = tmp_path / "1.ark"
    ark.write_bytes(ark.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"1\.ark: 1 of 3 embeddings are cut short, the first is k1xx"):
        list(vector_blocks(scp))
