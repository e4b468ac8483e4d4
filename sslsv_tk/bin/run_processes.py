"""Starts a command several times on this machine, as processes that train together, and ends all when one fails.

Each gets RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in its environment, as torchrun would set them, and
its part of OMP_NUM_THREADS.
Other than torchrun it hands SIGTERM, SIGINT and SIGUSR1 on and ends with the exit status of the processes, so that a
training that saved its state and asks to be run again (status 75) says so to whoever started it.
"""

import argparse
import sys
from collections.abc import Sequence

from sslsv_tk import logs
from sslsv_tk.launch import _processes


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, required=True, help="how many; on GPUs one for each")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND ...", help="what to start")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Start and wait."""
    parser = get_parser()
    options = parser.parse_args(arguments)
    if options.processes < 1 or not options.words:
        parser.error("expected --processes N, at least 1, and a command")
    return _processes.run(options.words, options.processes)


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
