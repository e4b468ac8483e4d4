"""What a row says of the code and the machine."""

import subprocess

from sslsv_tk import provenance


def git(folder, *words):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


def checkout(folder, monkeypatch):
    """A checkout of its own that holds the package."""
    module = folder / "sslsv_tk" / "provenance.py"
    module.parent.mkdir(parents=True)
    module.write_text("# code\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    monkeypatch.setattr(provenance, "__file__", str(module))
    return module


def test_the_commit_is_that_of_the_checkout_and_says_when_it_is_dirty(tmp_path, monkeypatch):
    module = checkout(tmp_path, monkeypatch)
    clean = provenance.commit()
    head = subprocess.run(["git", "-C", str(tmp_path), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert len(clean) == 9 and head.stdout.startswith(clean)
    module.write_text("# changed\n")
    assert provenance.commit() == f"{clean}-dirty"


def test_an_installed_copy_does_not_take_the_commit_of_a_project_around_it(tmp_path, monkeypatch):
    module = checkout(tmp_path, monkeypatch)
    copy = tmp_path / "venv" / "site-packages" / "sslsv_tk" / module.name
    copy.parent.mkdir(parents=True)
    monkeypatch.setattr(provenance, "__file__", str(copy))
    assert provenance.commit() == "unknown"


def test_without_git_the_commit_is_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() == "unknown"
