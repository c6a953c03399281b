"""`python -m deepdigits`."""

from deepdigits.cli import app

app()
