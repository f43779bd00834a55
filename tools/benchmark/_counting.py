"""Parameters and multiply-accumulates of networks, by part and by kind of operation."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from common.networks.base import TextSegmenter
from common.networks.lsms.hamburger import Hamburger
from common.networks.lsms.svla import LanguageBranch

GIGA, MEGA = 1e9, 1e6


class Cost(NamedTuple):
    """Of a part: parameters in millions, and multiply-accumulates of one image in units of 10^9."""

    millions: float
    gmac: float


def costs(network: TextSegmenter, sentence: str) -> dict[str, Cost]:
    """{part: its cost} of one image of the network's own size with one sentence; "text encoder" is one part.

    Products of attention and of the factorisation count; norms, activations and sums do not.
    """
    network.eval()
    image = torch.rand(1, *network.field_shape)
    flops = flops_by_module(lambda: network(image, [sentence]))
    root = type(network).__name__
    parts: dict[str, list[float]] = {}
    for name, parameter in network.named_parameters():
        parts.setdefault(_part(name), [0.0, 0.0])[0] += parameter.numel() / MEGA
    for name, value in _own(flops).items():
        part = _part(name.removeprefix(f"{root}.")) if name.startswith(f"{root}.") else "between the parts"
        parts.setdefault(part, [0.0, 0.0])[1] += value / 2 / GIGA
    return {part: Cost(*both) for part, both in parts.items() if max(both) > 0}


def gmac(call: Callable[[], Any]) -> float:
    """Multiply-accumulates of a call, in units of 10^9."""
    return flops_by_module(call)["Global"] / 2 / GIGA


def flops_by_module(call: Callable[[], Any]) -> dict[str, int]:
    """FLOPs of each module with those of its children, and "Global", of a call; attention is taken apart."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return {name: sum(of_module.values()) for name, of_module in counter.get_flop_counts().items()}


def _own(flops: dict[str, int]) -> dict[str, int]:
    """FLOPs of each module without those of the modules inside it that were called."""
    own = dict(flops)
    for name, value in flops.items():
        if name == "Global":
            continue
        parent = name.rpartition(".")[0]
        while parent and parent not in flops:
            parent = parent.rpartition(".")[0]
        own[parent or "Global"] -= value
    return own


def _part(name: str) -> str:
    """The part that a module or parameter belongs to, by its dotted name."""
    first = name.split(".")[0]
    if ".language." in f".{name}.":
        return "language branches"
    return {
        "stem": "stem and down blocks",
        "downs": "stem and down blocks",
        "stages": "stages without language",
        "text_encoder": "text encoder",
        "image_encoder": "image encoder",
    }.get(first, first.replace("_", " "))


class Kind(NamedTuple):
    """Of a kind of operation in one pass: seconds, and multiply-accumulates in units of 10^9."""

    seconds: float
    gmac: float


def clock_of(device: torch.device) -> Callable[[], float]:
    """Time of the processor on a CPU, so that a busy machine does not count, and by the wall on a GPU."""
    return time.process_time if device.type == "cpu" else time.perf_counter


def kinds(network: nn.Module, image: Tensor, text: Any, *, rounds: int) -> dict[str, Kind]:
    """{kind: time and MACs} of one pass; the shortest of some rounds for each kind."""
    clock = clock_of(image.device)
    with torch.no_grad():
        flops = _own(flops_by_module(lambda: network(image, text)))
        macs: defaultdict[str, float] = defaultdict(float)
        names = {name: module for name, module in network.named_modules() if name}
        for name, value in flops.items():
            module = names.get(name.removeprefix(f"{type(network).__name__}."))
            macs["the rest" if module is None else _kind(module)] += value / 2 / GIGA
        best: dict[str, float] = {}
        for _ in range(rounds):
            with _timed(network, clock) as seconds:
                start = clock()
                network(image, text)
                _wait(image)
                seconds["the rest"] = clock() - start - sum(seconds.values())
            best = {kind: min(value, best.get(kind, value)) for kind, value in seconds.items()}
    return {kind: Kind(value, macs[kind]) for kind, value in best.items()}


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.Conv2d):
        rows, columns = module.kernel_size
        if module.groups > 1:
            return "strip convolutions" if 1 in (rows, columns) else "square depthwise convolutions"
        return "1 x 1 convolutions" if rows == 1 else "3 x 3 convolutions"
    if isinstance(module, LanguageBranch):
        return "words and pixels (products, softmax)"
    if isinstance(module, Hamburger):
        return "factorisation (NMF)"
    if isinstance(module, nn.Linear):
        return "1 x 1 convolutions"
    return "norms and activations" if not list(module.children()) else "the rest"


@contextmanager
def _timed(network: nn.Module, clock: Callable[[], float]) -> Iterator[defaultdict[str, float]]:
    """Seconds of each kind, those of modules inside a module left out of its own."""
    seconds: defaultdict[str, float] = defaultdict(float)
    running: list[list[float]] = []  # of each module that runs now: when it began, what its children took

    def begin(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        _wait(inputs[0])
        running.append([clock(), 0.0])

    def end(module: nn.Module, inputs: tuple[Any, ...], _output: Any) -> None:
        _wait(inputs[0])
        start, inside = running.pop()
        took = clock() - start
        seconds[_kind(module)] += took - inside
        if running:
            running[-1][1] += took

    watched = [
        module
        for module in network.modules()
        if isinstance(module, LanguageBranch | Hamburger) or not list(module.children())
    ]
    handles = [module.register_forward_pre_hook(begin) for module in watched]
    handles += [module.register_forward_hook(end) for module in watched]
    try:
        yield seconds
    finally:
        for handle in handles:
            handle.remove()


def _wait(value: Any) -> None:
    if isinstance(value, Tensor) and value.is_cuda:
        torch.cuda.synchronize(value.device)
