#!/usr/bin/env python3
"""Writes docs/layout.md: every file of the repository with the first sentence that it says about itself.

    tools/layout.py                  # print the page
    tools/layout.py --write true     # write it

A Python file speaks by its docstring, a script by its first comment, a page by its heading. A folder that has no
package docstring has a line in FOLDERS below; of those in WHOLE only the folder is named.
"""

import argparse
import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/layout.md"
FOLDERS = {
    "": "the top level",
    ".ci": "continuous integration",
    "benchmarks": "one script per figure of speed; each prints a table, ours beside a straightforward version",
    "docs": "pages for users and for who changes the code",
    "egs/voxceleb": "the recipe",
    "egs/voxceleb/local": "programs of this recipe alone",
    "tools/locks": "the versions that are tested",
    "tools": "the environment, and checks of everything",
    "utils": "shell tools of a recipe, for those who know Kaldi's",
}
WHOLE = {
    "egs/voxceleb/conf": "configurations: systems, their pieces, sizes of corpora, a cluster",
    "tests": "one folder for each folder of the package; recipe/: run.sh; fuzz/, soak/: hostile files, kills",
}
FILES = {
    ".gitattributes": "line ends, binary files",
    ".gitignore": "what recipes and tools leave",
    ".shellcheckrc": "settings of shellcheck",
    "CHANGELOG.md": "what changed for users",
    "CITATION.cff": "how to cite",
    "sslsv_tk/py.typed": "the package has types (PEP 561)",
    "CONTRIBUTING.md": "how to change the code",
    "LICENSE": "MIT",
    "README.md": "the first page",
    "docs/ssps.svg": "where the positive comes from, in plain training and in SSPS",
    "pyproject.toml": "packaging, requirements, settings of the checks",
    "setup.py": "the thin file that older tools look for",
}
ORDER = ("sslsv_tk", "egs", "utils", "tools", "benchmarks", "docs", ".ci", "")
INTRODUCTION = """# Layout

Every file, with the first sentence that it says about itself. `tools/layout.py --write true` makes
this page; a test compares it with the disk. Which folder may import which: [design.md](design.md).
"""


def tracked_files() -> list[str]:
    """The files that git knows and that are there, by name."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted(name for name in listing.split("\0") if name and (ROOT / name).is_file())


def sentence(name: str) -> str:
    """What a file says of itself: its first sentence, at most one line."""
    if name in FILES:
        return FILES[name]
    text = (ROOT / name).read_text(encoding="utf-8")
    if name.endswith(".py"):
        said = ast.get_docstring(ast.parse(text)) or ""
    elif name.endswith(".md"):
        said = text.lstrip("# ")
    else:
        comments = [line.lstrip("# ") for line in text.splitlines() if re.match(r"#+ \S", line)]
        said = next((line for line in comments if not line.startswith("shellcheck ")), "")
    first = said.partition("\n")[0].strip()
    return first.replace("|", "\\|")


def folder_line(folder: str) -> str:
    """What a folder says of itself."""
    package = ROOT / folder / "__init__.py"
    return sentence(str(package.relative_to(ROOT))) if folder and package.is_file() else FOLDERS[folder]


def page(files: list[str]) -> str:
    """The page: a section for each folder, a row for each file."""
    sections: dict[str, list[str]] = {}
    for name in files:
        if any(name.startswith(f"{folder}/") for folder in WHOLE):
            continue
        folder, _, base = name.rpartition("/")
        rows = sections.setdefault(folder, [])
        if base != "__init__.py":
            rows.append(f"| `{base}` | {sentence(name)} |")
    lines = [INTRODUCTION]
    for folder in sorted(sections, key=lambda folder: (ORDER.index(folder.partition("/")[0]), folder)):
        said = folder_line(folder).rstrip(".")
        lines += [f"## {folder or '.'}/", f"{said[0].upper()}{said[1:]}.", ""]
        lines += ["| file | what it is |", "|---|---|", *sections[folder], ""]
    lines += ["## Folders whose files are not listed", "", "| folder | what is in it |", "|---|---|"]
    lines += [f"| `{folder}/` | {what} |" for folder, what in sorted(WHOLE.items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", choices=["true", "false"], default="false", help="write docs/layout.md")
    made = page(tracked_files())
    if parser.parse_args().write == "true":
        PAGE.write_text(made, encoding="utf-8")
    else:
        print(made, end="")


if __name__ == "__main__":
    main()
