"""One trainer for all networks."""
