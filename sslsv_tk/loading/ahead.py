"""Batches on the GPU one ahead: the next one is copied there while the model is at work on the one before."""

from collections.abc import Iterator

import torch

from sslsv_tk.loading.datasets import Batch


def on_device(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The same batches on `device`; on a GPU each is asked for, and its copy begun, before its turn.

    The copies run in a stream of their own. What works on a batch waits for its copy alone, and the memory that it came
    from is used again only when the copy is done.
    """
    if device.type != "cuda":
        yield from (batch.to(device) for batch in batches)
        return
    stream = torch.cuda.Stream(device)
    waiting: tuple[Batch, torch.cuda.Event] | None = None
    for batch in batches:
        if waiting is not None:
            waiting[1].synchronize()  # the step before it has been at work since: it is done
        with torch.cuda.stream(stream):
            copy = batch.to(device)
            done = stream.record_event()
        if waiting is not None:
            yield _turn(*waiting, device)
        waiting = copy, done
    if waiting is not None:
        yield _turn(*waiting, device)


def _turn(batch: Batch, copied: torch.cuda.Event, device: torch.device) -> Batch:
    """For the stream of the model: it waits for the copy, and the memory is not given to others before it is done."""
    model = torch.cuda.current_stream(device)
    model.wait_event(copied)
    for tensor in batch.tensors():
        tensor.record_stream(model)
    return batch
