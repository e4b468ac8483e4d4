"""The file name is the registry: `ls sslsv_tk/methods` is the list of methods.

A name is one of three:

    simclr                           sslsv_tk/methods/simclr.py
    my_method                        methods/my_method.py in a folder that SSLSV_PLUGINS names (see plugins.py)
    my_package.my_module:MyMethod    a class of any module that Python can import
"""

import importlib
import importlib.util
import inspect
import pkgutil
import traceback
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from sslsv_tk import plugins
from sslsv_tk.near_names import near_names

T = TypeVar("T")


class NotFound(ValueError):
    """No class goes by a name; the message tells where it was looked for, and what to set."""


def names(package: str) -> list[str]:
    """The files that a configuration may name: of the package and of the plugins, but base and those with a _."""
    return sorted(_files(package))


def find(package: str, name: str, base: type[T]) -> type[T]:
    """The subclass of `base` that goes by a name: the one that its file defines, or the class after the colon.

    Only the named file is imported. A ValueError tells, in one line, of a name that is nowhere or in two places, of a
    file with no such class or several, and of an error in the file, with the line.
    """
    if ":" in name:
        return _class_of_module(package, name, base)
    module = _import(_module_of_file(package, name), name)
    classes = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
    found = [c for c in classes if issubclass(c, base) and c is not base]
    if len(found) != 1:
        raise ValueError(f"{module.__file__}: expected exactly one subclass of {base.__name__}, found {len(found)}.")
    return found[0]


def _folders(package: str) -> list[tuple[str, str]]:
    """Folders with files of one kind, each with the package that it is imported as; the toolkit's own is first."""
    kind = package.rpartition(".")[2]
    own = [(folder, package) for folder in importlib.import_module(package).__path__]
    return own + [(str(folder / kind), f"{plugins.package_of(folder)}.{kind}") for folder in plugins.folders()]


def _files(package: str) -> dict[str, list[tuple[str, str]]]:
    """For each name the files that have it, and the modules that they are."""
    found: dict[str, list[tuple[str, str]]] = {}
    for folder, parent in _folders(package):
        for file in pkgutil.iter_modules([folder]):
            if file.name != "base" and not file.name.startswith("_"):
                path = Path(folder, file.name) if file.ispkg else Path(folder, f"{file.name}.py")
                found.setdefault(file.name, []).append((str(path), f"{parent}.{file.name}"))
    return found


def _module_of_file(package: str, name: str) -> str:
    kind, files = package.rpartition(".")[2], _files(package)
    if name not in files:
        near = near_names(name, files)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise NotFound(f"{name!r} is not one of the {kind}: {', '.join(sorted(files))}.{hint} {_advice(kind)}")
    if len(files[name]) > 1:
        paths = " and ".join(path for path, _ in files[name])
        raise ValueError(f"{name!r} is two of the {kind}: {paths}. Rename the one that is yours.")
    return files[name][0][1]


def _advice(kind: str) -> str:
    """Where a file from outside is looked for."""
    folders = ", ".join(map(str, plugins.folders())) or "not set"
    return f"Outside the package, a file {kind}/NAME.py is found in the folders of {plugins.VARIABLE} ({folders})."


def _class_of_module(package: str, name: str, base: type[T]) -> type[T]:
    """The class that `module:Class` names."""
    kind = package.rpartition(".")[2]
    where, _, class_name = name.partition(":")
    if not class_name.isidentifier() or not all(part.isidentifier() for part in where.split(".")):
        raise NotFound(f"{name!r} is not one of the {kind}: expected a name, or my_package.my_module:MyClass.")
    module = _import(where, name)
    found = getattr(module, class_name, None)
    if found is None:
        near = near_names(class_name, vars(module))
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise NotFound(f"{module.__file__}: no class {class_name}, which {name!r} of the {kind} names.{hint}")
    if not (inspect.isclass(found) and issubclass(found, base) and found is not base):
        raise ValueError(f"{module.__file__}: {class_name} is no subclass of {base.__module__}.{base.__name__}.")
    return found


def _import(module: str, name: str) -> ModuleType:
    """The module behind a name; whatever goes wrong in it becomes one line with its place."""
    try:
        return importlib.import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise NotFound(
                f"{name!r}: Python finds no module {error.name}. Put the folder that holds it on PYTHONPATH."
            ) from None
        said = " ".join(str(error).split())
        raise ValueError(f"{_place(error) or name}: {type(error).__name__}: {said}") from error


def _place(error: Exception) -> str:
    """File and line of an error in an imported file: the last line of that file's folder that was reached."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    frames = [frame for frame in frames if frame.filename not in (__file__, importlib.__file__)]
    theirs = [frame for frame in frames if Path(frame.filename).is_relative_to(Path(frames[0].filename).parent)]
    return f"{theirs[-1].filename}:{theirs[-1].lineno}" if theirs else ""
