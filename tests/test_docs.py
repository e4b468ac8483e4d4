"""The examples of docs/add_*.md, as they stand there: each is written to its place in a copy, and used."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from small_corpus import SYSTEM, pack_all

from sslsv_tk import config, plugins, registry
from sslsv_tk.bin import train
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.methods.base import Method
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts
from sslsv_tk.segments import SAMPLE_RATE_HZ
from sslsv_tk.systems import assembly
from sslsv_tk.systems.configuration import SystemConfig

ROOT = Path(__file__).resolve().parents[1]
SMALL_ENCODER = ("encoder.widths=[8,8,8,8]", "encoder.blocks=[1,1,1,1]", "method.segment_seconds=0.4")
SMALL = {"training": SYSTEM["training"] | {"epochs": 1, "continued_epochs": 1, "average_epochs": 1}}


def write_examples(page: str, folder: Path) -> list[Path]:
    """The fenced blocks that name a file, each at that place below `folder`."""
    blocks = re.findall(r"```\w+ (\S+)\n(.*?)```", (ROOT / "docs" / page).read_text(), flags=re.DOTALL)
    for name, text in blocks:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return [folder / name for name, _ in blocks]


def replace_packages(folder: Path, monkeypatch: pytest.MonkeyPatch, without: str = "") -> None:
    """Let copies below `folder` be the packages' folders; an example may lie in the real ones, too."""
    for kind in ("methods", "encoders", "positives"):
        copy = folder / "sslsv_tk" / kind
        copy.mkdir(parents=True, exist_ok=True)
        for file in (ROOT / "sslsv_tk" / kind).glob("*.py"):
            if file.stem != without and not (copy / file.name).exists():
                shutil.copy(file, copy)
        monkeypatch.setattr(importlib.import_module(f"sslsv_tk.{kind}"), "__path__", [str(copy)])


