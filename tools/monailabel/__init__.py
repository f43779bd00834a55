"""MONAI Label serving this project's bundles: words from 3D Slicer or OHIF, masks back.

The server runs in an environment of its own (`tools/label` makes it) and never loads a bundle: each bundle
works in a process of its own (`label_worker`), which is told what to do through a pipe. Two bundles in one
process would share the package name `scripts`, and one of them would run the other's code. It also means that
a time limit can be kept (the process is ended), that a crash stays with its bundle, and that user text is
only ever data in a JSON.
"""
