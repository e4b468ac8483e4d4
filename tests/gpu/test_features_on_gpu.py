"""On a machine with a GPU: features of stage 3 are those of the CPU, to 1e-4 of the largest magnitude (no TF32)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_features import prepare_small

from sslsv_tk.corpora import copies
from sslsv_tk.frontend.settings import LogMelConfig
from sslsv_tk.packing.feature_folder import FeatureSource
from sslsv_tk.packing.log_mel import FeatureMaker

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")


@pytest.mark.parametrize("kind", [None, *copies.KINDS])
def test_features_of_the_clean_set_and_of_copies(tmp_path: Path, kind: str | None) -> None:
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    prepare_small(tmp_path)
    copy = None if kind is None else tmp_path / "data" / f"train_{kind}"
    source = FeatureSource(tmp_path / "raw" / "train", copy, tmp_path / "raw")
    try:
        made = [list(FeatureMaker(source, LogMelConfig(), torch.device(name)).block(0)) for name in ("cpu", "cuda")]
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
    assert len(made[0]) == len(made[1]) == 18
    for on_cpu, on_gpu in zip(*made, strict=True):
        assert np.abs(on_cpu - on_gpu).max() <= 1e-4 * np.abs(on_cpu).max()
