"""What became of the audio of a set, counted while it is decoded and said once."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sslsv_tk import logs
from sslsv_tk.audio.resampling import Channel
from sslsv_tk.segments import SAMPLE_RATE_HZ

log = logs.logger("decoding")
LIMITED, SILENT, CANCELLED, OVERSHOT, SHORTENED = "limited", "silent", "cancelled", "overshot", "shortened"
_WORDS = {
    LIMITED: "samples beyond full scale, which were limited",
    SILENT: "nothing but zeros in them",
    CANCELLED: "channels that cancel each other, so that their mean is silent: --channel 1 takes one of them",
    OVERSHOT: "an end behind that of their file, by up to 0.5 s, and were cut there",
    SHORTENED: "a tail 60 dB below the rest, which was cut off: responses of more than 2 s pad every batch",
}


@dataclass
class Note:
    """How many utterances something is true of, how many samples of theirs, and the first of them."""

    utterances: int = 0
    samples: int = 0
    first: str = ""

    def add(self, utterances: int, samples: int, first: str) -> None:
        self.first = self.first if self.utterances else first
        self.utterances += utterances
        self.samples += samples


@dataclass
class Tally:
    """How many sources had which rate and how many channels, and what else there is to say of them."""

    rates_hz: Counter[int] = field(default_factory=Counter)
    mixed: Counter[int] = field(default_factory=Counter)
    notes: dict[str, Note] = field(default_factory=lambda: {kind: Note() for kind in _WORDS})

    def count(self, rate_hz: int, channels: int, channel: Channel) -> None:
        """Take in one source that was decoded."""
        self.rates_hz[rate_hz] += 1
        if channel == "mix" and channels > 1:
            self.mixed[channels] += 1

    def note(self, kind: str, path: str, samples: int = 0) -> None:
        """One more utterance of which a kind of remark is true."""
        self.notes[kind].add(1, samples, path)

    def facts(self) -> dict[str, Any]:
        """All counts, as a record keeps them."""
        notes = {kind: vars(note) for kind, note in self.notes.items() if note.utterances}
        return {"rates_hz": self.rates_hz, "mixed": self.mixed, "notes": notes}

    def add(self, facts: Mapping[str, Any]) -> None:
        """Take in the counts of another tally, as JSON has them."""
        self.rates_hz.update({int(rate): int(count) for rate, count in facts["rates_hz"].items()})
        self.mixed.update({int(channels): int(count) for channels, count in facts["mixed"].items()})
        for kind, note in facts["notes"].items():
            self.notes[kind].add(**note)

    def say(self) -> None:
        """Log what was resampled and mixed, and what is wrong with how many; nothing where nothing is to be said."""
        total = self.rates_hz.total()
        rates = {rate: count for rate, count in sorted(self.rates_hz.items()) if rate != SAMPLE_RATE_HZ}
        if rates:
            counts = ", ".join(f"{count} from {rate} Hz" for rate, count in rates.items())
            log.info("resampled to %d Hz: %s; of %d utterances", SAMPLE_RATE_HZ, counts, total)
        if self.mixed:
            counts = ", ".join(f"{count} with {channels} channels" for channels, count in sorted(self.mixed.items()))
            log.info("mixed down to one channel: %s; of %d utterances", counts, total)
        for kind, note in self.notes.items():
            if note.utterances:
                samples = f" ({note.samples} samples in all)" if note.samples else ""
                words = (note.utterances, total, _WORDS[kind], samples, note.first)
                log.warning("%d of %d utterances have %s%s; the first is %s", *words)
