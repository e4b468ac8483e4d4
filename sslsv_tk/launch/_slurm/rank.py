"""One of the processes of a job on several nodes, started by srun.

srun ends all processes as soon as one ends with an error. That is right for a process that died, but one that has
saved its state (RUN_AGAIN) must leave the others the time to end as well: it leaves a mark and ends well.

python3 -m sslsv_tk.launch._slurm.rank MARK COMMAND ...
"""

import os
import signal
import sys
from pathlib import Path

from sslsv_tk.launch._slurm.forwarding import Forwarded
from sslsv_tk.launch.base import RUN_AGAIN


def main(arguments: list[str]) -> int:
    """Run the command; its exit status, but for RUN_AGAIN."""
    mark, *words = arguments
    code = Forwarded([signal.SIGUSR1, signal.SIGTERM]).run(words, os.environ)
    if code == RUN_AGAIN:
        Path(mark).touch()
        return 0
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
