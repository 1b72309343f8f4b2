"""Stages 4 to 6: networks, their training, scores and forecasts."""
