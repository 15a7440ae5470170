"""Settings that all types share."""

from __future__ import annotations

import pytest

from dagdvid.datatype import Codec
from dagdvid.datatypes.settings import base_settings, integer, numbers
from dagdvid.errors import BadRequest


@pytest.mark.parametrize(
    ("choice", "text", "codec"),
    [
        ("none", "No compression, level -1", Codec.RAW),
        ("snappy", "Go Snappy compression, level -1", Codec.LZ4),
        ("lz4", "LZ4 compression, level -1", Codec.LZ4),
        ("gzip", "gzip compression, level -1", Codec.GZIP),
        ("gzip:9", "gzip compression, level 9", Codec.GZIP),
        ("gzip:0", "gzip compression, level 0", Codec.GZIP),
        ("GZIP:-1", "gzip compression, level -1", Codec.GZIP),
    ],
)
def test_compression_in_dvids_words(choice, text, codec):
    name = choice.lower().partition(":")[0]
    assert base_settings({"compression": choice}, "lz4") == (text, "No checksum", codec, name)


def test_defaults():
    assert base_settings({}, "lz4").compression_text == "LZ4 compression, level -1"
    assert base_settings({}, "gzip").compression_text == "gzip compression, level -1"
    assert base_settings({"checksum": "crc32"}, "lz4").checksum_text == "CRC32 checksum"


@pytest.mark.parametrize(
    "settings",
    [{"compression": c} for c in ("zip", "rar", "", "jpeg", "jpeg:80", "lz4:3", "gzip:", "gzip:10", "gzip:x", "none:1")]
    + [{"checksum": c} for c in ("md5", "")],
)
def test_other_choices_are_refused(settings):
    name = next(iter(settings)).capitalize()
    with pytest.raises(BadRequest, match=name):
        base_settings(settings, "lz4")


def test_numbers_keep_whole_ones_whole():
    assert [repr(v) for v in numbers("13.5, 14.0,15", "VoxelSize")] == ["13.5", "14", "15"]
    assert numbers("4", "VoxelSize") == [4]


@pytest.mark.parametrize("text", ["", "x", "1,,2", "nan,1,1", "inf", "1,2,3,4", "1e999"])
def test_what_are_no_numbers_is_refused(text):
    with pytest.raises(BadRequest, match="VoxelSize"):
        numbers(text, "VoxelSize")


def test_integers_within_bounds():
    assert integer(" 255 ", "Background", 0, 255) == 255
    for text in ("256", "-1", "", "x", "1.0", "9" * 5000):
        with pytest.raises(BadRequest, match="Background"):
            integer(text, "Background", 0, 255)
