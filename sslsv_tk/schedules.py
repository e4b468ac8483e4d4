"""Schedules are pure functions of the progress of training."""


def stepwise_decay(initial: float, factor: float, every: int, epoch: int) -> float:
    """`initial`, multiplied by `factor` once per `every` whole epochs done (epoch counts from 0)."""
    return initial * factor ** (epoch // every)
