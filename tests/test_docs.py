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

from sslsv_tk import config, registry
from sslsv_tk.bin import train
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.methods.base import Method
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts
from sslsv_tk.segments import SAMPLE_RATE_HZ
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


@pytest.fixture
def examples(tmp_path, monkeypatch):
    """examples(page): its files, beside the recipe's configurations and among the modules of the package."""

    def write(page: str) -> list[Path]:
        shutil.copytree(ROOT / "egs" / "voxceleb" / "conf", tmp_path / "egs" / "voxceleb" / "conf")
        paths = write_examples(page, tmp_path)
        for kind in ("methods", "encoders", "positives"):
            package = importlib.import_module(f"sslsv_tk.{kind}")
            monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / "sslsv_tk" / kind)])
        for path in paths:
            monkeypatch.delitem(sys.modules, f"sslsv_tk.{path.parent.name}.{path.stem}", raising=False)
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
    module, _, system = examples("add_a_method.md")
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


def test_the_encoder(examples, tmp_path):
    _, _, system = examples("add_an_encoder.md")
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
    """Partners against a loop over the members of each cluster, and both stages."""
    _, positives = examples("add_a_sampler.md")
    cls = registry.find("sslsv_tk.positives", "central_members", PositiveSampler)
    facts = SamplerFacts(60, projection_dimension=3, embedding_dimension=4)
    sampler = cls(cls.Config(clusters=4, neighbours=0, central_share=0.4), facts)
    generator = torch.Generator().manual_seed(0)
    reference_ND = torch.nn.functional.normalize(torch.randn(60, 4, generator=generator), dim=1)
    sampler.observe(None, torch.arange(60), reference_ND[None])
    for epoch in range(5):
        assert sampler.start_epoch(epoch)["seen_share"] == 1.0
        cluster_N = sampler.cluster_of(torch.arange(60)).tolist()
        cosines = [
            float(row @ sampler.clusters.centroids_KD[k]) for row, k in zip(reference_ND, cluster_N, strict=True)
        ]
        central = sorted(range(60), key=lambda u: -cosines[u])[:24]
        for own, partner in enumerate(sampler.partners().tolist()):
            members = {u for u in central if cluster_N[u] == cluster_N[own] and u != own}
            assert partner in (members or {own})
    with pytest.raises(ValueError, match="central_share: expected a share, found 0"):
        cls.Config(central_share=0.0)
    system = tmp_path / "egs/voxceleb/conf/simclr_fast_resnet34.yaml"
    run_training(tmp_path, system, *SMALL_ENCODER)
    words = (*SMALL_ENCODER, "positives.clusters=4")
    epoch = run_training(tmp_path, system, *words, base=tmp_path / "exp" / "ssl", positives=positives)[-1]
    assert 0.3 < epoch["coverage"] <= 1.0


def test_the_sampler_keeps_the_contract_in_a_copy_of_the_toolkit(tmp_path):
    """Nothing but the page's two files is added: on one process and on two, saved and resumed in mid-epoch."""
    for name in ("sslsv_tk", "egs/voxceleb/conf", "tests/positives"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*(ROOT / "tests").glob("*.py"), ROOT / "pyproject.toml"]:
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    write_examples("add_a_sampler.md", tmp_path)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/positives",
        "-k",
        "central_members",
    ]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 50 and "skipped" not in done.stdout


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
