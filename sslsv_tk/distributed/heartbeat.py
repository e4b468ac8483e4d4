"""Who of the processes that train together is alive: a collective would wait for a dead one for ever."""

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

BEAT_SECONDS, SILENT_SECONDS = 3.0, 40.0
"""How often a process says that it is alive; how long it may be silent before the others end."""
_LOST = "lost"
_log = logging.getLogger("processes")


class Heartbeat:
    """Says that this process is alive, from a thread of its own, and ends it when another one is not.

    The first process listens to all, the others to it.
    """

    def __init__(self, store: Any, rank: int, world: int) -> None:
        """`store`: a connection of its own, since one thread's waiting blocks the others of a connection."""
        self._store, self._rank, self._world = store, rank, world
        self._stopped = threading.Event()
        self._heard = dict.fromkeys(range(1, world) if rank == 0 else (0,), (0, time.monotonic()))
        self._last_beat = time.monotonic()

    def start(self) -> None:
        """Say for the first time that this process is there, and go on saying so from threads."""
        self._store.add(f"beats/{self._rank}", 1)
        for work in (self._listen, self._watch):
            threading.Thread(target=work, name="heartbeat", daemon=True).start()

    def stop(self) -> None:
        """This process needs the others no longer."""
        self._stopped.set()

    @contextlib.contextmanager
    def limit(self, seconds: float, what: str) -> Iterator[None]:
        """End this process with one line where the block takes longer."""
        timer = threading.Timer(seconds, self._end, [f"{what}, after {seconds:.0f} s"])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _rounds(self) -> Iterator[None]:
        """A round for every beat; one after a long sleep of this very process (suspended, paused) does not count."""
        before = time.monotonic()
        while not self._stopped.wait(BEAT_SECONDS):
            now = time.monotonic()
            if now - before < SILENT_SECONDS / 2:
                yield
            else:
                self._heard = {rank: (beats, now) for rank, (beats, _) in self._heard.items()}
                self._last_beat = now
            before = time.monotonic()

    def _listen(self) -> None:
        for _ in self._rounds():
            try:
                lost = self._beat()
            except RuntimeError:
                lost = "process 0 has ended or cannot be reached"
            self._last_beat = time.monotonic()
            if lost and not self._stopped.wait(BEAT_SECONDS):  # unless all are just leaving
                self._end(lost)

    def _watch(self) -> None:
        """A store that does not answer keeps the listening thread waiting."""
        for _ in self._rounds():
            if time.monotonic() - self._last_beat > SILENT_SECONDS:
                self._end(f"process 0 of {self._world} has not answered for {SILENT_SECONDS:.0f} s")

    def _beat(self) -> str | None:
        """Say that we are there; who is not, if anybody."""
        self._store.add(f"beats/{self._rank}", 1)
        for rank, (beats, since) in self._heard.items():
            now = self._store.add(f"beats/{rank}", 0)
            if now != beats:
                self._heard[rank] = (now, time.monotonic())
            elif beats and time.monotonic() - since > SILENT_SECONDS:  # who has not come yet is not lost
                lost = f"process {rank} of {self._world} has not been heard of for {SILENT_SECONDS:.0f} s"
                self._store.set(_LOST, lost)
                return lost
        return self._store.get(_LOST).decode() if self._store.check([_LOST]) else None

    def _end(self, lost: str) -> None:
        """End here and now: the main thread may be waiting for the lost process and cannot be told."""
        _log.error(
            "error: process %d: %s, so training ends. See that machine and its log; the next run goes on from the "
            "last checkpoint.",
            self._rank,
            lost,
        )
        logging.shutdown()
        sys.stderr.flush()
        os._exit(1)
