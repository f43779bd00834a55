"""LSMS: the lesion, or the lesions, that a sentence refers to; start at `network.py`."""
