"""Models that no machine could hold are refused before anything is allocated."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from sslsv_tk import config
from sslsv_tk.systems import assembly, size
from sslsv_tk.systems.configuration import SystemConfig

CONF = Path(__file__).resolve().parents[2] / "egs/voxceleb/conf/systems"


def system(name: str, *settings: str) -> SystemConfig:
    return dataclasses.replace(config.load(SystemConfig, CONF / f"{name}.yaml", overrides=settings), classes=100)


@pytest.mark.parametrize(
    "name", ["simclr_fast_resnet34", "moco_fast_resnet34", "swav_fast_resnet34", "byol_fast_resnet34"]
)
def test_the_count_is_that_of_the_model(name: str) -> None:
    method = assembly.build_method(system(name))
    numbers = sum(tensor.numel() for tensor in (*method.parameters(), *method.buffers()))
    assert size.count(lambda: assembly._build_method(system(name))) == numbers


@pytest.mark.parametrize("dimension", [99_999_999, 9_999_999_999_999_999])
def test_a_model_that_cannot_fit_is_refused_and_its_largest_setting_named(dimension: int) -> None:
    with pytest.raises(ValueError, match=r"^The model would have .* weights, .* GB, and this machine has") as caught:
        assembly.build_method(system("simclr_ecapa", f"encoder.dimension={dimension}"))
    assert str(caught.value).endswith(f" The largest setting is encoder.dimension = {dimension}.")


def test_the_weights_are_those_of_the_seed_whether_counted_or_not() -> None:
    wanted = system("simclr_fast_resnet34")
    torch.manual_seed(wanted.training.seed)
    plain = assembly._build_method(wanted).state_dict()
    found = assembly.build_method(wanted).state_dict()
    assert all(torch.equal(found[name], plain[name]) for name in plain)


def test_a_model_that_looks_at_values_while_it_is_built_is_not_counted() -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3) * float(torch.ones(1).item()))

    assert size.count(Looks) is None
    size.refuse_too_large(Looks, {})


def test_counting_loads_nothing_that_takes_seconds() -> None:
    program = (
        "import sys, dataclasses; from pathlib import Path; from sslsv_tk import config\n"
        "from sslsv_tk.systems import assembly, size; from sslsv_tk.systems.configuration import SystemConfig\n"
        "for path in Path(sys.argv[1]).glob('*.yaml'):\n"
        "    wanted = dataclasses.replace(config.load(SystemConfig, path), classes=100)\n"
        "    assert size.count(lambda: assembly._build_method(wanted)), path\n"
        "assert 'sympy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, str(CONF)], check=True, cwd=CONF.parents[3])
