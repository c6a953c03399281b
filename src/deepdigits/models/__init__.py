"""The networks and their LightningModules, one file per network."""
