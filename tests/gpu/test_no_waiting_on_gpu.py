"""On a machine with a GPU: torch itself finds nothing in a step that waits for it."""

import contextlib
from collections.abc import Iterator

import few_steps
import pytest
import torch
from small_corpus import POSITIVES
from small_settings import METHODS, WITH_POSITIVES

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
CASES = [(method, None) for method in METHODS]
CASES += [("simclr", positives) for positives in POSITIVES]
CASES += [(method, "ssps_kmeans") for method in WITH_POSITIVES if method != "simclr"]


@contextlib.contextmanager
def waiting_is_an_error() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(("method", "positives"), CASES)
def test_no_step_waits_for_the_gpu(inputs, tmp_path, method, positives):
    few_steps.run(few_steps.Few(inputs, tmp_path, method, positives), torch.device("cuda"), waiting_is_an_error())
