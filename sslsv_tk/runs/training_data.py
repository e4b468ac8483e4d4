"""What a system reads: packed audio or computed features, as its frontend.feats_type says."""

from dataclasses import dataclass
from pathlib import Path

import torch

from sslsv_tk.arks import feature_archive
from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.arks.feature_archive import Archive, CopiedFeatures, FeatureArchive
from sslsv_tk.corpora import kept_features
from sslsv_tk.distributed.collectives import processes
from sslsv_tk.draws.augmentation import AUGMENTATION_SETS, Augmentation
from sslsv_tk.frontend.features import FrontEnd
from sslsv_tk.frontend.settings import LogMelConfig
from sslsv_tk.loading.datasets import TrainingAudio, TrainingFeatures, TrainingSegments
from sslsv_tk.methods.base import Method
from sslsv_tk.segments import SegmentPlan
from sslsv_tk.systems.configuration import SystemConfig
from sslsv_tk.training.inputs import Inputs, keep_on_device


def open_checked(config: LogMelConfig, folder: Path, compares: bool = False) -> Archive:
    """Audio for feats_type raw, features for fbank; ValueError where the folder holds the other or other settings.

    `compares`: every block that is read is compared with its sum.
    """
    archive = _open(config, folder)
    archive.compares = compares
    return archive


def _open(config: LogMelConfig, folder: Path) -> Archive:
    feature_archive.refuse_other_kind(config.feats_type, folder)
    if config.feats_type == "raw":
        return AudioArchive(folder)
    kept_features.check_maker(folder, config.frames)
    archive = FeatureArchive(folder)
    feature_archive.check_settings(archive, config.of_frames())
    return archive


def folders(config: SystemConfig, train_set: Path, augmentation: Path) -> list[Path]:
    """The folders that training reads, the training set first."""
    if config.augmentation.is_off:
        return [train_set]
    if config.frontend.feats_type == "raw":
        return [train_set, *(augmentation / name for name in AUGMENTATION_SETS)]
    if config.augmentation.frames == "drawn":
        return [train_set, *(raw_clips(augmentation) / name for name in AUGMENTATION_SETS)]
    copies = [name for name in config.augmentation.copies if name != "clean"]
    return [train_set, *(train_set.with_name(f"{train_set.name}_{name}") for name in copies)]


@dataclass(frozen=True)
class Cut:
    """What is cut from the material, for whom, and where its input is computed."""

    config: SystemConfig
    method: Method
    references: SegmentPlan
    device: torch.device


def make(cut: Cut, archive: Archive, clips: Path) -> tuple[TrainingSegments, Inputs]:
    """The segments of a run, and what makes the encoder's input of them; `clips` has the lists that audio needs."""
    if isinstance(archive, FeatureArchive):
        return _cut_from_features(cut, archive, clips)
    return _cut_from_audio(cut, archive, clips)


def _cut_from_audio(cut: Cut, archive: AudioArchive, clips: Path) -> tuple[TrainingSegments, Inputs]:
    """Segments cut from audio, augmented on the device."""
    config, method = cut.config, cut.method
    augmentation = None if config.augmentation.is_off else Augmentation.load(config.augmentation, clips)
    if augmentation is not None:
        augmentation.compare(config.training.compare_reads)
    on_device = augmentation is None or keep_on_device(augmentation, cut.device)
    segments = TrainingAudio(
        archive, method.segments, config.training.seed, augmentation, cut.references, read_clips=not on_device
    )
    front_end = FrontEnd(config.frontend, method.encoder.input, config.augmentation.power_floor)
    return segments, Inputs(front_end, cut.device, augmentation, on_device)


def raw_clips(folder: Path) -> Path:
    """Where packed noises and responses lie, when `folder` is dump/raw or dump/fbank."""
    return folder.with_name("raw") if folder.name == "fbank" else folder


def _cut_from_features(cut: Cut, archive: FeatureArchive, clips: Path) -> tuple[TrainingSegments, Inputs]:
    """Segments cut from the clean features, and from the offline copies beside them or augmented on the device."""
    config, method = cut.config, cut.method
    if method.encoder.input != "logmel":
        raise ValueError(
            f"the encoder {config.encoder.name} eats waveforms, and frontend.feats_type fbank gives log-mel frames."
            " Use feats_type raw."
        )
    augmentation = None
    if config.augmentation.frames == "drawn" and not config.augmentation.is_off:
        if config.frontend.frames == "kept":
            raise ValueError(
                "augmentation.frames drawn needs frames that stage 3 computed, and frontend.frames is kept: their scale"
                " is not known. Use frames: copies."
            )
        augmentation = Augmentation.load(config.augmentation, raw_clips(clips))
        augmentation.compare(config.training.compare_reads)
    has_copies = augmentation is None and not config.augmentation.is_off
    copied = CopiedFeatures(archive, config.augmentation.copies if has_copies else ())
    lengths = (config.training.seed, config.frontend.count_frames)
    segments = TrainingFeatures(copied, method.segments, *lengths, cut.references, augmentation)
    return segments, Inputs(FrontEnd(config.frontend), cut.device, augmentation, on_device=True)


def random_inputs(config: SystemConfig, method: Method, device: torch.device) -> list[torch.Tensor]:
    """Random input of the encoder in the shapes of a step of one process: an entry for each segment of the plan."""
    rows, front_end = max(2, config.training.batch_size // processes()), config.frontend
    samples = [segment.samples for segment in method.segments]
    if method.encoder.input == "waveform":
        return [torch.randn(rows, count, device=device) for count in samples]
    return [torch.randn(rows, front_end.bands, front_end.count_frames(count), device=device) for count in samples]
