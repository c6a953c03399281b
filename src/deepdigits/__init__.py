"""deepdigits: a reproducible MNIST pipeline of CNN, RNN and GAN."""

import os

# Before any of these libraries is imported: nothing is sent anywhere unless the user asks for it.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
