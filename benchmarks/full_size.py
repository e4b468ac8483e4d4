"""Time and peak memory of every step that reads no audio, at the size of VoxCeleb2: 1.1 million utterances.

    python3 benchmarks/full_size.py                          # 1,092,009 utterances, some minutes, 5 GB of disk
    python3 benchmarks/full_size.py --utterances 100000 --folder /tmp/size --steps write load validate

Each step runs in a process of its own on what the steps before it left; its memory is the largest resident set of
that process, the interpreter and its libraries included, which two rows give alone. Steps in brackets only make input.
On a busy machine the processor's seconds tell more than those of the wall. Names, lengths, clips and embeddings are
drawn at random; arks are holes on the disk.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import beside
from full_size_steps import STEPS
from full_size_steps.site import Site
from full_size_steps.tables import Size

MEGABYTE = 1e6


def get_parser() -> argparse.ArgumentParser:
    parser = beside.parser(__doc__)
    parser.add_argument("--utterances", type=int, default=Size().utterances, help="N (default: %(default)s)")
    parser.add_argument("--files", type=int, default=20_000, help="empty files that are really walked (%(default)s)")
    parser.add_argument("--steps", nargs="+", choices=list(STEPS), default=list(STEPS), metavar="STEP")
    parser.add_argument("--folder", type=Path, help="where to work, and to leave what was made (default: temporary)")
    return parser


def measured(name: str, site: Site) -> str:
    """The row of one step, from a process of its own."""
    forking = multiprocessing.get_context("fork")
    receiving, sending = forking.Pipe(duplex=False)
    child = forking.Process(target=run_step, args=(name, site, sending))
    child.start()
    sending.close()
    try:
        row: str = receiving.recv()
    except EOFError:
        raise SystemExit(f"the step {name} failed") from None
    child.join()
    return row


def run_step(name: str, site: Site, sending: Connection) -> None:
    """In the child: one step and its row of the table."""
    note = STEPS[name].work(site) or ""
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE
    figures = f"{site.seconds:.1f} | {site.processor_seconds:.1f} | {megabytes:.0f}"
    sending.send(f"| {STEPS[name].what} | {figures} | {note} |")


def main() -> int:
    options = beside.parsed(get_parser())
    if options.smoke:
        options.utterances, options.files = 3000, 100
    started = time.strftime("%Y-%m-%d %H:%M")
    print(f"{options.utterances:,} utterances, {started}, load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores\n")
    print("| step | s | processor s | peak MB | note |\n| --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        site = Site((options.folder or Path(temporary)).absolute(), Size.of(options.utterances), options.files)
        for name in options.steps:
            print(measured(name, site), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
