"""Packs a bundle as one zip that runs by itself, with a manifest of every file in it."""
