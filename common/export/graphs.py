"""The two graphs of a segmenter, image encoder and mask decoder, in ONNX and TorchScript."""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..errors import InputError
from ..files import atomic_path
from ..layers.adapters import fold_adapters
from ..networks.base import TextSegmenter
from ..networks.guidance import Guidance

OPSET = 20  # of ONNX: the first in which GELU is one operation
Format = Literal["onnx", "torchscript"]
ENDINGS: dict[Format, str] = {"onnx": ".onnx", "torchscript": ".ts"}
PARTS = ("image_encoder", "decoder")
RECORD, PROMPTS = "export.json", "prompts.npz"


@dataclass(frozen=True)
class Layout:
    """How what `encode_image` returns is taken apart into tensors and put together again.

    Attributes:
        structure: of the result.
        kept: positions of the tensors that `decode` reads.
        others: what stands at the other positions; nothing reads it, or it is no tensor.
    """

    structure: pytree.TreeSpec
    kept: tuple[int, ...]
    others: dict[int, Any]

    @classmethod
    def of(cls, network: TextSegmenter) -> "Layout":
        """Try the network out: a tensor is kept if the logits have a gradient with respect to it."""
        with torch.no_grad():
            features = network.encode_image(torch.rand(1, *network.field_shape))
            text = network.encode_text([network.default_prompt])
        leaves, structure = pytree.tree_flatten(features)
        probes = [leaf.detach().requires_grad_() if _is_map(leaf) else leaf for leaf in leaves]
        maps = [index for index, leaf in enumerate(probes) if _is_map(leaf)]
        with torch.enable_grad():
            logits = network.decode(pytree.tree_unflatten(probes, structure), text)
            read = torch.autograd.grad(logits.sum(), [probes[index] for index in maps], allow_unused=True)
        kept = tuple(index for index, gradient in zip(maps, read, strict=True) if gradient is not None)
        empty = torch.empty(0)
        rest = {
            i: empty if isinstance(leaf, Tensor) else leaf for i, leaf in enumerate(leaves) if i not in kept
        }
        return cls(structure, kept, rest)

    def apart(self, features: Any) -> tuple[Tensor, ...]:
        """Return the kept tensors."""
        leaves = pytree.tree_leaves(features)
        return tuple(leaves[index] for index in self.kept)

    def together(self, tensors: Sequence[Tensor]) -> Any:
        """Return what `decode` takes."""
        leaves = self.others | dict(zip(self.kept, tensors, strict=True))
        return pytree.tree_unflatten([leaves[index] for index in range(len(leaves))], self.structure)


class ImageEncoder(nn.Module):
    """(B, C, H, W) in [0, 1] -> the maps of `encode_image` that the decoder reads, each (B, ...)."""

    def __init__(self, network: TextSegmenter, layout: Layout) -> None:
        super().__init__()
        self.network, self.layout = network, layout

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return self.layout.apart(self.network.encode_image(image))


class Decoder(nn.Module):
    """Maps (B, ...), word features (B, T, C) and their mask (B, T) -> logits (B, 1, H, W).

    One prompt an image: for more prompts, repeat the maps.
    """

    def __init__(self, network: TextSegmenter, layout: Layout) -> None:
        super().__init__()
        self.network, self.layout = network, layout

    def forward(self, maps: tuple[Tensor, ...], tokens: Tensor, mask: Tensor) -> Tensor:
        return self.network.decode(self.layout.together(maps), Guidance(tokens, mask))


