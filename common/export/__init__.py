"""A segmenter as ONNX and TorchScript files that need none of this code."""

from .graphs import OPSET, export_graphs, fold_adapters
from .runtime import ExportedSegmenter

__all__ = ["OPSET", "ExportedSegmenter", "export_graphs", "fold_adapters"]
