"""The systems, one a module or folder; README.md says how to add one."""
