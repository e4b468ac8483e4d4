"""Steps of stages 4 to 7 that read no audio: draws of an epoch, tables of training, loader workers, scores.

Torch is loaded by the steps that need it alone, so that the others show what they take themselves.
"""

import itertools
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from full_size_steps import tables as synthetic
from full_size_steps.site import Site, Step, entering
from sslsv_tk import seeds
from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.draws.augmentation import Augmentation, AugmentationConfig
from sslsv_tk.extraction.folder import EmbeddingFolder
from sslsv_tk.kaldi import tables
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.layout import embeddings_folder
from sslsv_tk.loading.batches import BatchRequest, EpochBatches
from sslsv_tk.report.evaluation import Evaluation, evaluate

STEPS: dict[str, Step] = {}
step = entering(STEPS)
BATCH, VIEWS, SEGMENT = 256, 2, 32_000
WORKERS, WORKER_BATCHES = 4, 40
CLUSTERS, DIMENSION = 25_000, 512
JOBS = 4


def requests(site: Site, utterances: int) -> Iterator[BatchRequest]:
    """The batches of epoch 1."""
    return EpochBatches(utterances, min(BATCH, utterances), seed=0).epoch(1)


@step("order of an epoch")
def order(site: Site) -> str:
    with site.clock():
        found = list(requests(site, site.size.utterances))
    return f"{len(found):,} batches of {BATCH}"


@step("draws of segments and augmentation for an epoch")
def draws(site: Site) -> str:
    archive = AudioArchive(site.packed)
    augmentation = Augmentation.load(AugmentationConfig(), site.packed.parent)
    with site.clock():
        for request in requests(site, len(archive)):
            for view in range(VIEWS):
                u = seeds.uniform(1, 0, "segment", request.epoch, request.utterance_B, view)[:, 0]
                seeds.choose(np.maximum(archive.samples[request.utterance_B] - SEGMENT, 0) + 1, u)
                augmentation.draw(0, request.epoch, request.utterance_B, view)
    return f"{VIEWS} views"


@step("nothing: with torch")
def torch_alone(site: Site) -> None:
    import torch  # noqa: F401


@step("tables of training: codes of speakers and recordings, partners of the oracle")
def training_tables(site: Site) -> None:
    import torch

    from sslsv_tk.monitoring.diagnostics import PositiveDiagnostics
    from sslsv_tk.positives.base import SamplerFacts
    from sslsv_tk.positives.same_speaker import SameSpeaker, SameSpeakerConfig

    with site.clock():
        archive = AudioArchive(site.packed)
        speakers, recordings = archive.read_codes("utt2spk"), archive.read_codes("utt2rec")
        PositiveDiagnostics(torch.device("cpu"), speakers, recordings)
        sampler = SameSpeaker(SameSpeakerConfig(), SamplerFacts(len(archive), speakers=speakers, recordings=recordings))
        sampler.start_epoch(0)


@step("(headers of the utterances that the workers read)")
def headers(site: Site) -> None:
    wanted = itertools.islice(requests(site, site.size.utterances), WORKER_BATCHES)
    batches = [request.utterance_B for request in wanted]
    synthetic.write_headers(site.packed, np.sort(np.concatenate(batches)))


@step(f"{WORKERS} loader workers, {WORKER_BATCHES} batches")
def workers(site: Site) -> str:
    from sslsv_tk.loading.datasets import TrainingAudio
    from sslsv_tk.loading.loader import loader
    from sslsv_tk.segments import Segment

    archive = AudioArchive(site.packed)
    augmentation = Augmentation.load(AugmentationConfig(), site.packed.parent)
    plan = (Segment(2.0, "anchor", True), Segment(2.0, "positive", True))
    dataset = TrainingAudio(archive, plan, 0, augmentation)
    wanted = list(requests(site, len(archive)))[:WORKER_BATCHES]
    with site.clock():
        batches = iter(loader(dataset, wanted, WORKERS, pin_memory=False))
        for _ in range(max(1, len(wanted) - WORKERS * 4)):  # the first one starts the workers
            next(batches)
    shares = [proportional_megabytes(child) for child in children()]
    for _ in batches:
        pass
    own, segments = (max(column) for column in zip(*shares, strict=True))
    return f"of a worker {own:.0f} MB (proportional set size), and {segments:.0f} MB of prefetched batches"


