"""What `--scale auto` takes for a training set of N utterances that is too small for a batch or a K of the papers."""

from dataclasses import replace
from pathlib import Path

from sslsv_tk import config
from sslsv_tk.counts import fitting_batch, fitting_clusters
from sslsv_tk.recipes.corpora import Corpora
from sslsv_tk.recipes.positives import Choice

AUTO = "auto"
_NEAREST_SHARE = 100
"""A hundredth of the utterances are candidates where nearest is more: 14 of 1,440, of which 24 are of one speaker."""


def count_utterances(datadir: str, corpora: Corpora) -> int | None:
    """N, from the tables of stage 1; None where they are not there yet."""
    for table in ("wav.scp", "feats.scp"):
        path = Path(datadir) / corpora.train_set / table
        if corpora.train_set and path.is_file():
            return path.read_bytes().count(b"\n")
    return None


def batch(utterances: int, wanted: int) -> int | None:
    """The batch to take in place of the one that is wanted; None where that one fits."""
    fitting = fitting_batch(utterances)
    return fitting if fitting < wanted else None


def choice(utterances: int, wanted: Choice) -> Choice:
    """The same positives with numbers that fit, where their file has others; those written out in the word stay."""
    said = config.read(wanted.file).get("positives")
    table = said if isinstance(said, dict) else {}
    written = {setting.partition("=")[0].removeprefix("positives.") for setting in wanted.settings}
    settings: dict[str, int | str] = {}
    clusters, nearest = table.get("clusters"), table.get("nearest")
    if isinstance(clusters, int) and clusters > fitting_clusters(utterances) and "clusters" not in written:
        settings["clusters"] = fitting_clusters(utterances)
        if table.get("name") == "ssps_kmeans":
            settings["queue_size"] = "N"  # as many as there are clusters would be a sixth of all
    if isinstance(nearest, int) and nearest > max(1, utterances // _NEAREST_SHARE):
        settings["nearest"] = max(1, utterances // _NEAREST_SHARE)
    new = [f"positives.{name}={value}" for name, value in settings.items() if name not in written]
    return replace(wanted, settings=(*new, *wanted.settings))


def note(utterances: int | None, system_settings: tuple[str, ...], before: list[Choice], now: list[Choice]) -> str:
    """What was taken, for the log of a run."""
    if utterances is None:
        return "--scale auto: batch and K follow when stage 1 has counted the utterances"
    taken = [setting for setting in system_settings if setting.startswith("training.batch_size=")]
    for old, new in zip(before, now, strict=True):
        added = [setting.removeprefix("positives.") for setting in new.settings if setting not in old.settings]
        taken += [f"{new.name}:{','.join(added)}"] if added else []
    return f"--scale auto: {utterances:,} utterances; {' '.join(taken) or 'nothing needs another size'}"
