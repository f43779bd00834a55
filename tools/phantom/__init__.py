"""Seeded abdominal CT phantoms: images in Hounsfield units, label maps and a datalist, free for everybody.

How it fits together: `anatomy` puts the organs of a random patient (`shapes`, in millimetres) into a tree
of `scene.Structure`; `render` evaluates that tree on a voxel `grid`, adds noise, and `dataset` writes NIfTI.
"""