def children() -> list[int]:
    """Processes that this one started."""
    return [int(word) for word in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def proportional_megabytes(process: int) -> tuple[float, float]:
    """Memory in which each page counts by its share among all who have it: programs and tables; shared batches."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    kilobytes = {name: int(count) for name, count in re.findall(r"^Pss(\w*): +(\d+) kB", text, re.MULTILINE)}
    shared = kilobytes["_Shmem"]
    return (kilobytes[""] - shared) * 1024 / 1e6, shared * 1024 / 1e6


@step("tables of ssps_kmeans (no k-means), one batch chosen and queued")
def sampler(site: Site) -> str:
    import torch

    from sslsv_tk.positives.base import SamplerFacts
    from sslsv_tk.positives.ssps_kmeans import SSPSKMeans, SSPSKMeansConfig

    utterances = site.size.utterances
    clusters = min(CLUSTERS, utterances // 4)
    batch = torch.arange(min(BATCH, utterances))
    rows = torch.nn.functional.normalize(torch.randn(len(batch), DIMENSION), dim=1)
    with site.clock():
        facts = SamplerFacts(utterances, 0, torch.device("cpu"), DIMENSION, DIMENSION)
        made = SSPSKMeans(SSPSKMeansConfig(clusters=clusters), facts)
        state = made.state_dict()
        state["clusters.assignments_N"] = torch.randint(clusters, (utterances,), dtype=torch.int32)
        state["clusters.neighbours_KM"] = ((torch.arange(clusters)[:, None] + 1) % clusters).int()
        made.load_state_dict({**state, "filling.epoch": 0})
        made.replace(rows[None], batch)
        made.observe(rows[None], batch, rows[None])
    return f"K {clusters:,}, D {DIMENSION}; state given and taken, so its arrays are there twice"


@step("(embeddings of the training set, places only)")
def places(site: Site) -> None:
    folder, keys = embedding_folder(site), AudioArchive(site.packed).keys
    offsets = np.arange(len(keys)) * 2100 + 30
    bounds = [job * len(keys) // JOBS for job in range(JOBS + 1)]
    for job in range(1, JOBS + 1):
        part, share = folder.part(job), slice(bounds[job - 1], bounds[job])
        ark = f"{part / 'xvector.ark'}:".encode()
        with folder.parts.writing(job, folder.made) as writer:
            tables.write_table(part / "xvector.scp", keys[share], tables.joined(ark, tables.as_words(offsets[share])))
            writer.facts["epochs"] = [1]


def embedding_folder(site: Site) -> EmbeddingFolder:
    """Of the training set."""
    return EmbeddingFolder(
        site.folder / "exp" / "system" / "embeddings" / "train", JOBS, {"checkpoint": "averaged"}, {}
    )


@step("embeddings of all utterances joined (finish_extraction)")
def join_embeddings(site: Site) -> None:
    archive = AudioArchive(site.packed)
    with site.clock():
        embedding_folder(site).join(archive)


@step("(embeddings of the test set)")
def embeddings(site: Site) -> None:
    data = site.folder / "data" / "test"
    keys = DataDirectory.load(data).keys
    synthetic.write_embeddings(embeddings_folder(site.folder / "exp" / "system", data, "averaged"), keys, DIMENSION)


@step("trials scored, EER, minDCF and interval (score_trials)")
def scores(site: Site) -> str:
    data = site.folder / "data" / "test"
    evaluation = Evaluation(site.folder / "exp" / "system", "averaged", data, data / "trials_E")
    with site.clock():
        evaluate(evaluation)
    shutil.rmtree(site.folder / "exp")
    return f"{site.size.trials:,} trials"
