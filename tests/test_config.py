"""Strict YAML into dataclasses: what is accepted, what is refused, and that the message says where and what to do."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sslsv_tk import config
from sslsv_tk.config import Component, ConfigError
from sslsv_tk.positives.ssps_kmeans import SSPSKMeansConfig
from sslsv_tk.systems.configuration import SystemConfig


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    steps: int = 3

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError(f"rate must be above 0; found {self.rate}.")


@dataclass(frozen=True)
class Outer:
    title: str = "none"
    wanted: bool = False
    inner: Inner = field(default_factory=Inner)
    size: int | None = None
    share: int | float = 10
    either: float | str | int = 0.0
    kind: Literal["red", "green"] = "red"
    place: Literal["auto", "true", "false"] = "auto"
    span: tuple[float, float] = (0.0, 1.0)
    names: tuple[Literal["red", "green"], ...] = ()
    part: Component = field(default_factory=lambda: Component("plain"))


@dataclass(frozen=True)
class Needy:
    must: int
    also: str


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def writer(text: str, name: str = "a.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return writer


def refusal(*files: Path, cls: type[Any] = Outer, overrides: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        config.load(cls, *files, overrides=overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# what is accepted


def test_a_file_fills_the_dataclass(write: Write) -> None:
    text = """
title: one
wanted: true
inner: {rate: 2, steps: 7}
size: 5
share: 0.25
kind: green
span: [1, 2.5]
names: [red, green, red]
part: {name: fancy, depth: 3, deep: {er: [1, 2]}}
"""
    assert config.load(Outer, write(text)) == Outer(
        "one",
        True,
        Inner(2.0, 7),
        5,
        0.25,
        0.0,
        "green",
        "auto",
        (1.0, 2.5),
        ("red", "green", "red"),
        Component("fancy", {"depth": 3, "deep": {"er": [1, 2]}}),
    )


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "{}"])
def test_an_empty_file_gives_the_defaults(write: Write, text: str) -> None:
    assert config.load(Outer, write(text)) == Outer()


def test_no_file_gives_the_defaults() -> None:
    assert config.load(Outer) == Outer()


@pytest.mark.parametrize(("text", "value"), [("1e-3", 0.001), ("1.0e-3", 0.001), ("2", 2.0), (".5", 0.5)])
def test_every_way_to_write_a_number_is_a_float(write: Write, text: str, value: float) -> None:
    found = config.load(Outer, write(f"inner: {{rate: {text}}}")).inner.rate
    assert found == value and type(found) is float


@pytest.mark.parametrize(("text", "value"), [("400", 400), ("0.02", 0.02), ("2e-2", 0.02)])
def test_a_union_takes_any_member_and_a_whole_number_stays_whole(write: Write, text: str, value: float) -> None:
    found = config.load(Outer, write(f"share: {text}")).share
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(("text", "value"), [("400", 400), ("0.5", 0.5), ("400.0", 400.0), ("'7'", "7"), ("x", "x")])
def test_the_member_with_the_type_of_the_value_comes_first(write: Write, text: str, value: object) -> None:
    found = config.load(Outer, write(f"either: {text}")).either
    assert found == value and type(found) is type(value)


def test_clusters_are_written_as_they_were_given(tmp_path: Path) -> None:
    for clusters, line in ((400, "clusters: 400\n"), (0.02, "clusters: 0.02\n")):
        made = config.build(SSPSKMeansConfig, {"clusters": clusters})
        config.dump(made, tmp_path / "out.yaml")
        assert line in (tmp_path / "out.yaml").read_text()
        assert config.load(SSPSKMeansConfig, tmp_path / "out.yaml") == made


@pytest.mark.parametrize(("text", "value"), [("null", None), ("~", None), ("7", 7)])
def test_an_optional_takes_null(write: Write, text: str, value: int | None) -> None:
    assert config.load(Outer, write(f"size: {text}")).size == value


@pytest.mark.parametrize("text", ["true", "'true'", "True"])
def test_a_choice_named_true_may_be_unquoted(write: Write, text: str) -> None:
    assert config.load(Outer, write(f"place: {text}")).place == "true"
    assert config.load(Outer, overrides=[f"place={text}"]).place == "true"


def test_anchors_of_yaml_work(write: Write) -> None:
    assert config.load(Outer, write("title: &x one\npart: {name: *x}")).part == Component("one")


# which one wins


def test_a_later_file_wins_key_by_key(write: Write) -> None:
    below = write("title: below\ninner: {rate: 2, steps: 7}")
    above = write("inner: {steps: 9}", "above.yaml")
    assert config.load(Outer, below, above) == Outer("below", inner=Inner(2.0, 9))
    assert config.load(Outer, above, below) == Outer("below", inner=Inner(2.0, 7))


def test_an_override_wins_over_all_files_and_the_last_one_over_the_others(write: Write) -> None:
    path = write("inner: {rate: 2, steps: 7}")
    assert config.load(Outer, path, overrides=["inner.steps=1", "inner.steps=2"]).inner == Inner(2.0, 2)


def test_an_override_takes_any_yaml_value() -> None:
    words = ["span=[3, 4]", "names=[green]", "part.name=fancy", "part.depth=2", "title=a=b", "size=", "size=null"]
    assert config.load(Outer, overrides=words) == Outer(
        "a=b", span=(3.0, 4.0), names=("green",), part=Component("fancy", {"depth": 2})
    )


def test_an_included_file_lies_below_the_one_that_includes_it(write: Write) -> None:
    write("title: first\nsize: 1\nkind: green", "parts/first.yaml")
    write("include: [first.yaml]\nsize: 2", "parts/second.yaml")
    top = write("title: top\ninclude: [parts/second.yaml]")
    assert config.load(Outer, top) == Outer("top", size=2, kind="green")


def test_a_file_may_be_included_twice_by_different_ones(write: Write) -> None:
    write("size: 1", "base.yaml")
    write("include: [base.yaml]", "left.yaml")
    write("include: [base.yaml]\ntitle: right", "right.yaml")
    assert config.load(Outer, write("include: [left.yaml, right.yaml]")) == Outer("right", size=1)


def test_settings_of_a_component_are_merged_while_its_name_stays(write: Write) -> None:
    below = write("part: {name: fancy, depth: 3, width: 4}")
    same = write("part: {depth: 5}", "same.yaml")
    named = write("part: {name: fancy, depth: 5}", "named.yaml")
    assert config.load(Outer, below, same).part == Component("fancy", {"depth": 5, "width": 4})
    assert config.load(Outer, below, named).part == Component("fancy", {"depth": 5, "width": 4})


def test_a_component_with_another_name_replaces_the_settings_below(write: Write) -> None:
    below = write("part: {name: fancy, depth: 3, width: 4}")
    other = write("part: {name: other, depth: 5}", "other.yaml")
    assert config.load(Outer, below, other).part == Component("other", {"depth": 5})
    assert config.load(Outer, below, overrides=["part.name=other"]).part == Component("other")


# what is refused


def test_an_unknown_key_names_the_nearest_and_its_line(write: Write) -> None:
    path = write("title: one\ninner:\n  rate: 2\n  stepz: 3\n")
    assert refusal(path) == f"{path}:4: unknown key 'inner.stepz'. Did you mean 'inner.steps'?"


def test_an_unknown_key_that_resembles_none_lists_them(write: Write) -> None:
    assert refusal(write("inner: {qqq: 1}")).endswith("unknown key 'inner.qqq'. Known: rate, steps.")


def test_an_unknown_key_of_an_included_file_names_that_file(write: Write) -> None:
    below = write("\nsizes: 1", "below.yaml")
    assert refusal(write("include: [below.yaml]")).startswith(f"{below}:2: unknown key 'sizes'. Did you mean 'size'?")


def test_an_unknown_key_of_an_override_names_the_option() -> None:
    assert refusal(overrides=("inner.rates=1",)).startswith("--set inner.rates=1: unknown key 'inner.rates'. Did you")


def test_an_unknown_setting_of_a_component_names_its_line(write: Write) -> None:
    path = write("part:\n  name: inner\n  rite: 1\n")
    with pytest.raises(ConfigError, match=rf"{path}:3: unknown key 'rite'. Did you mean 'rate'"):
        config.load(Outer, path).part.build(Inner)


def test_a_key_given_twice_names_both_lines(write: Write) -> None:
    path = write("size: 1\ntitle: one\nsize: 2\n")
    assert refusal(path) == f"{path}:3: 'size' is given twice, first at {path}:1. Keep one."
    assert "given twice" in refusal(write("inner: {rate: 1, rate: 1}"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("title: 3", "title takes a value of type str, found 3."),
        ("wanted: 1", "wanted takes a value of type bool, found 1."),
        ("wanted: 'yes'", "wanted takes a value of type bool, found 'yes'."),
        ("size: 1.5", "size takes a value of type int, found 1.5."),
        ("size: true", "size takes a value of type int, found True."),
        ("size: [1]", "size takes a value of type int, found [1]."),
        ("share: many", "share takes a value of type int or float, found 'many'."),
        ("share: true", "share takes a value of type int or float, found True."),
        ("share: null", "share takes a value of type int or float, found None."),
        ("inner: 3", "inner takes a table of options, found 3."),
        ("inner: {rate: fast}", "inner.rate takes a value of type float, found 'fast'."),
        ("inner: {rate: .nan}", "inner.rate takes a finite number, found nan."),
        ("inner: {rate: .inf}", "inner.rate takes a finite number, found inf."),
        ("inner: {steps: 1e3}", "inner.steps takes a value of type int, found '1e3'."),
        ("kind: grean", "kind is one of red, green; found 'grean'. Did you mean 'green'?"),
        ("kind: [red]", "kind is one of red, green; found ['red']."),
        ("kind: true", "kind is one of red, green; found True."),
        ("span: [1]", "span takes a list of 2 values, found [1]."),
        ("span: 1", "span takes a list of 2 values, found 1."),
        ("span: [1, x]", "span takes a value of type float, found 'x'."),
        ("names: red", "names takes a list, found 'red'."),
        ("names: [blue]", "names is one of red, green; found 'blue'."),
        ("part: fancy", "part takes a table of options, found 'fancy'."),
        ("part: {depth: 1}", "part needs a name, as in `part: {name: ...}`."),
        ("part: {name: 1}", "part needs a name, as in `part: {name: ...}`."),
        ("[a]: 1", "unknown key"),
    ],
)
def test_a_wrong_value_names_its_line_the_type_and_what_was_found(write: Write, line: str, message: str) -> None:
    path = write(f"# a comment\n{line}\n")
    assert refusal(path).startswith(f"{path}:2: {message}")


def test_what_the_dataclass_refuses_names_the_file(write: Write) -> None:
    path = write("inner: {rate: -1}")
    assert refusal(path) == f"{path}:1: rate must be above 0; found -1.0."
    assert refusal(overrides=("inner.rate=0",)) == "--set inner.rate=0: rate must be above 0; found 0.0."
    both = write("inner: {steps: 3, rate: 1.0}")
    assert refusal(both, overrides=("inner.rate=0",)) == "--set inner.rate=0: rate must be above 0; found 0.0."


def test_missing_options_are_all_named(write: Write) -> None:
    path = write("must: 1")
    assert refusal(path, cls=Needy) == f"{path}: the configuration lacks also."
    assert refusal(cls=Needy) == "configuration: the configuration lacks must, also."


@pytest.mark.parametrize("text", ["a: [1", "a: 'b", "\ta: 1", "a: b: c", "%&*", "--- a\n--- b\n", "a: \x00", "*x"])
def test_what_is_not_yaml_is_said_to_be_none(write: Write, text: str) -> None:
    path = write(text)
    assert refusal(path).startswith(f"{path}: not YAML: ")


@pytest.mark.parametrize(
    "tag", ["!!bool perhaps", "!!int ''", "!!timestamp soon", "!!python/object:os.system x", "!a b"]
)
def test_a_tag_that_does_not_fit_its_value_is_refused(write: Write, tag: str) -> None:
    assert "not YAML" in refusal(write(f"title: {tag}"))


@pytest.mark.parametrize(("text", "kind"), [("- a\n- b", "list"), ("just words", "str"), ("3", "int")])
def test_what_is_no_table_is_refused(write: Write, text: str, kind: str) -> None:
    assert refusal(write(text)).endswith(f"expected `key: value` lines, found {kind}.")


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(bytes(range(128, 256)))
    assert refusal(path) == f"{path}: not UTF-8 text, so not a YAML file."


def test_a_file_that_is_not_there_is_named(tmp_path: Path, write: Write) -> None:
    assert refusal(tmp_path / "none.yaml") == f"{tmp_path}/none.yaml: no such configuration file."
    assert refusal(write("include: [none.yaml]")) == f"{tmp_path}/none.yaml: no such configuration file."


def test_a_folder_in_place_of_a_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        config.load(Outer, tmp_path)


def test_circular_includes_are_refused(write: Write) -> None:
    own = write("include: [own.yaml]", "own.yaml")
    assert refusal(own) == f"{own}: includes itself."
    write("include: [b.yaml]", "a.yaml")
    first = write("include: [a.yaml]", "b.yaml")
    assert refusal(first).endswith("b.yaml: includes itself.")


def test_aliases_of_aliases_are_refused_before_they_fill_the_memory(write: Write) -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    bomb = write("\n".join(lines))
    assert refusal(bomb) == f"{bomb}: more than 100000 values, by aliases of aliases. Write out what is meant."


def test_includes_of_includes_are_read_once_each(write: Write) -> None:
    """Ten lines of two includes each would be 2^40 readings."""
    write("title: end", "f0.yaml")
    for number in range(1, 41):
        write(f"include: [f{number - 1}.yaml, f{number - 1}.yaml]", f"f{number}.yaml")
    assert config.read(write("include: [f40.yaml]")) == {"title": "end"}


def test_a_pipe_or_a_device_is_refused(write: Write, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in (str(tmp_path / "pipe"), "/dev/zero"):
        message = f"{name}: a pipe or a device, not a configuration file."
        assert refusal(Path(name)) == message
        assert refusal(write(f"include: [{name}]")) == message


def test_a_file_that_is_far_too_long_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "long.yaml").open("wb") as stream:
        stream.truncate(2**40)
    assert refusal(tmp_path / "long.yaml") == f"{tmp_path}/long.yaml: {2**40} bytes, so not a configuration file."


def test_a_long_value_is_shortened_in_the_message(write: Write) -> None:
    found = refusal(write(f"inner: [{', '.join(['1'] * 20_000)}]"))
    assert len(found) < 400 and found.endswith("... (60000 characters).")


@pytest.mark.parametrize("text", ["include: a.yaml", "include: [1]", "include: {a: b}", "include:"])
def test_include_takes_a_list_of_files(write: Write, text: str) -> None:
    assert refusal(write(f"title: x\n{text}")).endswith("a.yaml:2: include takes a list of files.")


@pytest.mark.parametrize("override", ["inner.rate", "=3", "=", ""])
def test_an_override_without_name_or_value_is_refused(override: str) -> None:
    assert refusal(overrides=(override,)) == f"--set {override}: expected name.of.option=value."


def test_a_table_that_contains_itself_is_refused(write: Write) -> None:
    assert "not YAML" in refusal(write("part: &x {name: a, again: *x}"))


# round trip


@pytest.mark.parametrize(
    "made",
    [
        Outer(),
        Outer("true", True, Inner(1e-6, 0), None, 0.5, "0.5", "green", "true", (-1.0, 1e300), ("red",)),
        Outer("1e3: #x\n\u00e9'\"", size=-1, part=Component("fancy", {"deep": {"er": [1, {"a": None}]}})),
    ],
)
def test_what_is_written_reads_back_as_the_same(tmp_path: Path, made: Outer) -> None:
    config.dump(made, tmp_path / "out.yaml")
    again = config.load(Outer, tmp_path / "out.yaml")
    assert again == made
    config.dump(again, tmp_path / "again.yaml")
    assert (tmp_path / "again.yaml").read_bytes() == (tmp_path / "out.yaml").read_bytes()


def test_a_whole_system_reads_back_as_the_same(tmp_path: Path) -> None:
    made = SystemConfig(Component("fast_resnet34", {"widths": [8, 8, 8, 8]}), Component("simclr"))
    config.dump(made, tmp_path / "out.yaml")
    assert config.load(SystemConfig, tmp_path / "out.yaml") == made


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from([*Outer.__dataclass_fields__, "include", "name", "x"])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60) | st.text("ab:{}[],&*!|>'\"#-?% \n\t01.", max_size=60))
def test_no_text_gives_anything_but_a_configuration_or_a_refusal(tmp_path: Path, text: str) -> None:
    path = tmp_path / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert isinstance(config.load(Outer, path), Outer)
    except ConfigError as error:
        assert str(path) in str(error)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.dictionaries(names, values, max_size=4))
def test_no_table_gives_anything_but_a_configuration_or_a_refusal(tmp_path: Path, table: dict[str, Any]) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(yaml.safe_dump(table), encoding="utf-8")
    try:
        made = config.load(Outer, path)
    except ConfigError:
        return
    assert math.isfinite(made.inner.rate)
    config.dump(made, path)
    assert config.load(Outer, path) == made


@settings(max_examples=60, deadline=None)
@given(override=st.text(max_size=20) | st.builds("{}={}".format, names, st.text(max_size=12)))
def test_no_override_gives_anything_but_a_configuration_or_a_refusal(override: str) -> None:
    try:
        assert isinstance(config.load(Outer, overrides=[override]), Outer)
    except ConfigError as error:
        assert "--set" in str(error)


@pytest.mark.parametrize("number", ["010", "0_1", "1_0", "1:30", "-012", "0x10", "0b11", "1:30.5", "1_0.5"])
def test_numbers_of_yaml_1_1_that_are_not_what_they_look_like_are_refused(tmp_path: Path, number: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"inner:\n  steps: {number}\n")
    assert refusal(path).startswith(f"{path}:2: {number} is read as ")
    assert f"{number} is read as" in refusal(overrides=(f"inner.steps={number}",))


def test_plain_numbers_and_quoted_ones_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text('title: "010"\ninner: {rate: 0.05, steps: 0}\n')
    assert config.load(Outer, path) == Outer("010", inner=Inner(0.05, 0))
    assert config.load(Outer, overrides=["inner.rate=1e-3", "inner.steps=-10"]).inner == Inner(1e-3, -10)
    assert config.merged(path, overrides=["inner.steps=+7"])["inner"] == {"rate": 0.05, "steps": 7}
