"""Stages 5 to 7: networks, their training, scores and forecasts."""

import sys
from pathlib import Path

# Python puts a script's own folder on its path: there evaluate.py would hide a library of that name.
FOLDER = Path(__file__).resolve().parent
sys.path[:] = [place for place in sys.path if Path(place).resolve() != FOLDER]
