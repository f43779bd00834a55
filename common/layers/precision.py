"""Parts of a network or a loss that half precision would spoil."""

from contextlib import AbstractContextManager, nullcontext

import torch


def full_precision(device: str) -> AbstractContextManager[object]:
    """No autocast; the meta device, on which operations are counted, has none to switch off."""
    if torch.amp.is_autocast_available(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()
