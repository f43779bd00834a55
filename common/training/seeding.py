"""Random draws that depend on where a training is, not on how it got there."""

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events


class SeedIterations:
    """Handler that seeds torch's generators before each iteration, from (seed, rank, iteration) alone.

    Dropout and whatever else a network draws then need no stored generator states after a restart. Samples
    and augmentations are seeded by their own number (`OrganSlices`).
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        entropy = (self.seed, idist.get_rank(), engine.state.iteration)
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]) >> 1)