@pytest.fixture
def examples(tmp_path, monkeypatch):
    """examples(page): its files, beside the recipe's configurations and among the modules of the package."""

    def write(page: str) -> list[Path]:
        shutil.copytree(ROOT / "egs" / "voxceleb" / "conf", tmp_path / "egs" / "voxceleb" / "conf")
        paths = write_examples(page, tmp_path)
        for path in paths:
            monkeypatch.delitem(sys.modules, f"sslsv_tk.{path.parent.name}.{path.stem}", raising=False)
        replace_packages(tmp_path, monkeypatch)
        (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
        pack_all(tmp_path / "dump")
        return paths

    return write


def run_training(
    folder: Path, system: Path, *settings: str, base: Path | None = None, positives: Path | None = None
) -> list[dict[str, float]]:
    """Stage 4, or stage 5 from `base`, of a configuration on the small corpus; the lines of metrics.jsonl."""
    out = folder / "exp" / ("continued" if base else "ssl")
    words = ["--config", str(system), str(folder / "small.yaml"), "--train-set", str(folder / "dump" / "train")]
    words += ["--augmentation", str(folder / "dump"), "--out", str(out), "--device", "cpu"]
    if base is not None:
        words += ["--continue-from", str(base), "--positives", str(positives)]
    train.main([*words, "--set", *settings])
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_the_method(examples, tmp_path):
    module, system = examples("add_a_method.md")
    assert registry.find("sslsv_tk.methods", "alignment_uniformity", Method).__module__.endswith(module.stem)
    losses = importlib.import_module("sslsv_tk.methods.alignment_uniformity")
    z = torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64), dim=1)
    pairs = [float(torch.exp(-2 * (z[i] - z[j]).square().sum())) for i in range(5) for j in range(i)]
    assert float(losses.uniformity_loss(3 * z, 2.0)) == pytest.approx(np.log(np.mean(pairs)))
    assert float(losses.alignment_loss(z, z.roll(1, 0))) == pytest.approx(
        np.mean([float((z[i] - z[i - 1]).square().sum()) for i in range(5)])
    )
    epoch = run_training(tmp_path, system, *SMALL_ENCODER)[-1]
    assert epoch["loss"] == pytest.approx(epoch["alignment"] + epoch["uniformity"], rel=1e-5)


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """outside(page, where): its file in a folder of plugins, or in a package of the user's; the system's file."""

    def write(page: str, where: str) -> Path:
        shutil.copytree(ROOT / "egs" / "voxceleb" / "conf", tmp_path / "egs" / "voxceleb" / "conf")
        file, system = write_examples(page, tmp_path)
        (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
        pack_all(tmp_path / "dump")
        if where == "folder":
            target = tmp_path / "lab" / file.parent.name / file.name
            monkeypatch.setenv(plugins.VARIABLE, str(tmp_path / "lab"))
        else:
            target = tmp_path / "my_package_folder" / "my_package" / "mine.py"
            monkeypatch.syspath_prepend(str(tmp_path / "my_package_folder"))
            (cls,) = re.findall(r"^class (\w+)\((?:Method|Encoder)\)", file.read_text(), flags=re.MULTILINE)
            system.write_text(system.read_text().replace(f"name: {file.stem}", f"name: my_package.mine:{cls}"))
        target.parent.mkdir(parents=True)
        file.rename(target)
        replace_packages(tmp_path, monkeypatch, without=file.stem)
        forget()
        return system

    def forget() -> None:
        for name in [name for name in sys.modules if name.startswith(("my_package", "sslsv_tk.plugins."))]:
            del sys.modules[name]
        importlib.invalidate_caches()

    yield write
    forget()


@pytest.mark.parametrize("where", ["folder", "module"])
def test_the_method_outside_of_the_toolkit(outside, tmp_path, monkeypatch, where):
    """It is trained, extracted with and gone on with; where it is gone, one line says how to bring it back."""
    system = outside("add_a_method.md", where)
    assert "alignment" in run_training(tmp_path, system, *SMALL_ENCODER)[-1]
    name = config.load(SystemConfig, tmp_path / "exp/ssl/config.yaml").method.name
    assert name == ("alignment_uniformity" if where == "folder" else "my_package.mine:AlignmentUniformity")
    assert name in (tmp_path / "exp/ssl/made.json").read_text()
    _, method, _ = assembly.load_system(tmp_path / "exp" / "ssl", "latest")
    assert type(method).__name__ == "AlignmentUniformity"
    run_training(tmp_path, system, *SMALL_ENCODER)

    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if str(tmp_path) not in path])
    for module in [module for module in sys.modules if module.startswith("my_package")]:
        monkeypatch.delitem(sys.modules, module)
    importlib.invalidate_caches()
    remedy = "SSLSV_PLUGINS" if where == "folder" else "PYTHONPATH"
    with pytest.raises(ValueError, match=rf"^{tmp_path}/exp/ssl/config.yaml: '{name}'.*{remedy}"):
        assembly.load_system(tmp_path / "exp" / "ssl", "latest")
    with pytest.raises(ValueError, match=rf"'{name}'.*{remedy}"):
        run_training(tmp_path, system, *SMALL_ENCODER)


@pytest.mark.parametrize("where", ["folder", "module"])
def test_the_encoder_outside_of_the_toolkit(outside, tmp_path, where):
    system = outside("add_an_encoder.md", where)
    sizes = ("encoder.width=16", "encoder.pooled=24", "method.segment_seconds=0.4")
    assert np.isfinite(run_training(tmp_path, system, *sizes)[-1]["loss"])


def test_the_examples_pass_what_every_method_and_encoder_owes(tmp_path):
    """The contracts' tests find them while SSLSV_PLUGINS is set; so does the test of runs that are killed."""
    (tmp_path / "lab").mkdir()
    for page in ("add_a_method.md", "add_an_encoder.md"):
        file, _ = write_examples(page, tmp_path)
        if not (ROOT / file.relative_to(tmp_path)).exists():  # who has followed the page has it inside
            (tmp_path / "lab" / file.parent.name).mkdir()
            file.rename(tmp_path / "lab" / file.parent.name / file.name)
    contracts = ["method_contract", "method_contract_of_processes"]
    tests = [*(f"methods/test_{name}.py" for name in contracts), "encoders/test_encoder_contract.py"]
    words = ["-q", "-k", "alignment_uniformity or xvector", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *words, *tests, "training/test_resume.py"]
    environment = {**os.environ, plugins.VARIABLE: str(tmp_path / "lab")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "tests", env=environment)
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= 40


