"""The names of official lists stand in two places: in the recipe, and in the package, which says what each is."""

import re
from pathlib import Path

from sslsv_tk.kaldi.trials import OFFICIAL_LISTS

ROOT = Path(__file__).resolve().parents[2]


def test_the_recipe_knows_the_lists_that_the_package_describes():
    script = (ROOT / "egs/voxceleb/local/test_sets.sh").read_text()
    found = re.search(r"^official_lists=\((.*?)\)", script, re.MULTILINE | re.DOTALL)
    assert found is not None and found[1].split() == list(OFFICIAL_LISTS)