def export_graphs(
    network: TextSegmenter,
    folder: Path,
    *,
    formats: Sequence[Format] = ("onnx", "torchscript"),
    prompts: Sequence[str] = (),
) -> dict[str, Any]:
    """Write `image_encoder` and `decoder` in each format, `export.json`, and for prompts `prompts.npz`.

    Batch and number of word pieces are free in all of them; height and width are the network's image size.
    The text encoder stays where it is: `prompts.npz` holds what it gives for the prompts, `tokens` (P, T, C)
    and `mask` (P, T), so that a program without PyTorch can use them.

    Args:
        network: on the CPU; put into eval mode, and adapters are folded in (see `fold_adapters`).
        folder: made where it is absent.
        formats: "onnx" wants the packages onnx and onnxscript.
        prompts: texts whose features are written.

    Returns:
        The content of export.json.

    Raises:
        InputError: a package is missing, or a graph that cannot be made with a free batch.
    """
    network.eval()
    fold_adapters(network)
    layout = Layout.of(network)
    encoder, decoder = ImageEncoder(network, layout).eval(), Decoder(network, layout).eval()
    # Batches and lengths above 1: a 1 would count as fixed, and eight word pieces may be one token.
    image = torch.rand(2, *network.field_shape)
    with torch.no_grad():
        text = _words(network, [network.default_prompt, f"the {network.default_prompt}, on the left"])
        text = (text[0].repeat(1, 2, 1), text[1].repeat(1, 2))
        maps = encoder(image)
        for kind in formats:
            write = _write_onnx if kind == "onnx" else _write_torchscript
            for name, module, inputs in ((PARTS[0], encoder, (image,)), (PARTS[1], decoder, (maps, *text))):
                with atomic_path(folder / f"{name}{ENDINGS[kind]}") as temporary:
                    write(module, inputs, temporary)
        if prompts:
            tokens, mask = _words(network, prompts)
            with atomic_path(folder / PROMPTS) as temporary:
                np.savez(temporary, tokens=tokens.numpy(), mask=mask.numpy())
    record = _record(network, formats, prompts, maps, text)
    with atomic_path(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record


def _words(network: TextSegmenter, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Word features (P, T, C) and their mask (P, T)."""
    guidance = network.encode_text(prompts)
    assert guidance.tokens is not None
    assert guidance.mask is not None
    return guidance.tokens, guidance.mask


def _write_torchscript(module: nn.Module, inputs: tuple[Any, ...], path: Path) -> None:
    with _quiet():  # about every shape that Python looks at; that batch and length stay free is tested
        traced = torch.jit.trace(module, inputs, check_trace=False)
        # Frozen, it leaves out the weights that this part does not use, the language model's among them.
        torch.jit.save(torch.jit.freeze(traced, optimize_numerics=False), str(path))


def _write_onnx(module: nn.Module, inputs: tuple[Any, ...], path: Path) -> None:
    try:
        import onnxscript  # noqa: F401 - torch's exporter needs it and says less when it is missing
    except ImportError as error:
        raise InputError(
            f"onnx: the package {error.name} is missing, without which ONNX cannot be written; run pip "
            "install '.[export]' in the repository, or leave the format out."
        ) from error
    batch, words = torch.export.Dim("batch"), torch.export.Dim("words")
    first, *text = inputs
    free: list[Any] = [{0: batch} if isinstance(first, Tensor) else tuple({0: batch} for _ in first)]
    free += [{0: batch, 1: words} for _ in text]
    with _quiet("torch.onnx", "onnx_ir", "onnxscript"):  # about their own deprecations and passes
        program = torch.onnx.export(
            module, inputs, dynamo=True, opset_version=OPSET, dynamic_shapes=tuple(free), verbose=False
        )
    assert program is not None
    graph = program.model.graph
    maps = [f"map_{index}" for index in range(len(graph.outputs if isinstance(first, Tensor) else first))]
    names = (["image"], maps) if isinstance(first, Tensor) else ([*maps, "tokens", "mask"], ["logits"])
    for value, name in zip([*graph.inputs, *graph.outputs], [*names[0], *names[1]], strict=True):
        value.name = name
        free_axes = ("batch", "number of words") if name in ("tokens", "mask") else ("batch",)
        for axis, what in enumerate(free_axes):
            if value.shape is None or isinstance(value.shape[axis], int):
                raise InputError(
                    f"{path.name}: the {what} of {name} is not free, but {value.shape}; report this."
                )
    program.save(str(path))


@contextmanager
def _quiet(*loggers: str) -> Iterator[None]:
    """Hold back warnings, and what these loggers say short of an error."""
    levels = {logger: logging.getLogger(logger).level for logger in loggers}
    try:
        for logger in loggers:
            logging.getLogger(logger).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logging.getLogger(logger).setLevel(level)


def _is_map(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.numel() > 0


def _record(
    network: TextSegmenter,
    formats: Sequence[Format],
    prompts: Sequence[str],
    maps: Sequence[Tensor],
    text: tuple[Tensor, Tensor],
) -> dict[str, Any]:
    """What a user of the files needs to know."""
    (channels, size, _), width = network.field_shape, text[0].shape[-1]
    kept = {f"map_{index}": ["B", *value.shape[1:]] for index, value in enumerate(maps)}
    words = {"tokens": ["B", "T", width], "mask": ["B", "T"]}
    record = {
        "network": type(network).__name__,
        "image_size": size,
        "formats": list(formats),
        "opset": OPSET if "onnx" in formats else None,
        "torch": torch.__version__,
        "image_encoder": {"inputs": {"image": ["B", channels, size, size]}, "outputs": kept},
        "decoder": {"inputs": kept | words, "outputs": {"logits": ["B", 1, size, size]}},
        "image": "float32 in [0, 1]: of a volume, each slice is cropped and resized as framing says, its "
        "window (low, high) is scaled to 0 and 1, and values outside are clipped; the graph normalises",
        "channels": [channel.name for channel in network.framing.channels],
        "framing": asdict(network.framing),
        "mask": "where logits are above logit_threshold",
        "threshold": network.threshold,
        "logit_threshold": network.logit_threshold,
        "rows": "one prompt for each image: rows with the same index belong together in all decoder inputs; "
        "repeat the maps for further prompts",
        "prompts": list(prompts),
    }
    plain: dict[str, Any] = json.loads(json.dumps(record))  # tuples are lists in the file
    return plain
