"""Training in several processes: one a GPU, started by torchrun."""

import atexit
import logging
import os
import sys
from datetime import timedelta

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import distributed

from ..errors import InputError

_log = logging.getLogger(__name__)


def start_processes(*, timeout_minutes: float) -> None:
    """Join the process group that torchrun's environment describes: nccl on GPUs, gloo on CPUs.

    Args:
        timeout_minutes: longest wait for another process before this one gives up; more than a validation
            and a checkpoint take.

    Raises:
        InputError: not started by torchrun.
    """
    if distributed.is_initialized():
        return
    if "RANK" not in os.environ:
        raise InputError(
            "multi_gpu_train.json: RANK is not in the environment, expected torchrun's; start with torchrun "
            "--nproc_per_node=N -m monai.bundle run ..., or leave that config out."
        )
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(minutes=timeout_minutes))


def end_processes() -> None:
    """Leave the process group, and have ignite forget it: a later training of this process is alone again."""
    atexit.unregister(_leave_at_once)
    idist.finalize()
    if distributed.is_initialized():
        distributed.destroy_process_group()


class PeerFailureHandler:
    """Handler that says in plain words when another process of the group ended or fell silent.

    Attach it before handlers that raise exceptions again (MONAI's StatsHandler).
    """

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EXCEPTION_RAISED, self)

    def __call__(self, engine: Engine, error: BaseException) -> None:
        if not (distributed.is_initialized() and _is_communication(error)):
            raise error
        rank, count = distributed.get_rank(), distributed.get_world_size()
        message = (
            f"process {rank} of {count}: another process ended or did not answer in epoch "
            f"{engine.state.epoch} ({str(error).splitlines()[0][:200]}); look for its own error above, "
            f"then start the same command again: training goes on from the newest state."
        )
        _log.error(message)
        atexit.register(_leave_at_once)
        raise InputError(message) from error


def _leave_at_once() -> None:
    """End without the interpreter's tidying up, in which a thread of gloo that still waits can abort it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _is_communication(error: BaseException) -> bool:
    """Whether nccl or gloo raised it. Inside a backward pass, gloo's comes as a plain RuntimeError."""
    words = ("gloo", "nccl", "connection closed by peer", "connection reset", "timed out waiting")
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )
