"""TensorBoard's file of events, written when it is told to be.

TensorBoard's own writer works in a thread, in which a full disk is a traceback; here it is an OSError that names the
file.
"""

import itertools
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sslsv_tk import artifacts

_numbers = itertools.count()


class EventFile:
    """One file of events in a folder; ImportError where tensorboard is not installed."""

    def __init__(self, folder: Path, first_step: int) -> None:
        """`first_step`: what earlier files say of this step and later ones is forgotten."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter
        from torch.utils.tensorboard.summary import scalar

        self._event: Any = Event
        self._scalar: Any = scalar
        folder.mkdir(parents=True, exist_ok=True)
        # The order of names is that of reading; two files of one second and process need a number.
        name = f"{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self._path = folder / f"events.out.tfevents.{name}"
        self._records = RecordWriter(self._path.open("ab"))
        session = SessionLog(status=SessionLog.START)
        self._write({"file_version": "brain.Event:2"}, {"step": first_step, "session_log": session})

    def write(self, kind: str, numbers: Mapping[str, float], step: int) -> None:
        """The numbers of a step, under KIND/NAME."""
        self._write(*({"step": step, "summary": self._scalar(f"{kind}/{name}", n)} for name, n in numbers.items()))

    def _write(self, *events: Mapping[str, Any]) -> None:
        with artifacts.naming(self._path):
            for fields in events:
                self._records.write(self._event(wall_time=time.time(), **fields).SerializeToString())
            self._records.flush()

    def close(self) -> None:
        """Write out what is left."""
        with artifacts.naming(self._path):
            self._records.close()
