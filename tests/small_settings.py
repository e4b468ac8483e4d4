"""Every method and encoder of the registry, plugins too, and settings that make it small: derived, never listed."""

import dataclasses
import itertools
import json
from typing import Any

from sslsv_tk import config, registry
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.methods.base import Method

METHODS = {name: registry.find("sslsv_tk.methods", name, Method) for name in registry.names("sslsv_tk.methods")}
ENCODERS = {name: registry.find("sslsv_tk.encoders", name, Encoder) for name in registry.names("sslsv_tk.encoders")}
WITH_POSITIVES = [name for name, cls in METHODS.items() if cls.slots]
SYNCHRONISED = [name for name, cls in METHODS.items() if cls.synchronised_batch_norm]
_LARGE, _SECONDS = 8, 0.4
_DEPTHS = ("blocks", "layers", "depth")


def small_settings(settings: type) -> dict[str, Any]:
    """Settings of a configuration dataclass for utterances of 0.6 to 1.5 s in batches of 5, as YAML has them.

    Widths and queues are 16, 24 and so on, each another one, so that two that are mixed up do not fit; the longest
    segment has 0.4 s; nothing waits for more than an epoch; `bands` stays the front end's. A value that the
    configuration refuses stays what it is.
    """
    defaults = {f.name: f.default for f in dataclasses.fields(settings)}
    seconds = [value for name, value in defaults.items() if name.endswith("seconds")]
    widths = itertools.count(16, 8)

    def small(name: str, value: Any) -> Any:
        numbers = list(value) if isinstance(value, tuple) else [value]
        if name == "bands" or any(isinstance(n, bool) or not isinstance(n, (int, float)) for n in numbers):
            return value
        if name.endswith("seconds"):
            return value * _SECONDS / max(seconds)
        if "epoch" in name:
            return min(value, 1.0)
        if name in _DEPTHS:
            return [1] * len(numbers) if isinstance(value, tuple) else 1
        if any(isinstance(n, float) or n <= _LARGE for n in numbers):
            return value
        return [_LARGE] * len(numbers) if isinstance(value, tuple) else min(next(widths), value)

    changed = {name: small(name, value) for name, value in defaults.items()}
    wanted = {name: value for name, value in changed.items() if value != defaults[name]}
    return wanted if _is_accepted(settings, wanted) else _accepted(settings, wanted)


def _is_accepted(settings: type, values: dict[str, Any]) -> bool:
    try:
        config.build(settings, values)
    except config.ConfigError:
        return False
    return True


def _accepted(settings: type, wanted: dict[str, Any]) -> dict[str, Any]:
    """As many of the wanted values as go together, taken one after the other."""
    taken: dict[str, Any] = {}
    for name, value in (*wanted.items(), *wanted.items()):  # some are accepted after another one alone
        if _is_accepted(settings, {**taken, name: value}):
            taken[name] = value
    return taken


def small_encoder(name: str = "fast_resnet34") -> Encoder:
    """A small encoder with weights of torch's generator as it stands."""
    cls = ENCODERS[name]
    return cls(config.build(cls.Config, small_settings(cls.Config)))


def small_method(name: str, encoder: Encoder, classes: int = 3, **settings: Any) -> Method:
    """A small method with an encoder; for methods that need labels, of so many speakers."""
    cls = METHODS[name]
    built = config.build(cls.Config, {**small_settings(cls.Config), **settings})
    return cls(encoder, built, classes if cls.needs_labels else None)


def method_words(name: str) -> list[str]:
    """The words after --set that make the small system one of this method.

    Where schedules of the method end with the span, so do those of the optimiser, which is then the other one.
    """
    words = [f"method={json.dumps({'name': name, **small_settings(METHODS[name].Config)})}"]
    if METHODS[name].follows_span:
        words += [
            "optimisation.optimiser=sgd",
            "optimisation.schedule=cosine",
            "optimisation.learning_rate=0.05",
            "optimisation.warm_up_epochs=1.5",
            "optimisation.weight_decay=5.0e-5",
            "optimisation.gradient_clip=3.0",
        ]
    return words