def test_the_encoder(examples, tmp_path):
    _, system = examples("add_an_encoder.md")
    loaded = config.load(SystemConfig, system)
    cls = registry.find("sslsv_tk.encoders", loaded.encoder.name, Encoder)
    encoder = cls(loaded.encoder.build(cls.Config)).eval()
    frames = torch.randn(3, 40, 60)
    with torch.no_grad():
        together, alone = encoder(frames), torch.cat([encoder(row[None]) for row in frames])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="at least 15 frames; found 14"):
        encoder(torch.zeros(1, 40, 14))
    epoch = run_training(tmp_path, system, "encoder.width=16", "encoder.pooled=24", "method.segment_seconds=0.4")[-1]
    assert epoch["kind"] == "epoch" and np.isfinite(epoch["loss"])


def test_the_sampler(examples, tmp_path):
    _, positives = examples("add_a_sampler.md")
    cls = registry.find("sslsv_tk.positives", "same_recording", PositiveSampler)
    recordings = np.array([2, 0, 2, 1, 2, 0, 3], dtype=np.int32)
    sampler = cls(cls.Config(), SamplerFacts(7, speakers=recordings, recordings=recordings))
    seen = {row: set() for row in range(7)}
    for epoch in range(40):
        assert sampler.start_epoch(epoch) == {"without_partner": 2.0}
        for row, partner in enumerate(sampler.partners()):
            seen[row].add(int(partner))
    assert seen == {0: {2, 4}, 1: {5}, 2: {0, 4}, 3: {3}, 4: {0, 2}, 5: {1}, 6: {6}}
    system = tmp_path / "egs/voxceleb/conf/simclr_fast_resnet34.yaml"
    run_training(tmp_path, system, *SMALL_ENCODER)
    epoch = run_training(tmp_path, system, *SMALL_ENCODER, base=tmp_path / "exp" / "ssl", positives=positives)[-1]
    assert epoch["coverage"] == epoch["speaker_accuracy"] == epoch["recording_accuracy"] == 1.0


def test_the_corpus(examples, tmp_path):
    (script,) = examples("add_a_corpus.md")
    source = tmp_path / "corpus"
    (source / "clips").mkdir(parents=True)
    lines = ["path\tspeaker\tsession"]
    for number, (speaker, session) in enumerate([("b", "1"), ("a", "2"), ("a", "1"), ("b", "1")]):
        soundfile_write(source / "clips" / f"{number}.wav", number)
        lines.append(f"clips/{number}.wav\t{speaker}\t{session}")
    (source / "clips.tsv").write_text("\n".join(lines) + "\n")
    command = [sys.executable, str(script), "--source", str(source), "--out", str(tmp_path / "data")]
    subprocess.run(command, check=True, env={"PYTHONPATH": str(ROOT)}, capture_output=True)
    found = DataDirectory.load(tmp_path / "data")
    assert found.keys.tolist() == [b"a-1-2", b"a-2-1", b"b-1-0", b"b-1-3"]
    assert found.speakers.tolist() == [b"a", b"a", b"b", b"b"]
    assert found.recordings.tolist() == [b"a-1", b"a-2", b"b-1", b"b-1"]

    (source / "clips.tsv").write_text("\n".join([*lines, "clips/0.wav\t\t3"]) + "\n")
    broken = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert broken.returncode == 1 and "clips.tsv:6: expected path, speaker and session" in broken.stderr


def soundfile_write(path: Path, number: int) -> None:
    import soundfile

    soundfile.write(path, np.full(SAMPLE_RATE_HZ // 2, 0.01 * number, dtype=np.float32), SAMPLE_RATE_HZ)


def test_every_page_is_tested_and_named_in_the_readme():
    pages = sorted(path.name for path in (ROOT / "docs").glob("add_*.md"))
    tested = re.findall(r'examples\("(add_\w+\.md)"\)', Path(__file__).read_text())
    assert sorted(tested) == pages
    assert all(page in (ROOT / "README.md").read_text() for page in pages)
