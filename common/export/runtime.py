"""Exported graphs in the place of the network that they come from, for `VolumeInferer` and measurements."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..networks.base import TextSegmenter
from ..networks.guidance import Guidance
from .graphs import ENDINGS, PARTS, Format

Graph = Callable[..., list[Tensor]]


class ExportedSegmenter(TextSegmenter):
    """Runs `image_encoder` and `decoder` from files; words still go through the network's text encoder.

    Args:
        network: that was exported.
        folder: of the files.
        kind: "onnx" runs in onnxruntime on the CPU, with as many threads as torch; "torchscript" in torch.

    Raises:
        InputError: a file or a package is missing.
    """

    def __init__(self, network: TextSegmenter, folder: Path, kind: Format) -> None:
        super().__init__(
            image_size=network.image_size, default_prompt=network.default_prompt, framing=network.framing
        )
        self.threshold, self.normalisation = network.threshold, network.normalisation
        self._encode_text = network.encode_text
        open_graph = _open_onnx if kind == "onnx" else _open_torchscript
        paths = [folder / f"{name}{ENDINGS[kind]}" for name in PARTS]
        for path in paths:
            if not path.is_file():
                raise InputError(f"{path}: there is no such file; run python -m tools.export.")
        self._encoder, self._decoder = (open_graph(path) for path in paths)

    def encode_image(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) -> maps, each (B, ...)."""
        return tuple(self._encoder(image))

    def encode_text(self, prompts: Sequence[str]) -> Guidance:
        """Features of P prompts, by the network."""
        return self._encode_text(prompts)

    def decode(self, image_features: tuple[Tensor, ...], guidance: Guidance) -> Tensor:
        """Logits (P, 1, H, W), see `TextSegmenter.decode`."""
        assert guidance.tokens is not None
        assert guidance.mask is not None
        repeats = guidance.count // image_features[0].shape[0]
        maps = [value.repeat_interleave(repeats, dim=0) for value in image_features]
        (logits,) = self._decoder(*maps, guidance.tokens, guidance.mask)
        return logits


def _open_onnx(path: Path) -> Graph:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            "onnxruntime: this package is missing; run pip install '.[export]' in the repository."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def run(*inputs: Tensor) -> list[Tensor]:
        given = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return [torch.from_numpy(value) for value in session.run(None, given)]

    return run


def _open_torchscript(path: Path) -> Graph:
    graph = torch.jit.load(str(path), map_location="cpu")

    def run(*inputs: Tensor) -> list[Tensor]:
        found: Any = graph(*inputs) if len(inputs) == 1 else graph(inputs[:-2], *inputs[-2:])
        return [found] if isinstance(found, Tensor) else list(found)

    return run
