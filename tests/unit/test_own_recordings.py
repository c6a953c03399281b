"""Pictures of sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepdigits.data.own.decoding import Undecodable
from deepdigits.data.own.pictures import read_tree
from deepdigits.data.own.recordings import SUFFIXES as WAV
from deepdigits.data.own.recordings import mel_filters, picture_of_sound
from tests.unit.own_sources import save, tone, wav


def test_a_higher_tone_is_higher_in_the_picture() -> None:
    rows = [int(picture_of_sound(wav(tone(hertz))).mean(axis=1).argmax()) for hertz in (200, 500, 1000, 2000, 3500)]
    assert rows == sorted(rows, reverse=True)
    assert len(set(rows)) == 5


def test_time_runs_from_left_to_right_and_silence_is_cut_off() -> None:
    picture = picture_of_sound(wav(np.concatenate([tone(300, silence=0), tone(3000, silence=0)])))
    low, high = picture[18:].max(axis=0), picture[:10].max(axis=0)
    assert low[:12].mean() > low[16:].mean() + 50
    assert high[16:].mean() > high[:12].mean() + 50
    short, padded = (picture_of_sound(wav(tone(800, silence=quiet))) for quiet in (0.0, 0.5))
    assert np.abs(short.astype(int) - padded).mean() < 12


@pytest.mark.parametrize(("rate", "width", "channels"), [(16000, 2, 1), (44100, 2, 2), (8000, 1, 1), (22050, 4, 1)])
def test_rate_depth_and_channels_do_not_matter(rate: int, width: int, channels: int) -> None:
    plain = picture_of_sound(wav(tone(700)))
    other = picture_of_sound(wav(tone(700, rate=rate), rate, width, channels))
    assert plain[:, 3:25].mean(axis=1).argmax() == other[:, 3:25].mean(axis=1).argmax()
    if width > 1:
        assert np.abs(plain.astype(int) - other).mean() < 15


def test_unusable_recordings_say_why() -> None:
    for data, why in (
        (b"RIFF", "not a WAV file"),
        (b"", "not a WAV file"),
        (wav(np.zeros(8000)), "silent"),
        (wav(tone(500, 0.01, silence=0)), "shorter than 32 ms"),
        (wav(np.zeros(61 * 8000)), "expected up to 60 s"),
    ):
        with pytest.raises(Undecodable, match=why):
            picture_of_sound(data)


@given(st.binary(max_size=200))
def test_no_bytes_of_a_recording_cause_another_error(data: bytes) -> None:
    for whole in (data, wav(tone(500))[:44] + data):
        try:
            picture_of_sound(whole)
        except Undecodable:
            continue


def test_each_mel_band_hears_something_and_all_weigh_the_same() -> None:
    filters = mel_filters()
    assert filters.shape == (28, 129)
    assert np.allclose(filters.sum(axis=1), 1)
    assert (np.diff(filters.argmax(axis=1)) >= 0).all()


def test_recordings_are_read_from_class_folders(tmp_path: Path) -> None:
    save(tmp_path, {"yes/1.wav": wav(tone(400)), "no/1.wav": wav(tone(900)), "no/1.txt": b"no"})
    found = read_tree(tmp_path, WAV, picture_of_sound, "recordings")
    assert list(found.classes) == ["no", "yes"]
    assert len(found) == 2
