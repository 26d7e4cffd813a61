"""The steps of the work, each a function over values; the day is always an argument."""
