"""Configs of bundles: what a command line changes in them, checked before anything is built."""
