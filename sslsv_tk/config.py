"""Strict YAML into dataclasses: an unknown key, a wrong type or a duplicate key names its file and line.

A configuration file may begin with `include: [encoder/fast_resnet34.yaml, ...]`, paths relative to itself; what
the file says itself wins over what it includes, and later files win over earlier ones.
"""

import contextlib
import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from sslsv_tk import artifacts, small_files
from sslsv_tk.near_names import near_names

T = TypeVar("T")
_YAML_1_1 = re.compile(r"[-+]?(0[0-9_]+|.*[_:].*|0[bx].*)", re.IGNORECASE)
"""Numbers that are not what they look like: 010 (octal), 1:30 (sixties), 1_0, 0b10, 0x10."""
_MOST_VALUES = 100_000
"""Of a configuration; the longest of the recipe has some hundred."""

_LONGEST_VALUE = 200


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the file and the line."""


@dataclass(frozen=True)
class Component:
    """A choice by file name and its settings: `{name: fast_resnet34, pooling: sap}`."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)

    def build(self, cls: type[T]) -> T:
        """The settings as the component's own configuration dataclass."""
        return build(cls, self.settings)


class _Table(dict[str, Any]):
    """A mapping that knows where each key was written."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[str, str] = {}


def _parse(node: yaml.Node, file: str, seen: list[int]) -> Any:
    """The value of a node; `seen` counts the nodes, since aliases of aliases grow without bounds."""
    seen[0] += 1
    if seen[0] > _MOST_VALUES:
        raise ConfigError(f"{file}: more than {_MOST_VALUES} values, by aliases of aliases. Write out what is meant.")
    if isinstance(node, yaml.MappingNode):
        table = _Table()
        for key_node, value_node in node.value:
            key, place = str(key_node.value), f"{file}:{key_node.start_mark.line + 1}"
            if key in table:
                raise ConfigError(f"{place}: {key!r} is given twice, first at {table.places[key]}. Keep one.")
            table[key] = _parse(value_node, file, seen)
            table.places[key] = place
        return table
    if isinstance(node, yaml.SequenceNode):
        return [_parse(item, file, seen) for item in node.value]
    value = yaml.SafeLoader("").construct_object(node)
    if isinstance(value, int | float) and not isinstance(value, bool) and _YAML_1_1.fullmatch(node.value):
        place = f"{file}:{node.start_mark.line + 1}"
        raise ConfigError(f"{place}: {node.value} is read as {value} by YAML 1.1. Write the number in plain digits.")
    return value


def _read(text: str, file: str) -> Any:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return None if node is None else _parse(node, file, [0])
    except ConfigError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError) as error:
        # PyYAML lets a wrong value of a tag (`!!bool perhaps`) end as a KeyError or an AttributeError.
        raise ConfigError(f"{file}: not YAML: {' '.join(str(error).split())}") from None


def _merge(below: _Table, above: Mapping[str, Any]) -> _Table:
    """`above` wins, key by key; a component with another name replaces the settings of the one below."""
    merged = _Table()
    merged.update(below)
    merged.places.update(below.places)
    for key, value in above.items():
        old = merged.get(key)
        tables = isinstance(old, _Table) and isinstance(value, _Table)
        if tables and value.get("name", old.get("name")) == old.get("name"):  # type: ignore[union-attr]
            value = _merge(old, value)  # type: ignore[arg-type]
        merged[key] = value
        merged.places[key] = getattr(above, "places", {}).get(key, "")
    return merged


def read(file: str | Path) -> dict[str, Any]:
    """The contents of a configuration file with its includes resolved."""
    return _resolve(file, (), {})


def _resolve(file: str | Path, above: tuple[Path, ...], known: dict[Path, _Table]) -> _Table:
    """A file with its includes; `above` are those that include it, `known` those that were read for another one."""
    path, place = Path(file), Path(file).resolve()
    if place in above:
        raise ConfigError(f"{file}: includes itself.")
    if place in known:
        return known[place]
    table = _read(_text(path), str(file))
    if table is None:  # nothing but comments
        table = _Table()
    if not isinstance(table, _Table):
        raise ConfigError(f"{file}: expected `key: value` lines, found {type(table).__name__}.")
    includes = table.pop("include", [])
    if not isinstance(includes, list) or not all(isinstance(item, str) for item in includes):
        raise ConfigError(f"{table.places['include']}: include takes a list of files.")
    below = _Table()
    for item in includes:
        below = _merge(below, _resolve(path.parent / item, (*above, place), known))
    known[place] = _merge(below, table)
    return known[place]


def _text(path: Path) -> str:
    try:
        return small_files.read(path, "configuration file")
    except ValueError as error:
        raise ConfigError(str(error)) from None


def load(cls: type[T], *files: str | Path, overrides: Sequence[str] = ()) -> T:
    """Read files in order (later ones win), then overrides such as "optim.lr=0.1", into the dataclass `cls`."""
    return build(cls, merged(*files, overrides=overrides))


def merged(*files: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The same as one table, before anything is known of its keys."""
    table = _Table()
    for file in files:
        table = _merge(table, read(file))
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path:
            raise ConfigError(f"--set {override}: expected name.of.option=value.")
        place = f"--set {override}"
        nested: Any = _read(text, place) if text else ""
        for key in reversed(path.split(".")):
            outer = _Table()
            outer[key], outer.places[key] = nested, place
            nested = outer
        table = _merge(table, nested)
    return table


