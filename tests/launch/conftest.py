"""A real Slurm of two nodes on this machine, for the tests that need one."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import Cluster


@pytest.fixture(scope="session")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes, n1 and n2, as long as the tests run."""
    if os.geteuid() != 0:
        pytest.skip("not root: a Slurm for tests cannot be started here")
    missing = [name for name in ("munged", "slurmctld", "slurmd") if not shutil.which(name, path="/usr/sbin:/usr/bin")]
    if missing:
        pytest.skip(
            f"{', '.join(missing)} missing: no Slurm for tests (tools/start_test_slurm.sh start --install true)"
        )
    cluster = Cluster(tmp_path_factory.mktemp("cluster") / "slurm")
    try:
        cluster.script("start")
        yield cluster
    finally:
        cluster.script("stop")


@pytest.fixture
def cluster(running_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster, from a folder of this test's own whose name needs care."""
    folder = tmp_path / "100% of a"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return running_cluster
