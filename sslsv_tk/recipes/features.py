"""Are the features of data directories kept, or is everything computed from audio?

Frames of two makers differ in window, scale and floor, so all sets of a run are of one kind.
"""

import os

from sslsv_tk.recipes.corpora import Corpora
from sslsv_tk.recipes.options import Mistake, Options


def decide(options: Options, corpora: Corpora, datadir: str) -> str:
    """keep or compute, from --features and from what is on disk."""
    if options.feats_type == "raw":
        if options.features == "keep":
            raise Mistake("--features keep needs --feats-type fbank: raw is audio")
        return "compute"
    decided = options.features
    if decided == "auto":
        looked_at = list(corpora.folders)
        if options.stage > 1:  # the folders may be gone, or may not have been named again
            looked_at += [f"{datadir}/{name}" for name in corpora.names]
        decided = "keep" if any(_has_features_alone(folder) for folder in looked_at) else "compute"
    if decided == "keep" and options.stage == 1:
        for folder in corpora.folders:
            if os.path.isdir(folder) and not os.path.isfile(f"{folder}/feats.scp"):
                raise ValueError(
                    f"{folder} has no feats.scp, but other sets keep the features that they came with, and frames of "
                    "two makers cannot be mixed. Give features of this set too, or audio (wav.scp) of all and "
                    "--features compute."
                )
    return decided


def consequence(corpora: Corpora) -> str:
    """What keeping features means for training."""
    reason = "they would be computed by our front end, and frames of two makers are not mixed"
    for folder in corpora.folders:
        if _has_features_alone(folder):
            reason = f"they are made of audio, and {folder} has no wav.scp"
    return (
        f"features are taken as they are, without copies with noise, music, babble or reverberation ({reason}): "
        "training uses the clean features alone, and stage 2 is left out"
    )


def _has_features_alone(folder: str) -> bool:
    return os.path.isfile(f"{folder}/feats.scp") and not os.path.isfile(f"{folder}/wav.scp")
