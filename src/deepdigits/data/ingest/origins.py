"""Where the datasets come from."""

from __future__ import annotations

from deepdigits.data.digits.manifest import Origin

DIGITS = tuple("0123456789")

ORIGINS = {
    "mnist": Origin(
        "mnist", "MNIST handwritten digits", "LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/", DIGITS
    ),
    "digits": Origin(
        "digits",
        "scikit-learn's bundled digits, enlarged to 28x28 (offline fallback, not MNIST)",
        "Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, https://doi.org/10.24432/C50P49",
        DIGITS,
    ),
}
