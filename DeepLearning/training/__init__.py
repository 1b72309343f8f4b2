"""Training: settings, the loop, processes, run folders, and the mirror on Weights & Biases."""
