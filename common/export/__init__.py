"""A segmenter as files for elsewhere: ONNX and TorchScript graphs, or one folder with its base encoders."""

from ..layers.adapters import fold_adapters
from .full import export_full
from .graphs import OPSET, export_graphs
from .runtime import ExportedSegmenter

__all__ = ["OPSET", "ExportedSegmenter", "export_full", "export_graphs", "fold_adapters"]
