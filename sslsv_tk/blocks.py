"""Blocks of utterances, which the jobs of an array share out: results are the same however many jobs there are."""

BLOCK = 128
"""Utterances of a block. Batches are formed inside a block, never across two."""


def blocks_of_job(utterances: int, job: int, jobs: int) -> range:
    """First rows of the blocks that job number `job` (from 1) of `jobs` computes."""
    starts = range(0, utterances, BLOCK)
    share = len(starts) / jobs
    return starts[round((job - 1) * share) : round(job * share)]
