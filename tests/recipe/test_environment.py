"""tools/environment.py: requirements, locks and what it says of an environment."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment() -> ModuleType:
    """The script as a module of its own."""
    spec = importlib.util.spec_from_file_location("environment_script", ROOT / "tools/environment.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def has(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Version by name of package: all that is installed as the script sees it."""
    packages: dict[str, str] = {}
    monkeypatch.setattr(environment, "installed", lambda name: packages.get(environment.normal(name)))
    monkeypatch.setattr(environment, "all_installed", lambda: dict(sorted(packages.items())))
    return packages


@pytest.mark.parametrize(
    ("requirement", "version", "met"),
    [
        ("torch>=2.11", "2.11.0", True),
        ("torch>=2.11", "2.11.0+cu126", True),
        ("torch>=2.11", "2.11.0a0+git1", True),
        ("torch>=2.11", "2.9.1", False),
        ("torch>=2.11", "2.100", True),
        ("torch>=2.11", "10.0", True),
        ("torch==2.11.0", "2.11", True),
        ("torch==2.11.0", "2.11.1", False),
        ("torch", "0.1", True),
        ("torch", None, False),
        ("torch>=2.11", None, False),
    ],
)
def test_versions_are_compared_as_numbers(
    environment: ModuleType, has: dict[str, str], requirement: str, version: str | None, met: bool
) -> None:
    if version is not None:
        has["torch"] = version
    assert environment.is_met(requirement) is met


@pytest.mark.parametrize("requirement", ["torch<3", "torch==2.11.*", "torch>=2,<3", "torch[cuda]", ""])
def test_other_forms_of_a_requirement_are_refused(environment: ModuleType, requirement: str) -> None:
    with pytest.raises(SystemExit, match=r"expected `name`, `name>=1\.2` or `name==1\.2\.3`"):
        environment.parts_of(requirement)


def test_nothing_is_required_that_nobody_imports(environment: ModuleType) -> None:
    """torchaudio is the reference of the front end in benchmarks/; stubs and programs are not imported."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "sslsv_tk").rglob("*.py")]
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]
    for name, texts in {"run": sources, "test": sources + tests}.items():
        for package in (environment.parts_of(one)[0] for one in environment.requirements(name)):
            module = environment.MODULES.get(environment.normal(package), package)
            if module is None or package in ("torchaudio", "ruff", "mypy", "pytest-xdist"):
                continue
            word = re.compile(rf"(import|from|importorskip\(\") *{module.split('.')[0]}\b")
            assert any(word.search(text) for text in texts), package


def test_the_locks_fit_the_requirements_and_have_no_package_twice(environment: ModuleType, has: dict[str, str]) -> None:
    has.update(environment.locked())
    assert environment.missing("test") == environment.unfit() == []
    assert not environment.locked(["run"]).keys() & environment.locked(["test"]).keys()
    assert environment.locked().keys() >= {
        environment.normal(environment.parts_of(r)[0]) for r in environment.requirements()
    }


def test_a_lock_is_what_is_installed(environment: ModuleType, has: dict[str, str]) -> None:
    pins = environment.locked(["run"])
    has.update(pins)
    assert environment.lock("run") == [f"{name}=={version}" for name, version in sorted(pins.items())]
    has["pytest"] = "9.0"
    assert environment.lock("test") == ["pytest==9.0"]


def test_other_versions_and_other_packages_are_told_apart(environment: ModuleType, has: dict[str, str]) -> None:
    has.update(environment.locked())
    assert environment.untested() == environment.unlocked() == []
    has.update({"torch": "2.11.0+cpu", "stowaway": "1.0"})
    assert environment.untested() == ["torch 2.11.0+cpu"]
    assert environment.unlocked() == ["stowaway 1.0"]
    has["numpy"] = "1.0"
    assert environment.untested() == ["numpy 1.0", "torch 2.11.0+cpu"]
    has["torch"] = "2.9"
    assert environment.missing("needed") == ["torch>=2.11 (found: 2.9)"]


@pytest.mark.parametrize(
    ("torch", "torchaudio", "wanted"),
    [
        ("2.11.0", "2.11.1", ["torchaudio==2.11.0"]),
        ("2.11.0+cu130", "2.11.1", ["torchaudio==2.11.0"]),
        ("2.11.0+cu130", "2.11.0+cu130", []),
        ("2.14.1", "2.11.1", []),
    ],
)
def test_torch_2_11_gets_the_torchaudio_that_loads(
    environment: ModuleType, has: dict[str, str], torch: str, torchaudio: str, wanted: list[str]
) -> None:
    has.update({"torch": torch, "torchaudio": torchaudio})
    assert environment.unfit() == wanted


def test_a_package_that_cannot_be_imported_is_a_line_with_the_remedy(
    environment: ModuleType, has: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    has.update({"torch": "2.11.0", "torchaudio": "2.11.1", "kaldiio": "2.0"})
    for name in ("torchaudio", "kaldiio"):
        (tmp_path / f"{name}.py").write_text("raise OSError('undefined symbol: x')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert environment.trouble("torchaudio") == (
        "torchaudio 2.11.1 cannot be loaded beside torch 2.11.0 (OSError: undefined symbol: x). "
        "Install a pair that loads: pip install torch==2.11.0 torchaudio==2.11.0. Nothing else needs it."
    )
    has["torch"] = "2.20.0"
    pins = environment.locked()
    pair = f"torch=={pins['torch']} torchaudio=={pins['torchaudio']}"
    assert pair in environment.trouble("torchaudio")
    assert environment.trouble("kaldiio") == (
        "kaldiio 2.0 cannot be loaded (OSError: undefined symbol: x). "
        "Install it again: pip install --force-reinstall --no-deps kaldiio."
    )
    assert environment.trouble("types-PyYAML") is None
    (tmp_path / "kaldiio.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n")
    assert "(exit status -11)" in environment.trouble("kaldiio")


@pytest.mark.parametrize(("lines", "status"), [([], 0), (["torchaudio 1 ..."], 0), (["torchaudio 1", "numpy 1"], 1)])
def test_torchaudio_alone_stops_nothing(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, lines: list[str], status: int
) -> None:
    monkeypatch.setitem(environment.COMMANDS, "broken", lambda _: lines)
    monkeypatch.setattr(sys, "argv", ["environment.py", "broken", "run"])
    if status:
        with pytest.raises(SystemExit, match="1"):
            environment.main()
    else:
        environment.main()


@pytest.mark.parametrize("words", [[], ["missing"], ["missing", "all"], ["folder", "run"], ["install"]])
def test_mistakes_in_the_call_show_the_usage(words: list[str]) -> None:
    command = [sys.executable, str(ROOT / "tools/environment.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "environment.py missing SET" in done.stderr
