"""The pages: their examples, written to their place in a copy and used; lengths of lines and sentences; links."""

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
    system = tmp_path / "egs/voxceleb/conf/systems/simclr_fast_resnet34.yaml"
    run_training(tmp_path, system, *SMALL_ENCODER)
    words = (*SMALL_ENCODER, "positives.clusters=4")
    epoch = run_training(tmp_path, system, *words, base=tmp_path / "exp" / "ssl", positives=positives)[-1]
    assert 0.3 < epoch["coverage"] <= 1.0


def test_the_sampler_keeps_the_contract_in_a_copy_of_the_toolkit(tmp_path):
    """Nothing but the page's two files is added: on one process and on two, saved and resumed in mid-epoch."""
    for name in ("sslsv_tk", "egs/voxceleb/conf", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    write_examples("add_a_sampler.md", tmp_path)
    words = ["-q", "-p", "no:cacheprovider", "tests/positives", "-k", "central_members"]
    command = [sys.executable, "-m", "pytest", *words]
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


PAGES = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "egs/voxceleb/README.md", "egs/voxceleb/RESULTS.md"]
PAGES += sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md") if path.name != "layout.md")
COLUMNS, WORDS, MEAN_WORDS = 100, 35, 20


def prose_lines(text: str) -> list[tuple[int, str]]:
    """(number, line) of a Markdown page without fenced code, tables and headings; links are their text alone."""
    kept, fenced = [], False
    for number, line in enumerate(text.splitlines(), 1):
        fenced ^= line.lstrip().startswith("```")
        kept.append((number, "" if fenced or re.match(r"\s*(```|\||#)", line) else line))
    joined = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", "\n".join(line for _, line in kept))
    return list(enumerate(joined.splitlines(), 1))


def sentences(text: str) -> list[str]:
    """The sentences of a page: those of its paragraphs and list items, inline code as one word each."""
    blocks: list[str] = [""]
    for _, line in prose_lines(text):
        starts_anew = not line.strip() or re.match(r"\s*([*-]|\d+\.) ", line)
        if starts_anew:
            blocks.append("")
        blocks[-1] += " " + re.sub(r"^\s*([*-]|\d+\.) ", "", line.strip())
    parts = [part for block in blocks for part in re.split(r"(?<=[.!?])\)?\s+(?=[A-Z(`*\[0-9])", _one_word_code(block))]
    return [part.strip() for part in parts if words(part)]


def _one_word_code(block: str) -> str:
    return re.sub(r"`[^`]*`", lambda code: code[0].replace(" ", "_"), block)


def words(sentence: str) -> list[str]:
    """Whatever stands between spaces and has a letter or a digit."""
    return [word for word in sentence.split() if re.search(r"\w", word)]


def test_sentences_are_told_apart():
    page = (
        "# A title\n\nOne `a b` two. Three\nfour? It is 2.5 [five](six.md).\n* an item\n\n| a | b |\n```sh\nx y\n```\n"
    )
    assert sentences(page) == ["One `a_b` two.", "Three four?", "It is 2.5 five.", "an item"]
    assert [len(words(sentence)) for sentence in sentences(page)] == [3, 2, 4, 2]


@pytest.mark.parametrize("page", PAGES)
def test_lines_and_sentences_are_short(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    wide = [f"{page}:{number}: {len(line)} columns" for number, line in prose_lines(text) if len(line) > COLUMNS]
    assert not wide, "\n".join(wide)
    lengths = [len(words(sentence)) for sentence in sentences(text)]
    long = [f"{len(words(one))} words: {one}" for one in sentences(text) if len(words(one)) > WORDS]
    assert not long, "\n".join(long)
    assert np.mean(lengths) <= MEAN_WORDS, f"{page}: {np.mean(lengths):.1f} words in the mean"
    odd = [one for one in sentences(text) if re.search(r"\b(is told|are told|says so)\b|^What\b.*[^?]$", one)]
    assert not odd, "\n".join(odd)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    missing = [link for link in links if "://" not in link and not ((ROOT / page).parent / link).exists()]
    assert not missing


def test_the_python_of_the_readme_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict = {}
    torch.manual_seed(0)
    exec(compile(example, "README.md", "exec"), names)
    assert re.match(r"loss \d+\.\d+, first positives \[[\d ]+\], EER \d+\.\d %", capsys.readouterr().out)
    right = names["sampler"].partners() // 10 == np.arange(200) // 10
    assert 0 < names["loss"] < np.log(200) and right.mean() > 0.3 and names["eer"] < 5


def test_each_method_of_the_readme_is_there():
    """The other way round is not asked: who adds a method for himself has nothing to write here."""
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("| method |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| ([\w ()-]+) \|", table, flags=re.MULTILINE)
    named = {re.split(r" \(| with ", row)[0].lower().replace(" ", "_") for row in rows}
    assert len(rows) >= 10 and named <= set(registry.names("sslsv_tk.methods"))


def test_the_messages_of_troubleshooting_are_those_of_the_code():
    """In the first column of its tables, whatever is in backquotes and has a space, is in the sources."""
    files = [*(ROOT / "sslsv_tk").rglob("*.py"), *(ROOT / "tools").glob("*.*")]
    files += [*(ROOT / "egs/voxceleb").rglob("*.sh"), *(ROOT / "utils").glob("*.sh")]
    sources = "\n".join(path.read_text(encoding="utf-8") for path in files if path.suffix in (".py", ".sh"))
    sources = re.sub(r"\"\n\s*f?\"", "", sources)  # literals of several lines
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*?) \| ", page, flags=re.MULTILINE)
    messages = [code for row in rows for code in re.findall(r"`([^`]+)`", row) if " " in code]
    assert len(messages) > 30
    assert not [message for message in messages if message.strip() not in sources]


def test_the_tutorial_draws_trials_and_its_settings_are_known(tmp_path):
    text = (ROOT / "docs" / "own_corpus.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"```(?:python|yaml) (\S+)\n(.*?)```", text, flags=re.DOTALL))
    for name, block in blocks.items():
        (tmp_path / name).write_text(block)
    for file in ("a/1/x", "a/1/y", "a/2/x", "b/1/x"):
        (tmp_path / "test" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "test" / f"{file}.flac").touch()
    command = [sys.executable, str(tmp_path / "make_trials.py"), str(tmp_path / "test")]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert lines == [
        "1 a/1/x.flac a/2/x.flac",
        "1 a/1/y.flac a/2/x.flac",
        *(f"0 {first}.flac b/1/x.flac" for first in ("a/1/x", "a/1/y", "a/2/x")),
    ]
    system = ROOT / "egs/voxceleb/conf/systems/simclr_fast_resnet34.yaml"
    own = config.load(SystemConfig, system, tmp_path / "own.yaml")
    assert own.training.epochs == 8
    (positives,) = re.findall(r"```yaml\n(positives: .*?)\n```", text)
    (tmp_path / "positives.yaml").write_text(positives)
    cls = registry.find("sslsv_tk.positives", "ssps_kmeans", PositiveSampler)
    chosen = config.load(SystemConfig, system, tmp_path / "positives.yaml")
    assert chosen.positives.build(cls.Config).clusters == 300
