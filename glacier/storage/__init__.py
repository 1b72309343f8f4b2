"""Atomic files, safe pickles, and the runner of the stages."""
