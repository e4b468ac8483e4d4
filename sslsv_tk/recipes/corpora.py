"""Where the audio is: the training set, the test sets, noises and room responses, named by options or by db.sh."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sslsv_tk.recipes import test_sets
from sslsv_tk.recipes.names import Places
from sslsv_tk.recipes.options import Mistake, Options
from sslsv_tk.recipes.test_sets import ScoredSet, TrialList

_FFMPEG_ALONE = {".m4a", ".mp4", ".aac"}
_LOOKED_AT = 2000
"""Entries of a folder that are looked at to find out of what kind its audio is."""


@dataclass(frozen=True)
class Corpora:
    """What stages 1 and 2 read. Without a training set its name is empty."""

    train_set: str
    train_folders: list[str]
    test_sets: list[ScoredSet]
    lists: list[TrialList]
    musan: str
    rirs: str

    @property
    def folders(self) -> list[str]:
        """Those of the training set, then those of the test sets."""
        return [*self.train_folders, *(test_set.folder for test_set in self.test_sets)]

    @property
    def names(self) -> list[str]:
        """The sets of speech, the training set first."""
        return [*([self.train_set] if self.train_set else []), *(test_set.name for test_set in self.test_sets)]


def find(options: Options, places: Places, environment: Mapping[str, str]) -> Corpora:
    """From the options, and from the variables of db.sh or the generated corpus where they say nothing."""
    known = {name: environment.get(name, "") for name in ("VOXCELEB1", "VOXCELEB2", "MUSAN", "RIRS")}
    if options.generated:
        top = f"{options.datadir or f'data{options.suffix}'}/corpus"
        known = {name: f"{top}/{name.lower()}" for name in known}
    train_set, folders = "voxceleb2_train", [known["VOXCELEB2"]]
    if options.train_audio == "none":
        train_set, folders = "", []
        if (options.stage, options.stop_stage) in ((2, 2), (4, 4), (4, 5), (5, 5)):
            raise Mistake("--train-audio none: stages 2, 4 and 5 are about training")
    elif options.train_audio:
        train_set = "train"
        folders = [places.of(folder) for folder in test_sets.split(places, options.train_audio)]
    sets = test_sets.find_sets(places, options.test_audio, known["VOXCELEB1"])
    lists = test_sets.find_lists(places, options.trials, sets, known["VOXCELEB1"])
    musan, rirs = places.of(options.musan) or known["MUSAN"], places.of(options.rirs) or known["RIRS"]
    return Corpora(train_set, folders, sets, lists, musan, rirs)


def check(corpora: Corpora, stages: set[int], generated: bool) -> None:
    """Is what stages 1 and 2 read there, and does every set that is scored have a list?"""
    about_to_read = 1 in stages and not generated  # a generated corpus is made by then
    if about_to_read:
        for folder in corpora.train_folders:
            _need("VOXCELEB2", "--train-audio", folder)
        for test_set in corpora.test_sets:
            _need("VOXCELEB1", "--test-audio", test_set.folder)
    test_sets.check(corpora.test_sets, corpora.lists, 7 in stages, about_to_read)
    if 2 in stages and not generated:
        _need("MUSAN", "--musan", corpora.musan)
        _need("RIRS", "--rirs", corpora.rirs)
    if about_to_read and shutil.which("ffmpeg") is None:
        _refuse_what_ffmpeg_alone_reads(corpora.folders)


def _need(variable: str, option: str, folder: str) -> None:
    advice = (
        f"Set {variable} in egs/voxceleb/db.sh or in the environment, or give {option} DIR; "
        "--mini true needs no corpus."
    )
    if not folder:
        raise ValueError(f"the folder of {variable} is not known. {advice}")
    if not os.path.isdir(folder):
        raise ValueError(f"{option} or {variable}: there is no folder {folder}. {advice}")


def _refuse_what_ffmpeg_alone_reads(folders: list[str]) -> None:
    for folder in folders:
        for path in _first_entries(folder):
            if os.path.splitext(path)[1].lower() in _FFMPEG_ALONE:
                raise ValueError(
                    f"{path}: needs the program ffmpeg, which is not installed (Debian: apt-get install ffmpeg)."
                )


def _first_entries(folder: str) -> Iterator[str]:
    """Paths of the first files below a folder, as deep as they lie."""
    looked_at = 0
    for top, _, names in os.walk(folder):
        yield from (os.path.join(top, name) for name in names[:_LOOKED_AT])
        looked_at += 1 + len(names)
        if looked_at > _LOOKED_AT:
            return
