"""Which device a command computes on."""

import pytest
import torch

from sslsv_tk import devices


@pytest.mark.parametrize(
    ("gpu", "name", "kind"), [(True, "auto", "cuda"), (False, "auto", "cpu"), (True, "cpu", "cpu")]
)
def test_auto_takes_the_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, name: str, kind: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert devices.choose(name) == torch.device(kind)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"--device cuda: no GPU is visible here\. Use --device cpu"):
        devices.choose("cuda")
