"""Speaker encoders trained from audio without labels: SimCLR, then self-supervised positive sampling (SSPS).

The public names below are imported when they are first used (PEP 562), so that `import sslsv_tk` and the parts that
need no torch stay light: `sslsv_tk.equal_error_rate` loads numpy and scipy only.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "AudioArchive": "sslsv_tk.arks.audio_archive",
    "DataDirectory": "sslsv_tk.kaldi.directories",
    "read_trials": "sslsv_tk.kaldi.trials",
    "cosine_scores": "sslsv_tk.scoring.cosine",
    "equal_error_rate": "sslsv_tk.scoring.metrics",
    "minimum_dcf": "sslsv_tk.scoring.metrics",
    "Segment": "sslsv_tk.segments",
    "Encoder": "sslsv_tk.encoders.base",
    "Method": "sslsv_tk.methods.base",
    "nt_xent_loss": "sslsv_tk.methods.simclr",
    "PositiveSampler": "sslsv_tk.positives.base",
    "SamplerFacts": "sslsv_tk.positives.base",
    "SSPSLive": "sslsv_tk.positives.ssps_live",
    "spherical_kmeans": "sslsv_tk.clustering.kmeans",
    "LogMel": "sslsv_tk.frontend.logmel",
    "SystemConfig": "sslsv_tk.systems.configuration",
    "load_system": "sslsv_tk.systems.assembly",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'sslsv_tk' has no attribute {name!r}; its names: {', '.join(__all__)}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
