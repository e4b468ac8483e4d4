"""The file name is the registry: `ls sslsv_tk/methods` is the list of methods."""

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
from typing import TypeVar

T = TypeVar("T")


def names(package: str) -> list[str]:
    """The modules of a package that a configuration may name (all but base)."""
    module = importlib.import_module(package)
    return sorted(m.name for m in pkgutil.iter_modules(module.__path__) if m.name != "base")


def find(package: str, name: str, base: type[T]) -> type[T]:
    """Import `package`.`name` and return the one subclass of `base` that it defines.

    Only that file is imported. A name that is no file raises a ValueError with the nearest name and the list.
    """
    known = names(package)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        kind = package.rpartition(".")[2]
        raise ValueError(f"{name!r} is not one of the {kind}: {', '.join(known)}.{hint}")
    module = importlib.import_module(f"{package}.{name}")
    classes = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
    found = [c for c in classes if issubclass(c, base) and c is not base]
    if len(found) != 1:
        raise ValueError(f"{module.__file__}: expected exactly one subclass of {base.__name__}, found {len(found)}.")
    return found[0]
