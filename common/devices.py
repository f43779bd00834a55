"""Devices that torch can use here."""

import torch

from .errors import InputError, reason_of


def check_device(name: str | None) -> None:
    """Refuse a device that torch cannot use here; None = the config's own choice.

    Raises:
        InputError: names it and torch's reason.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device: found {name!r}, which cannot be used here ({reason_of(error)}), expected cpu or a "
            "device of this machine; choose another or leave it out."
        ) from error
