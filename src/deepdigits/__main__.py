"""`python -m deepdigits`."""

from deepdigits.cli.app import app

app()
