#!/usr/bin/env python3
"""Make the corpus of the mini recipe: generated voices in the folders of VoxCeleb, MUSAN and RIRS_NOISES.

OUT/voxceleb2/wav/idXXXXX/<video>/00001.wav     training, many recordings per speaker
OUT/voxceleb1/wav/id1xxxx/<video>/00001.wav     test, and OUT/voxceleb1/veri_test2.txt
OUT/musan/{noise,music,speech}/<source>/*.wav   OUT/rirs/<room>/*.wav
OUT/made.json                                   what made it; the folder is complete or absent
"""

import argparse
import contextlib
import multiprocessing
import os
import shutil
import socket
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from pathlib import Path

import numpy as np
from mini import augmentation, lists
from mini.channel import draw_channel, record
from mini.options import TINY, CorpusOptions
from mini.synthesis import RATE_HZ, speak
from mini.voice import draw_speaker, in_session
from numpy.typing import NDArray

from sslsv_tk import artifacts, config, logs, records, seeds
from sslsv_tk.records import Made

VERSION = 1  # raise when the same options make other audio
log = logs.logger("make_mini_corpus")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", required=True, help="folder to make")
    parser.add_argument("--seed", type=int, default=0, help="another seed is another corpus (default 0)")
    parser.add_argument(
        "--tiny",
        choices=["true", "false"],
        default="false",
        help="seconds of work instead of a minute, for tests of files; error rates on it mean nothing",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another value for an option of mini/options.py, as in --set 'noise_snr_db=[8, 25]' (may be repeated)",
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes; the result is the same")
    parser.add_argument("--force", choices=["true", "false"], default="false", help="make it anew")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(arguments)
    if args.jobs < 1:
        raise ValueError(f"--jobs must be at least 1, found {args.jobs}.")
    preset = TINY if args.tiny == "true" else ()
    options = config.load(CorpusOptions, overrides=[*preset, f"seed={args.seed}", *args.set])
    made_by = {"version": VERSION, **config.to_dict(options)}
    out = Path(args.out)
    if args.force == "false" and _is_there(out, made_by):
        log.info("%s: already made with these options, nothing to do", out)
        return
    started = time.monotonic()
    with _appearing(out, replace=args.force == "true") as folder:
        counts = make(folder, options, args.jobs)
        records.write(folder, Made(made_by, {}))
    log.info("%s: %s in %.0f s", out, counts, time.monotonic() - started)


def _is_there(out: Path, made_by: dict[str, object]) -> bool:
    """True for a complete corpus made so; raises for one made otherwise and for a folder that is something else."""
    if records.made_as(out, made_by, {}):
        return True
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"{out} is there and is not a generated corpus (it has no {artifacts.RECORD})."
            " Name another --out or remove it."
        )
    return False


@contextlib.contextmanager
def _appearing(out: Path, replace: bool) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its name when the block ends without an error."""
    out.parent.mkdir(parents=True, exist_ok=True)
    _sweep(out)
    temporary = out.with_name(f".{out.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        if replace and out.exists():
            out.rename(f"{temporary}.old")
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(f"{temporary}.old", ignore_errors=True)


def _sweep(out: Path) -> None:
    """Remove what a killed run on this machine left behind."""
    for left in out.parent.glob(f".{out.name}.{socket.gethostname()}.*.tmp*"):
        number = left.name.rpartition(".tmp")[0].rpartition(".")[2]
        try:
            os.kill(int(number), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(left, ignore_errors=True)
        except PermissionError:  # somebody else's running process
            continue


def make(folder: Path, options: CorpusOptions, jobs: int) -> str:
    """Write the whole corpus into `folder`; the return value says how much it is."""
    recordings = lists.plan(options)
    work: list[tuple[Callable[..., None], tuple[object, ...]]] = [
        (make_recordings, (folder, options, group)) for group in _by_speaker(recordings)
    ]
    work += [(make_sound, (folder, options, *file)) for file in augmentation.sound_files(options)]
    work += [(make_room, (folder, options, room)) for room in range(options.rooms)]
    _run(work, jobs)
    trials = lists.trial_lines(options, recordings)
    with artifacts.replacing(folder / "voxceleb1" / "veri_test2.txt") as stream:
        stream.writelines(f"{line}\n" for line in trials)
    counts = {part: sum(r.utterances for r in recordings if r.part == part) for part in ("train", "test")}
    return f"{counts['train']} training and {counts['test']} test utterances, {len(trials)} trials"


def _by_speaker(recordings: Sequence[lists.Recording]) -> list[list[lists.Recording]]:
    groups: dict[tuple[str, int], list[lists.Recording]] = {}
    for recording in recordings:
        groups.setdefault((recording.part, recording.speaker), []).append(recording)
    return list(groups.values())


def make_recordings(folder: Path, options: CorpusOptions, recordings: Sequence[lists.Recording]) -> None:
    """All utterances of one speaker."""
    part, number = recordings[0].part, recordings[0].speaker
    random = seeds.generator(options.seed, "speaker", part, number)
    speaker = draw_speaker(options, lists.low_voice(number), random)
    for recording in recordings:
        random = seeds.generator(options.seed, "recording", part, number, recording.number)
        channel = draw_channel(options, random)
        voice = in_session(speaker, options, random)
        for utterance in range(recording.utterances):
            random = seeds.generator(options.seed, "utterance", part, number, recording.number, utterance)
            speech = speak(voice, random.uniform(*options.utterance_seconds), random)
            _write(folder / recording.folder / f"{utterance + 1:05d}.wav", record(channel, speech, random))


def make_sound(folder: Path, options: CorpusOptions, category: str, path: str, number: int) -> None:
    """One file of the MUSAN-like tree."""
    _write(folder / path, augmentation.make_sound(options, category, number))


def make_room(folder: Path, options: CorpusOptions, room: int) -> None:
    """The responses of one room."""
    for place in range(options.responses_per_room):
        name = f"Room{room + 1:03d}"
        path = folder / "rirs" / name / f"{name}-{place + 1:05d}.wav"
        _write(path, augmentation.make_response(options, room, place))


def _write(path: Path, samples: NDArray[np.int16]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as stream:
        stream.setparams((1, 2, RATE_HZ, samples.size, "NONE", ""))
        stream.writeframes(samples.astype("<i2").tobytes())


def _run(work: Sequence[tuple[Callable[..., None], tuple[object, ...]]], jobs: int) -> None:
    """Do every piece of work; the first error stops the rest."""
    if jobs == 1:
        for function, arguments in work:
            function(*arguments)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(work)), mp_context=context, initializer=_end_with_parent) as pool:
        futures: list[Future[None]] = [pool.submit(function, *arguments) for function, arguments in work]
        try:
            for future in futures:
                future.result()
        except BrokenProcessPool:
            raise OSError("A worker was killed, for want of memory perhaps. Use fewer --jobs.") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever; a thread ends it."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(logs.run_command(main))
