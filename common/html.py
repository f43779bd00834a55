"""Recognise a web page in the place of a file: a login, an error, or a network's sign-in page."""

START_BYTES = 1024
_MARKS = (b"<!doctype html", b"<html", b"<head", b"<body")


def is_html(start: bytes) -> bool:
    """Whether a file that begins with these bytes is a web page; checkpoints, zips and JSON never look so."""
    text = start[:START_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith(b"<") and any(mark in text for mark in _MARKS)
