"""Building blocks of the networks, loading and prediction."""
