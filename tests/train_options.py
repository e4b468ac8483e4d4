"""The words of `train` for the small system."""

from pathlib import Path


def options(
    inputs: Path, system: Path, *settings: str, positives: str | None = None, base: Path | None = None
) -> list[str]:
    """Stage 4 of `system`; with `base`, stage 5."""
    words = ["--config", str(inputs / "system.yaml"), "--train-set", str(inputs / "train")]
    words += ["--augmentation", str(inputs), "--out", str(system), "--device", "cpu"]
    if positives is not None:
        words += ["--positives", str(inputs / f"{positives}.yaml")]
    if base is not None:
        words += ["--continue-from", str(base)]
    return [*words, "--set", *settings] if settings else words
