"""Fetches a bundle, checks every byte against its manifest, and only then puts it in place."""
