"""One package per task: its network, training, metrics, evaluation and model card."""
