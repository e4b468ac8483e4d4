"""The layout: which folder may import which, what is where, how large it may be, and that the README's tree is true."""

import ast
import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sslsv_tk

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sslsv_tk"
BASES = {"methods.base", "positives.base", "encoders.base"}
MAY_IMPORT: dict[str, set[str]] = {
    "scoring": set(),
    "launch": set(),
    "frontend": set(),
    "data": set(),
    "nn": set(),
    "clustering": set(),
    "encoders": {"nn"},
    "methods": {"nn", "encoders.base"},
    "positives": {"nn", "clustering"},
    "extraction": {"data", "frontend", "encoders.base"},
    "report": {"scoring", "data", "clustering"},
    "training": {"data", "frontend", "nn", "clustering", "scoring", "extraction", *BASES},
}
FOLDERS = {*MAY_IMPORT, "bin"}
WITHOUT_TORCH = [
    "sslsv_tk",
    "sslsv_tk.scoring.metrics",
    "sslsv_tk.data.directories",
    "sslsv_tk.data.trials",
    "sslsv_tk.data.arks",
]
LONGEST_FILE, LONGEST_FUNCTION, LONGEST_COMMAND = 300, 60, 80


def package_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def python_files() -> list[Path]:
    folders = [PACKAGE, ROOT / "egs/voxceleb/local", ROOT / "tools", ROOT / "benchmarks"]
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports_of(source: str) -> Iterator[tuple[int, str]]:
    """Each imported module of ours with its line: `from sslsv_tk.nn import queue` gives sslsv_tk.nn.queue."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "sslsv_tk")
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "relative import"
            elif node.module and node.module.split(".")[0] == "sslsv_tk":
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def is_allowed(folder: str, module: str) -> bool:
    """May a file of `folder` ("" is the ground floor) import `module`?"""
    parts = module.split(".")[1:]
    if module == "relative import":
        return False
    if not parts or parts[0] not in FOLDERS:
        return True  # the ground floor: everybody's
    if folder == "bin" or folder == parts[0]:
        return True
    allowed = MAY_IMPORT.get(folder, set())
    return parts[0] in allowed or ".".join(parts[:2]) in allowed


def folder_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def test_every_folder_has_its_row() -> None:
    found = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert found <= FOLDERS, f"add {found - FOLDERS} to the table here and in docs/design.md"


def test_the_table_is_the_one_in_the_design() -> None:
    rows = re.findall(r"^\| (\w+) \| .* \| (.+) \|$", (ROOT / "docs/design.md").read_text(), re.MULTILINE)
    written = {folder: row for folder, row in rows if folder in FOLDERS}
    assert written.keys() == FOLDERS
    assert written.pop("bin") == "everything"
    for folder, row in written.items():
        row = row.replace("{methods,positives,encoders}.base", ", ".join(sorted(BASES)))
        assert {name.strip() for name in row.split(",")} - {"-"} == MAY_IMPORT[folder], folder


@pytest.mark.parametrize("path", package_files(), ids=relative)
def test_imports_point_downwards(path: Path) -> None:
    wrong = [
        f"{relative(path)}:{line}: {module}"
        for line, module in imports_of(path.read_text(encoding="utf-8"))
        if not is_allowed(folder_of(path), module)
    ]
    assert not wrong


def test_the_rule_sees_what_is_not_allowed() -> None:
    assert [
        module for _, module in imports_of("from sslsv_tk.nn import queue\nimport sslsv_tk.bin.train\nimport os")
    ] == [
        "sslsv_tk.nn.queue",
        "sslsv_tk.bin.train",
    ]
    assert [module for _, module in imports_of("def f():\n    from . import base")] == ["relative import"]
    assert is_allowed("methods", "sslsv_tk.encoders.base.Encoder")
    assert not is_allowed("methods", "sslsv_tk.encoders.fast_resnet34")
    assert not is_allowed("methods", "sslsv_tk.encoders")
    assert not is_allowed("training", "sslsv_tk.bin.train")
    assert not is_allowed("", "sslsv_tk.data.arks")
    assert is_allowed("", "sslsv_tk.config")


@pytest.mark.parametrize("path", package_files(), ids=relative)
def test_no_file_is_a_drawer_for_everything(path: Path) -> None:
    assert not {"utils", "helpers", "misc", "common"} & {*path.relative_to(PACKAGE).parts, path.stem}


@pytest.mark.parametrize("path", python_files(), ids=relative)
def test_files_and_functions_are_small_and_say_what_they_are(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert text.count("\n") <= LONGEST_FILE
    assert ast.get_docstring(tree), f"{relative(path)} has no docstring"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{relative(path)}:{node.lineno}: {node.name} has {length} lines"


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("bin/[a-z]*.py")), ids=relative)
def test_a_command_is_thin(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    functions = {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    assert text.count("\n") <= LONGEST_COMMAND
    assert {"get_parser", "main"} <= functions
    assert "logs.run_command(main)" in text


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("bin/[a-z]*.py")), ids=relative)
def test_a_command_shows_its_help(path: Path) -> None:
    parser = importlib.import_module(f"sslsv_tk.bin.{path.stem}").get_parser()
    unexplained = [action.dest for action in parser._actions if not action.help]
    assert not unexplained
    assert parser.format_help()


@pytest.mark.parametrize("name", sslsv_tk.__all__)
def test_public_names_resolve(name: str) -> None:
    assert getattr(sslsv_tk, name).__name__ == name
    assert name in dir(sslsv_tk)


def test_a_name_that_is_not_public_is_named() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Sphere'; its names: AudioArchive"):
        sslsv_tk.Sphere  # noqa: B018


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_loads_where_torch_does_not(module: str) -> None:
    code = f"import sys; sys.modules['torch'] = None; import {module}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr


def test_scoring_never_imports_torch() -> None:
    for path in PACKAGE.glob("scoring/*.py"):
        assert not re.search(r"^\s*(import|from) torch\b", path.read_text(), re.MULTILINE), relative(path)


# README: a tree of the repository, one line per file; a folder without lines of its own stands for all that is in it


def tree_entries(readme: str) -> list[str]:
    """Paths of the README's tree; folders end with a slash."""
    block = re.search(r"```text\n(.*?)```", readme, re.DOTALL)
    assert block, "README.md has no ```text block with the tree"
    entries, parents = [], list[tuple[int, str]]()
    for line in block[1].splitlines():
        match = re.fullmatch(r"( *)(\S+)(?:  .*)?", line)
        assert match, f"not a line of a tree: {line!r}"
        indent, name = len(match[1]), match[2]
        parents = [(depth, parent) for depth, parent in parents if depth < indent]
        entries.append("".join(parent for _, parent in parents) + name)
        if name.endswith("/"):
            parents.append((indent, name))
    return entries


