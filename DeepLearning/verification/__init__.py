"""How good a forecast is: scores, the forecasts it has to beat, tables."""
