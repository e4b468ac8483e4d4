"""What lies outside the package: the folders that SSLSV_PLUGINS names hold methods, encoders and more, a file each.

    SSLSV_PLUGINS=/home/ada/lab          several folders with ':' between them
    /home/ada/lab/
        methods/my_method.py             name: my_method
        methods/_shared.py               no choice of its own: `from ._shared import ...` in its neighbours
        encoders/my_encoder.py           name: my_encoder

A module of a package of yours is found on PYTHONPATH. Its folders are looked at last: tools/activate_python.sh moves
them to SSLSV_PYTHONPATH, so that none of them can put another torch or numpy before that of the environment.

Each folder is a package below this module, so that relative imports work and files of two folders never meet.
"""

import os
import sys
import zlib
from pathlib import Path
from types import ModuleType

VARIABLE = "SSLSV_PLUGINS"
PYTHONPATH = "SSLSV_PYTHONPATH"
__path__: list[str] = []  # what makes this module a package


def folders() -> list[Path]:
    """The folders in the order in which they are named, each once; a ValueError names one that does not exist."""
    named = [Path(word).absolute() for word in os.environ.get(VARIABLE, "").split(os.pathsep) if word]
    for folder in named:
        if not folder.is_dir():
            raise ValueError(f"{VARIABLE} names {folder}, and there is no such folder. Mend it, or unset {VARIABLE}.")
    return list(dict.fromkeys(named))


def package_of(folder: Path) -> str:
    """The name by which the contents of a folder are imported."""
    name = f"{__name__}.folder_{zlib.crc32(os.fsencode(folder)):08x}"
    if name not in sys.modules:
        package = ModuleType(name, f"The plugins in {folder}.")
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    return name


sys.path += [word for word in os.environ.get(PYTHONPATH, "").split(os.pathsep) if word and word not in sys.path]
for _folder in folders():  # so that another process finds a class by the name of its module alone
    package_of(_folder)