def disagreements(entries: list[str], files: set[str]) -> list[str]:
    """What the tree and the disk say differently."""
    leaves = [entry for entry in entries if not any(other != entry and other.startswith(entry) for other in entries)]
    folders = tuple(entry for entry in leaves if entry.endswith("/"))
    gone = [
        f"{entry}: in the README only"
        for entry in leaves
        if not any(f == entry or (entry in folders and f.startswith(entry)) for f in files)
    ]
    new = [
        f"{file}: not in the README"
        for file in sorted(files)
        if file not in leaves and not file.startswith(folders or ("\n",))
    ]
    twice = [
        f"{entry}: twice in the README" for entry in sorted({entry for entry in entries if entries.count(entry) > 1})
    ]
    return gone + new + twice


def test_the_tree_is_compared_both_ways() -> None:
    tree = "```text\na/          folder\n  b.py      file\n  c/        all of it\nd.py        another\n```"
    assert tree_entries(tree) == ["a/", "a/b.py", "a/c/", "d.py"]
    assert disagreements(tree_entries(tree), {"a/b.py", "a/c/x.py", "a/c/y/z.py", "d.py"}) == []
    assert disagreements(tree_entries(tree), {"a/b.py", "a/e.py"}) == [
        "a/c/: in the README only",
        "d.py: in the README only",
        "a/e.py: not in the README",
    ]


def test_the_tree_of_the_readme_is_the_disk() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git clone: the files of the repository are not known")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = {
        name for name in listing.split("\0") if name and (ROOT / name).exists() and not name.endswith("__init__.py")
    }
    files |= {"sslsv_tk/__init__.py"}
    assert disagreements(tree_entries((ROOT / "README.md").read_text(encoding="utf-8")), files) == []
