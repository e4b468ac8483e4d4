"""Which noise, level and response each segment gets: ranges, uniformity, and what is refused."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sslsv_tk.arks.audio_archive import AudioArchive, write_pcm_ark
from sslsv_tk.draws.augmentation import CATEGORIES, Augmentation, AugmentationConfig, AugmentationKind, ClipList
from sslsv_tk.kaldi import tables

MANY = np.arange(6000)
LENGTHS = {"noise": (50, 900, 7), "music": (300,), "speech": (20, 20)}
RANGES = {"noise": (0.0, 15.0), "music": (5.0, 15.0), "speech": (13.0, 20.0)}

Pack = Callable[..., Path]


def pack(folder: Path, lengths: tuple[int, ...], category: str | None = None) -> Path:
    folder.mkdir(parents=True)
    keys = [f"clip{i}" for i in range(len(lengths))]
    waveforms = [np.random.default_rng(n).integers(-9000, 9000, n, dtype=np.int16) for n in lengths]
    pairs = zip(keys, waveforms, strict=True)
    write_pcm_ark(pairs, folder / "wav.ark", folder / "wav.scp", folder / "utt2samples")
    if category is not None:
        tables.write_table(folder / "utt2category", keys, [category] * len(keys))
    return folder


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    for category, lengths in LENGTHS.items():
        pack(tmp_path / f"musan_{category}", lengths, category)
    pack(tmp_path / "rirs", (80, 10, 40, 160))
    return tmp_path


def near_uniform(found: list[object], values: int) -> bool:
    """Pearson's statistic within five deviations of its mean."""
    counts = np.array([*Counter(found).values()] + [0] * (values - len(set(found))))
    expected = len(found) / values
    return bool(((counts - expected) ** 2 / expected).sum() < values - 1 + 5 * np.sqrt(2 * values))


def test_categories_clips_levels_and_responses_are_drawn_uniformly(dump: Path) -> None:
    augmentation = Augmentation.load(AugmentationConfig(), dump)
    assert augmentation.noises is not None
    draws = augmentation.draw(0, 3, MANY, 1)
    assert augmentation.category_rows.keys() == set(CATEGORIES)
    category = np.array(["noise"] * 3 + ["music"] + ["speech"] * 2)[draws.noise]  # in the order of CATEGORIES
    assert near_uniform(category.tolist(), 3)
    assert near_uniform(draws.response.tolist(), 4)
    for name, (low, high) in RANGES.items():
        levels = draws.snr[category == name]
        assert low <= levels.min() < low + 0.1 * (high - low) and high - 0.1 * (high - low) < levels.max() <= high
        assert near_uniform(np.floor(10 * (levels - low) / (high - low)).tolist(), 10)
        assert near_uniform(draws.noise[category == name].tolist(), len(LENGTHS[name]))
    lengths = augmentation.noises.samples[draws.noise]
    assert (draws.noise_start >= 0).all() and (draws.noise_start < lengths).all()
    assert near_uniform(np.floor(5 * draws.noise_start / lengths)[lengths == 900].tolist(), 5)


def test_kinds_are_drawn_uniformly(dump: Path) -> None:
    kinds: tuple[AugmentationKind, ...] = ("none", "reverb", "noise", "both")
    draws = Augmentation.load(AugmentationConfig(kinds), dump).draw(0, 0, MANY, 0)
    pairs = list(zip(draws.response >= 0, np.isfinite(draws.snr), strict=True))
    assert set(pairs) == {(False, False), (True, False), (False, True), (True, True)}
    assert near_uniform([(bool(a), bool(b)) for a, b in pairs], 4)


@pytest.mark.parametrize(
    ("kind", "noises", "responses"), [("reverb", False, True), ("noise", True, False), ("both", True, True)]
)
def test_only_what_is_needed_is_opened_and_every_segment_gets_it(
    dump: Path, kind: AugmentationKind, noises: bool, responses: bool
) -> None:
    augmentation = Augmentation.load(AugmentationConfig((kind,)), dump)
    assert (augmentation.noises is not None, augmentation.responses is not None) == (noises, responses)
    draws = augmentation.draw(0, 0, MANY[:100], 0)
    assert np.isfinite(draws.snr).all() == noises and (draws.response >= 0).all() == responses
    assert np.isinf(draws.snr).any() != noises and (draws.response == -1).any() != responses


