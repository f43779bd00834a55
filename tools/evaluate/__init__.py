"""Compare two folders of label maps: tables, a summary and a report to read in a browser.

How it fits together: `pairs` finds which files belong together, `reading` reads NIfTI and NRRD, `measuring`
makes the rows with `common.metrics`, `tables` has what is printed, `overlays` and `report` show them.
"""
