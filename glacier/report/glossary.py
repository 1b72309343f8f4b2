"""The words that a reader of a report may not know; the README holds the same lines."""

GLOSSARY = {
    "composite": "one map a step of the year (season, month), the median of its scenes",
    "observed": "seen by a scene of the step between clouds; other pixels are filled from earlier steps",
    "NDSI": "snow index of a pixel, (green - swir) / (green + swir); snow from 0.4 on",
    "P(snow)": "how probable an index above 0.4 is",
    "stable ground": "ground without ice or lasting snow, which co-registration holds still",
    "lead time": "how many steps ahead a forecast looks",
    "climatology": "what earlier years tell of a season, with its spread",
    "CRPS": "how far a forecast distribution lies from what came; of a single value the absolute error",
    "skill": "1 - CRPS / CRPS of climatology: 1 is perfect, below 0 worse than doing without",
    "n_eff": "how many independent dates there are",
}
