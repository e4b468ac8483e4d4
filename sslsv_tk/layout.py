"""Where the parts of a system lie below its folder.

exp/SYSTEM/config.yaml
           checkpoints/
           embeddings/SET/             of the averaged checkpoint
           embeddings/SET_CHECKPOINT/  of any other one (SET_latest, SET_12)
           scores/LIST.{score,json}, scores/LIST_CHECKPOINT.{score,json}
"""

from pathlib import Path

DEFAULT_CHECKPOINT = "averaged"


def with_checkpoint(name: str, checkpoint: str) -> str:
    """The name that a set or a list takes for a checkpoint, so that those of two checkpoints lie side by side."""
    return name if checkpoint == DEFAULT_CHECKPOINT else f"{name}_{checkpoint}"


def embeddings_folder(system: str | Path, data: str | Path, checkpoint: str) -> Path:
    """Where the embeddings of a data directory lie: xvector.{ark,scp}, and made.json when they are complete."""
    return Path(system) / "embeddings" / with_checkpoint(Path(data).name, checkpoint)


def list_name(trials: str | Path) -> str:
    """`data/test/trials_O` is the list O."""
    return Path(trials).name.removeprefix("trials_").removesuffix(".txt")


def score_file(system: str | Path, trials: str | Path, checkpoint: str) -> Path:
    """Where the scores of a trial list lie; the row stands beside it with the ending .json."""
    return Path(system) / "scores" / (with_checkpoint(list_name(trials), checkpoint) + ".score")