def build(cls: type[T], table: Mapping[str, Any], prefix: str = "") -> T:
    """Fill the dataclass `cls` from a mapping; unknown keys and wrong types raise ConfigError."""
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in table.items():
        place = getattr(table, "places", {}).get(key, "") or "configuration"
        if key not in fields:
            near = near_names(key, fields)
            meant = " or ".join(repr(prefix + name) for name in near)
            hint = f" Did you mean {meant}?" if near else f" Known: {', '.join(fields) or 'none'}."
            raise ConfigError(f"{place}: unknown key {prefix + key!r}.{hint}")
        values[key] = _convert(hints[key], value, place, prefix + key)
    required = [name for name, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING]
    missing = ", ".join(prefix + name for name in required if name not in values)
    if missing:
        raise ConfigError(f"{_place_of(table)}: the configuration lacks {missing}.")
    try:
        return cls(**values)
    except ConfigError:
        raise
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ConfigError(f"{_place_of(table, str(error))}: {error}") from None


def _short(value: Any) -> str:
    """What was found, for a message."""
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}... ({len(text)} characters)"


def _place_of(table: Mapping[str, Any], message: str = "") -> str:
    """Where the settings that a message names were written, the last to win first; else the file of the table."""
    places = {key: place for key, place in getattr(table, "places", {}).items() if place}
    named = [str(place) for key, place in places.items() if re.search(rf"\b{re.escape(key)}\b", message)]
    named.sort(key=lambda place: not place.startswith("--set"))
    if named:
        return named[0]
    files = [str(place) for place in places.values()]
    return files[0].rpartition(":")[0] or files[0] if files else "configuration"


def _convert(hint: Any, value: Any, place: str, name: str) -> Any:
    """Check `value` against the type `hint`; integers pass as floats, and 1e-3 (a string in YAML 1.1) as well."""
    if hint is Component:
        return _convert_component(value, place, name)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), _mapping(value, place, name), f"{name}.")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _convert_union(arguments, value, place, name)
    if origin is typing.Literal:
        return _convert_literal(arguments, value, place, name)
    if origin is tuple:
        return _convert_tuple(arguments, value, place, name)
    return _convert_scalar(hint, value, place, name)


def _mapping(value: Any, place: str, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{place}: {name} takes a table of options, found {_short(value)}.")
    return value


def _convert_component(value: Any, place: str, name: str) -> Component:
    rest = _merge(_Table(), _mapping(value, place, name))
    chosen = rest.pop("name", None)
    if not isinstance(chosen, str):
        raise ConfigError(f"{place}: {name} needs a name, as in `{name}: {{name: ...}}`.")
    return Component(chosen, rest)


def _convert_union(members: tuple[Any, ...], value: Any, place: str, name: str) -> Any:
    """The member that has the value's own type, else the first one that takes it: in int | float 400 stays whole."""
    if value is None and type(None) in members:
        return None
    others = [member for member in members if member is not type(None)]
    others.sort(key=lambda member: member is not type(value))
    if len(others) == 1:
        return _convert(others[0], value, place, name)
    for member in others:
        with contextlib.suppress(ConfigError):
            return _convert(member, value, place, name)
    kinds = " or ".join(getattr(member, "__name__", str(member)) for member in members if member is not type(None))
    raise ConfigError(f"{place}: {name} takes a value of type {kinds}, found {_short(value)}.")


def _convert_literal(choices: tuple[Any, ...], value: Any, place: str, name: str) -> Any:
    if isinstance(value, bool) and str(value).lower() in choices:
        value = str(value).lower()  # YAML reads an unquoted `true` as a boolean
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        near = near_names(str(value), map(str, choices))
        meant = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ConfigError(f"{place}: {name} is one of {', '.join(map(str, choices))}; found {_short(value)}.{meant}")
    return value


def _convert_tuple(kinds: tuple[Any, ...], value: Any, place: str, name: str) -> tuple[Any, ...]:
    any_length = kinds[-1] is Ellipsis
    if not isinstance(value, (list, tuple)) or (not any_length and len(value) != len(kinds)):
        length = "" if any_length else f" of {len(kinds)} values"
        raise ConfigError(f"{place}: {name} takes a list{length}, found {_short(value)}.")
    each = kinds[:1] * len(value) if any_length else kinds
    return tuple(_convert(kind, item, place, name) for kind, item in zip(each, value, strict=True))


def _convert_scalar(hint: type, value: Any, place: str, name: str) -> Any:
    if hint is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            value = float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{place}: {name} takes a value of type {hint.__name__}, found {_short(value)}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{place}: {name} takes a finite number, found {value}.")
    return value


def to_dict(instance: Any) -> dict[str, Any]:
    """The dataclass as plain nested dictionaries; a Component becomes {name, **settings}."""
    return {f.name: _plain(getattr(instance, f.name)) for f in dataclasses.fields(instance)}


def _plain(value: Any) -> Any:
    """A value in the types that YAML has."""
    if isinstance(value, Component):
        return {"name": value.name, **_plain(value.settings)}
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def dump(instance: Any, path: str | Path) -> None:
    """Write the dataclass as YAML that `load` reads back to an equal one."""
    with artifacts.replacing(path) as stream:
        yaml.safe_dump(to_dict(instance), stream, sort_keys=False)
