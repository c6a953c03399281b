"""Turns recordings into pictures of sound: time from left to right, pitch upwards, loudness as brightness."""

from __future__ import annotations

import io
import math
import warnings
from functools import cache

import numpy as np
from scipy.io import wavfile
from scipy.ndimage import zoom
from scipy.signal import resample_poly, stft

from deepdigits.data.own.decoding import Undecodable
from deepdigits.data.own.labelled import SIDE

SUFFIXES = frozenset({".wav"})
RATE = 8000  # samples a second: enough for speech, and what telephones transmit
WINDOW, HOP = 256, 64  # samples: 32 and 8 ms
LOWEST, HIGHEST = 60.0, 3900.0  # Hz
QUIET = 40.0  # dB below the loudest window; what is quieter at start and end is silence
RANGE = 40.0  # dB from black to white; what is quieter is mostly noise, which differs from room to room
LONGEST_SECONDS = 60
RATES = range(1_000, 400_001)  # samples a second


def picture_of_sound(data: bytes) -> np.ndarray:
    """The log-mel spectrogram of a WAV file, uint8 `(28, 28)`; row 0 is the highest band.

    Channels are averaged, silence at both ends is cut off, and the rest is stretched to 28 columns. 255 is the loudest
    place of the recording, 0 is 40 dB below it or less.

    Raises:
        Undecodable: the bytes are no WAV file, or nothing can be heard in it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            rate, samples = wavfile.read(io.BytesIO(data))
    except Exception as error:  # SciPy raises many types on corrupt bytes
        raise Undecodable(f"it is not a WAV file ({error})") from None
    if rate not in RATES or len(samples) > LONGEST_SECONDS * rate:
        raise Undecodable(
            f"it has {len(samples)} samples at {rate} Hz; expected up to {LONGEST_SECONDS} s at 1 to 400 kHz"
        )
    signal = _mono(samples)
    common = math.gcd(rate, RATE)
    signal = resample_poly(signal, RATE // common, rate // common) if rate != RATE else signal
    if len(signal) < WINDOW:
        raise Undecodable("it is shorter than 32 ms")
    if np.abs(signal).max() < 1e-4:
        raise Undecodable("it is silent")
    _, _, spectrum = stft(signal, RATE, nperseg=WINDOW, noverlap=WINDOW - HOP, boundary=None, padded=False)
    power = mel_filters() @ (np.abs(spectrum) ** 2)
    loud = np.flatnonzero(10 * np.log10(power.sum(axis=0) + 1e-12) > 10 * np.log10(power.sum(axis=0).max()) - QUIET)
    power = power[:, loud[0] : loud[-1] + 1]
    decibels = 10 * np.log10(power + 1e-12)
    fitted = zoom(decibels, (1, SIDE / decibels.shape[1]), order=1, grid_mode=True, mode="nearest")[:, :SIDE]
    unit = (fitted - decibels.max()) / RANGE + 1
    return np.asarray((unit[::-1].clip(0, 1) * 255).round().astype(np.uint8))


def _mono(samples: np.ndarray) -> np.ndarray:
    """Floats in -1 to 1, the mean over the channels."""
    if samples.dtype == np.uint8:
        scaled = (samples.astype(np.float64) - 128) / 128
    elif np.issubdtype(samples.dtype, np.integer):
        scaled = samples / -float(np.iinfo(samples.dtype).min)
    else:
        scaled = samples.astype(np.float64)
    if not np.isfinite(scaled).all():
        raise Undecodable("it has samples that are not finite")
    return np.asarray(scaled.mean(axis=1) if scaled.ndim == 2 else scaled)


@cache
def mel_filters() -> np.ndarray:
    """Triangles, evenly spaced on the mel scale (O'Shaughnessy, 1987): float64 `(28, WINDOW // 2 + 1)`."""

    def mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    points = 700 * (10 ** (np.linspace(mel(LOWEST), mel(HIGHEST), SIDE + 2) / 2595) - 1)
    bins = np.arange(WINDOW // 2 + 1) * RATE / WINDOW
    rise = (bins - points[:-2, None]) / (points[1:-1] - points[:-2])[:, None]
    fall = (points[2:, None] - bins) / (points[2:] - points[1:-1])[:, None]
    filters = np.minimum(rise, fall).clip(0)
    # Low bands are narrower than the distance of two bins; each gets the nearest bin, at least.
    nearest = np.abs(bins - points[1:-1, None]).argmin(axis=1)
    filters[np.arange(SIDE), nearest] = np.maximum(filters[np.arange(SIDE), nearest], 0.5)
    return np.asarray(filters / filters.sum(axis=1, keepdims=True))
