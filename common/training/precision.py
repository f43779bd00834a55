"""Mixed precision in training, on any device."""

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import SimpleInferer
from torch import Tensor

from ..errors import InputError
from ..networks.base import Prediction

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class PrecisionInferer(SimpleInferer):
    """Run the network under autocast and give what it returns in float32, so that the loss is exact.

    MONAI's trainer knows CUDA's autocast alone; this one serves CPUs too. bfloat16 has float32's range, so it
    needs no gradient scaler; float16 does, and `Trainer` makes one.

    Args:
        amp: False computes in float32.
        dtype: "bfloat16" or "float16" (CUDA only).
    """

    def __init__(self, *, amp: bool = False, dtype: str = "bfloat16") -> None:
        super().__init__()
        if dtype not in DTYPES:
            raise InputError(f"amp_dtype: found '{dtype}', expected one of {', '.join(DTYPES)}; choose one.")
        self.amp = amp
        self.dtype = DTYPES[dtype]

    @property
    def scales_gradients(self) -> bool:
        """Whether small gradients would be lost without a scaler."""
        return self.amp and self.dtype == torch.float16

    def __call__(  # type: ignore[override]  # MONAI's gives a tensor
        self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Tensor | Prediction:
        """What `network(inputs, ...)` gives, float32."""
        if self.scales_gradients and inputs.device.type == "cpu":
            raise InputError(
                "amp_dtype: float16 needs CUDA (its gradients are scaled there); use bfloat16 on a CPU."
            )
        with torch.autocast(inputs.device.type, dtype=self.dtype, enabled=self.amp):
            found = super().__call__(inputs, network, *args, **kwargs)
        if isinstance(found, Tensor):
            return found.float()
        logits, features = found
        return Prediction(logits.float(), {name: value.float() for name, value in features.items()})
