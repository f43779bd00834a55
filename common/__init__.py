"""Everything that is code in the bundles: networks, text, data, metrics, inference.

Imports inside this package are relative, because a packaged bundle carries it as `scripts.common`.
"""

__version__ = "0.1.0"
