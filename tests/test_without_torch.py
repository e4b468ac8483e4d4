"""Tables, audio, arks, corpora and packing load where importing torch fails: stages 1 to 3 need none."""

import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "sslsv_tk"
COMMANDS = {"sslsv_tk.bin.judge_positives", "sslsv_tk.bin.train", "sslsv_tk.bin.plan"}
"""Commands that load it when they begin to work, so that --help is there at once."""
FOLDERS = ("kaldi", "audio", "arks", "draws", "corpora", "packing", "recipes", "scoring")
WITH_TORCH = {"sslsv_tk.packing.log_mel", "sslsv_tk.recipes.configured"}
PROGRAM = """
import importlib, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchaudio"):
            raise ImportError("no torch here")
sys.meta_path.insert(0, Refuse())
try:
    import torch
except ImportError:
    for module in sys.argv[1:]:
        importlib.import_module(module)
else:
    sys.exit("torch was not refused")
"""


def test_the_modules_load_where_importing_torch_fails():
    modules = {f"sslsv_tk.{folder}.{path.stem}" for folder in FOLDERS for path in PACKAGE.glob(f"{folder}/[a-z]*.py")}
    assert modules > WITH_TORCH
    command = [sys.executable, "-c", PROGRAM, *sorted((modules | COMMANDS) - WITH_TORCH)]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
