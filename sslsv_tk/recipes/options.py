"""The options of run.sh that shape its plan, and what may be said of each."""

import re
import typing
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

_KINDS = {
    "ngpu": (r"\d+|auto", "a number or auto"),
    "num_nodes": (r"[1-9]\d*", "a number from 1"),
    "num_threads": (r"[1-9]\d*|auto", "a number from 1 or auto"),
    "nj": (r"[1-9]\d*|auto", "a number from 1 or auto"),
    "checkpoint": (r"averaged|latest|best|\d+", "averaged, latest, best or the number of an epoch"),
    "channel": (r"mix|[1-9]\d*", "mix or a number from 1"),
    "train_part": (r"dev|test|all", "dev, test or all"),
    "feats_type": (r"raw|fbank", "raw or fbank"),
    "features": (r"auto|keep|compute", "auto, keep or compute"),
    "compress": (r"none|cm2", "none or cm2"),
    "tag": (r"[A-Za-z0-9.]*", "letters, digits and dots"),
    "tolerance": (r"0?\.\d+|0\.?|1(\.0*)?", "a share from 0 to 1"),
    "copies_seed": (r"\d+", "a number"),
    "corpus_seed": (r"\d+", "a number"),
}


class Mistake(ValueError):
    """An option that cannot be meant: the recipe ends with status 2."""


@dataclass(frozen=True)
class Options:
    """Values by the names of the options block of run.sh, which says what each is, and of what else run.sh knows."""

    stage: int
    stop_stage: int
    nj: str
    ngpu: str
    num_nodes: str
    num_threads: str
    system: str
    scale: str
    init_from: str
    tag: str
    positives: str
    systems: str
    checkpoint: str
    validation: str
    seed: int
    train_audio: str
    train_part: str
    test_audio: str
    trials: str
    channel: str
    musan: str
    rirs: str
    feats_type: str
    features: str
    compress: str
    datadir: str
    dumpdir: str
    expdir: str
    mini: bool
    tiny: bool
    cores: int  # of this machine
    cmd_backend: str
    caller: str  # the folder where the user stands
    recipe: str  # the folder of run.sh
    config: tuple[str, ...] = ()
    set: tuple[str, ...] = ()
    tolerance: str = "0"
    copies_seed: str = "0"
    corpus_seed: str = "0"
    prefer: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.stage <= self.stop_stage <= 7:
            raise Mistake(f"--stage {self.stage} --stop-stage {self.stop_stage}: expected a range within 1 to 7")
        for name, (pattern, expected) in _KINDS.items():
            value = getattr(self, name)
            if not re.fullmatch(pattern, value):
                raise Mistake(f"--{name.replace('_', '-')} {value}: expected {expected}")
        if self.mini and self.tiny:
            raise Mistake("--mini true --tiny true: choose one")
        if self.prefer.strip():
            _check_kinds(self.prefer.split())

    @property
    def generated(self) -> bool:
        """Is the corpus a generated one?"""
        return self.mini or self.tiny

    @property
    def suffix(self) -> str:
        """What the folders of a generated corpus end in."""
        return "_tiny" if self.tiny else "_mini" if self.mini else ""


def _check_kinds(preferred: Sequence[str]) -> None:
    """Mistake where --prefer names what is no kind of audio."""
    from sslsv_tk.kaldi.utterance_ids import AUDIO_SUFFIXES  # with numpy, which a plan needs for nothing else

    kinds = [suffix.lstrip(".") for suffix in AUDIO_SUFFIXES]
    for word in preferred:
        if word.lstrip(".").lower() not in kinds:
            raise Mistake(f"--prefer {' '.join(preferred)}: expected some of {', '.join(kinds)}, separated by spaces")


def parse(words: Sequence[str]) -> Options:
    """From words NAME=VALUE; one given several times is a list. Options that shape no plan are passed over."""
    values: dict[str, list[str]] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise Mistake(f"{word}: expected NAME=VALUE")
        values.setdefault(name, []).append(value)
    hints = typing.get_type_hints(Options)
    missing = [field.name for field in fields(Options) if field.default is MISSING and field.name not in values]
    if missing:
        raise Mistake(f"a plan needs all options of run.sh, and {', '.join(missing)} is not given")
    given: dict[str, Any] = {name: _value(hints[name], name, values[name]) for name in hints if name in values}
    return Options(**given)


def _value(hint: object, name: str, values: list[str]) -> int | bool | str | tuple[str, ...]:
    last = values[-1]
    if hint is bool:
        return last == "true"
    if hint is int:
        if not re.fullmatch(r"-?\d+", last):
            raise Mistake(f"--{name.replace('_', '-')} {last}: expected a whole number")
        return int(last)
    return last if hint is str else tuple(values)
