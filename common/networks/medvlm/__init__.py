"""Med-VLM: an organ from an anatomical description; start at `network.py`."""
