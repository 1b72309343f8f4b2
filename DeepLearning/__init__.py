"""Stages 5 to 7: networks, their training, scores and forecasts."""
