"""Directories, trials and arks serve scoring machines: they load where importing torch fails."""

import subprocess
import sys

import pytest

MODULES = ("directories", "trials", "arks", "tables", "repair", "corpora", "noises", "packing")


@pytest.mark.parametrize("module", MODULES)
def test_the_module_loads_where_importing_torch_fails(module):
    program = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchaudio"):
            raise ImportError("no torch here")
sys.meta_path.insert(0, Refuse())
try:
    import torch
except ImportError:
    import sslsv_tk.data.{module}
else:
    sys.exit("torch was not refused")
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
