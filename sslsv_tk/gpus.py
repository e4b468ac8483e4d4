"""Which GPUs the driver offers to this process, and whether torch can use them; torch is loaded only to find out."""

import os
import re
import subprocess
import warnings

_GPU_NAME = re.compile(r"\d+|(GPU|MIG)-[\w/-]+")


def visible_gpus() -> list[str]:
    """The GPUs that jobs may be given: those of CUDA_VISIBLE_DEVICES where it is set, else all that there are.

    As CUDA reads it: names up to the first that is none (-1, NoDevFiles, nothing), and no GPU where one is named twice.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return [str(index) for index, _ in enumerate(_nvidia_smi("--list-gpus", r"GPU "))]
    names: list[str] = []
    for name in (word.strip() for word in named.split(",")):
        if not _GPU_NAME.fullmatch(name):
            break
        names.append(name)
    return names if len(set(names)) == len(names) else []


def unusable() -> str | None:
    """Why torch cannot use the GPU that the driver offers, and what to do; None: it can, or none is offered."""
    offered = _nvidia_smi("--list-gpus", r"GPU \d+: (.+?)(?: \(UUID|$)")
    if not offered or not visible_gpus():
        return None
    reason = _first_use()
    if reason is None:
        return None
    import torch

    drivers = _nvidia_smi("--query-gpu=driver_version --format=csv,noheader", r"([\d.]+)$")
    built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (
        f"The driver ({', '.join(sorted(set(drivers))) or 'version unknown'}) offers {len(offered)} GPU "
        f"({', '.join(sorted(set(offered)))}{'' if shown is None else f'; CUDA_VISIBLE_DEVICES={shown}'}), but torch "
        f"{torch.__version__}, built {built}, cannot use it: {reason}. Update the driver, or install a torch for the "
        'CUDA version that nvidia-smi shows: SSLSV_VENV=/new/folder tools/install.sh --pip-options "--index-url URL". '
        "The CPU: --ngpu 0 (of one command: --device cpu)."
    )


def _first_use() -> str | None:
    """What torch says when it is asked for one number on the GPU; None: it is there."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an old driver, which the error says too
        try:
            torch.ones(1, device="cuda").cpu()
        except (AssertionError, RuntimeError) as error:
            return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return None


def _nvidia_smi(words: str, pattern: str) -> list[str]:
    """What the pattern finds at the start of the lines that nvidia-smi prints; nothing where there is no driver."""
    command = ["nvidia-smi", *words.split()]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    found = [re.match(pattern, line) for line in listing.splitlines()]
    return [match[match.re.groups] for match in found if match]
