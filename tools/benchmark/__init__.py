"""Measurements that the README quotes: `python -m tools.benchmark NAME` runs `NAME.py` of this folder.

A benchmark is a module with `main(arguments: list[str]) -> int`. Modules whose names begin with an
underscore are their helpers.
"""
