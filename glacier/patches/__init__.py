"""Cutting and stitching, the split and its proof, and the files of the windows."""
