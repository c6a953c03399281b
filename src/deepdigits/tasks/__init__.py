"""One folder per task: its network, training, metrics, evaluation and card."""
