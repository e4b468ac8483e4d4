"""utils/stages.sh: what a run that stops leaves to the next."""

import subprocess
from pathlib import Path

import pytest

STAGES = Path(__file__).resolve().parents[2] / "utils/stages.sh"


@pytest.mark.parametrize(("status", "kept"), [(1, False), (137, False), (75, True), (2, True)])
def test_after_a_failure_no_stage_is_skipped_by_the_times_of_its_files(tmp_path: Path, status: int, kept: bool) -> None:
    """What failed may be a damaged file that a skipped stage wrote; a stop by request damages nothing."""
    note = tmp_path / "exp/log/complete/3-ab.json"
    note.parent.mkdir(parents=True)
    note.touch()
    script = f'. "$1"; expdir=$2; stage() {{ (exit {status}); }}; stage'
    words = ["bash", "-Eeuo", "pipefail", "-c", script, "run.sh", str(STAGES), str(tmp_path / "exp")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1 and "the same command" in done.stderr
    assert note.exists() == kept
