"""Every method goes on with every choice of positives: neither knows the other."""

import json
import math

import pytest
from small_settings import WITH_POSITIVES, method_words
from train_options import options

from sslsv_tk.bin import train

COVERED = {  # at least so many positives are others
    "ssps_kmeans": 0.5,
    "ssps_live": 0.5,
    "ssps_knn": 1.0,
    "ssps_live_knn": 0.5,
    "ssps_live_recordings": 0.1,  # only the nearest that agree, which an encoder of one epoch has few of
    "same_speaker": 1.0,
    "same_speaker_queue": 1.0,
}


def settings(method: str) -> list[str]:
    """The words after --set: an epoch of each stage, in bf16 so that dtypes meet as on a GPU."""
    training = ["training.epochs=1", "training.continued_epochs=1", "training.span_epochs=4", "training.precision=bf16"]
    return [*method_words(method), *training]


@pytest.fixture(scope="module", params=WITH_POSITIVES)
def base(request, inputs, tmp_path_factory):
    """The method and its system after stage 4."""
    system = tmp_path_factory.mktemp(request.param) / "ssl"
    train.main(options(inputs, system, *settings(request.param)))
    return request.param, system


@pytest.mark.parametrize("positives", COVERED)
def test_stage_5(base, inputs, tmp_path, positives):
    method, ssl = base
    system = tmp_path / positives
    train.main(options(inputs, system, *settings(method), positives=positives, base=ssl))
    lines = map(json.loads, (system / "metrics.jsonl").read_text().splitlines())
    epoch = next(line for line in lines if line["kind"] == "epoch")
    assert epoch["epoch"] == 2 and epoch["coverage"] >= COVERED[positives]
    assert all(math.isfinite(value) for value in epoch.values() if isinstance(value, float))
