"""Public data sets as NIfTI volumes, label maps and a datalist: `python -m tools.prepare NAME`."""
