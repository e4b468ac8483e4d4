"""How many jobs, GPUs, processes and threads: as the options say, else as the machine or the cluster has them."""

from collections.abc import Callable
from dataclasses import dataclass

from sslsv_tk import gpus
from sslsv_tk.recipes.options import Mistake, Options


@dataclass(frozen=True)
class Machine:
    """What the launcher is asked for."""

    nj: int  # jobs of an array
    ngpu: int  # of each machine that trains; 0: the CPU
    num_threads: int  # of each process that trains
    processes: int  # that run.sh itself starts on the one machine; 1: none, or the launcher of a cluster does

    @property
    def trainer_threads(self) -> int:
        """Threads of all processes of one machine that run.sh starts."""
        return self.num_threads * self.processes

    @property
    def trainer(self) -> list[str]:
        """The words that a training command begins with."""
        several = ["sslsv_tk.bin.run_processes", "--processes", str(self.processes), "python3", "-m"]
        return ["python3", "-m", *(several if self.processes > 1 else []), "sslsv_tk.bin.train"]


def decide(options: Options, batch_size: Callable[[], int]) -> Machine:
    """`batch_size` is asked only where several GPUs would share a batch."""
    nodes, nj, ngpu, threads = int(options.num_nodes), 16, 1, 4
    if options.cmd_backend == "local":
        if nodes > 1:
            raise Mistake(f"--num-nodes {nodes}: this is one machine. Choose a cluster in cmd.sh, or --num-nodes 1")
        nj = options.cores
        ngpu = _usable(len(gpus.visible_gpus()), batch_size) if options.ngpu == "auto" else 0
    nj, ngpu = (default if word == "auto" else int(word) for word, default in ((options.nj, nj), (options.ngpu, ngpu)))
    if options.cmd_backend == "local":
        if ngpu > 0 and _uses_gpus(options):
            _refuse_missing_gpus(ngpu)
            _refuse_unusable_gpus()
        threads = options.cores // ngpu if options.cores > ngpu > 0 else options.cores
    threads = threads if options.num_threads == "auto" else int(options.num_threads)
    return Machine(nj, ngpu, threads, ngpu if nodes == 1 and ngpu > 1 else 1)


def _usable(there: int, batch_size: Callable[[], int]) -> int:
    """As many as there are, or fewer, so that each gets as much of a batch."""
    if there <= 1:
        return there
    batch = batch_size()
    return next(count for count in range(there, 0, -1) if batch % count == 0)


def _uses_gpus(options: Options) -> bool:
    """Stages 1, 2 and 7 have no use for one."""
    return int(options.stop_stage) >= 3 and int(options.stage) <= 6


def _refuse_missing_gpus(wanted: int) -> None:
    there = len(gpus.visible_gpus())
    if wanted > there:
        advice = f"--ngpu {there}, or --ngpu 0 for the CPU" if there else "--ngpu 0 for the CPU"
        raise Mistake(f"--ngpu {wanted}: this machine offers {there} GPUs (nvidia-smi, CUDA_VISIBLE_DEVICES). {advice}")


def _refuse_unusable_gpus() -> None:
    """Before any work: else it would be known only after the hours of the stages before training."""
    reason = gpus.unusable()
    if reason is not None:
        raise ValueError(reason)