def test_no_augmentation_needs_no_folder(tmp_path: Path) -> None:
    augmentation = Augmentation.load(AugmentationConfig(("none",)), tmp_path)
    assert augmentation.noises is None and augmentation.responses is None
    draws = augmentation.draw(0, 0, MANY[:10], 0)
    assert np.isposinf(draws.snr).all() and (draws.response == -1).all()


def test_draws_do_not_depend_on_the_batch_and_differ_between_views_epochs_and_seeds(dump: Path) -> None:
    augmentation = Augmentation.load(AugmentationConfig(), dump)
    together = augmentation.draw(1, 2, MANY, 3)
    some = augmentation.draw(1, 2, MANY[[77, 5]], 3)
    for name in ("noise", "noise_start", "snr", "response"):
        assert (getattr(some, name) == getattr(together, name)[[77, 5]]).all()
    for key in ((0, 2, 3), (1, 3, 3), (1, 2, 4), (1, 2, -1)):
        assert (augmentation.draw(key[0], key[1], MANY, key[2]).snr != together.snr).mean() > 0.99


def test_a_category_may_be_absent(dump: Path) -> None:
    (dump / "musan_music").rename(dump / "elsewhere")
    augmentation = Augmentation.load(AugmentationConfig(), dump)
    assert set(augmentation.category_rows) == {"noise", "speech"}
    draws = augmentation.draw(0, 0, MANY, 0)
    assert set(draws.noise) == set(range(5))
    assert draws.snr[draws.noise >= 3].min() >= 13.0


def test_a_clip_is_read_from_its_own_folder(dump: Path) -> None:
    archives = [AudioArchive(dump / "musan_noise"), AudioArchive(dump / "musan_music")]
    clips = ClipList(archives)
    assert len(clips) == 4 and clips.samples.tolist() == [50, 900, 7, 300]
    assert (clips.read_looped(1, 100, 50) == archives[0].read(1, 100, 50)).all()
    assert (clips.read_looped(3, 290, 20) == archives[1].read(0, 0, 300).take(range(290, 310), mode="wrap")).all()
    assert (clips.read_padded(2, 10) == [*archives[0].read(2, 0, 7), 0, 0, 0]).all()
    assert clips.read_padded(-1, 3).tolist() == [32767, 0, 0]


# what is refused


def test_a_wrong_category_names_its_line(dump: Path) -> None:
    path = dump / "musan_noise" / "utt2category"
    tables.write_table(path, ["clip0", "clip1", "clip2"], ["noise", "speech", "noise"])
    with pytest.raises(ValueError, match=rf"^{path}:2: expected the category noise, found 'speech'\.$"):
        Augmentation.load(AugmentationConfig(), dump)


def test_a_missing_category_column_is_refused(dump: Path) -> None:
    (dump / "musan_speech" / "utt2category").unlink()
    with pytest.raises(ValueError, match=r"musan_speech/utt2category: not found\. Run stage 2 and 3 again"):
        Augmentation.load(AugmentationConfig(), dump)


def test_missing_folders_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no musan_noise, musan_music or musan_speech\. Run stages 2 and 3, or set"):
        Augmentation.load(AugmentationConfig(("noise",)), tmp_path)
    with pytest.raises(ValueError, match=r"no rirs\. Run stages 2 and 3, or set augmentation\.kinds to \[noise\]"):
        Augmentation.load(AugmentationConfig(("reverb",)), tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rirs").mkdir()
    with pytest.raises(ValueError, match=r"rirs: no wav\.scp, so not a folder of packed audio"):
        Augmentation.load(AugmentationConfig(("reverb",)), tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kinds": ()}, r"augmentation.kinds is empty; for no augmentation write kinds: \[none\]"),
        ({"noise_db": (3.0, 2.0)}, r"noise_db: the lower end 3.0 is above the upper end 2.0"),
        ({"music_db": (3.0, 2.0)}, "music_db"),
        ({"speech_db": (3.0, 2.0)}, "speech_db"),
        ({"power_floor": 0.0}, "power_floor keeps silence finite: expected above 0, found 0.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AugmentationConfig(**settings)  # type: ignore[arg-type]
