"""Weights: what is downloaded, what is shipped, and what a training saves."""
