"""Of what a source offers, the best sound is fetched, and never by another program."""

from typing import Any

import pytest

from hearsight_core.errors import NoAudioError, UnsupportedError
from hearsight_download_worker.downloaders import downloader_for
from hearsight_download_worker.formats import best_sound


def offered(name: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401  yt-dlp's fields
    return {"format_id": name, "protocol": "https", "acodec": "aac", "vcodec": "h264", **fields}


LOW = offered("low", vcodec="none")
HIGH = offered("high", vcodec="none")
SPANISH = offered("spanish", vcodec="none", language="es-419")
SMALL = offered("small", height=360)
MEDIUM = offered("medium", height=480)
LARGE = offered("large", height=1080)
MUTE = offered("mute", acodec="none")
RTMP = offered("rtmp", protocol="rtmp")


@pytest.mark.parametrize(
    ("formats", "language", "name"),
    [
        ([LOW, HIGH, SMALL, LARGE], None, "high"),
        ([SMALL, MEDIUM, LARGE], None, "medium"),
        ([offered("larger", height=720), LARGE], None, "larger"),
        ([offered("only", acodec=None, vcodec=None)], None, "only"),
        ([SPANISH, HIGH], "es", "spanish"),
        ([SPANISH, HIGH], "fr", "high"),
        ([LOW, RTMP, MUTE], None, "low"),
    ],
)
def test_the_best_sound_is_chosen(
    formats: list[dict[str, Any]], language: str | None, name: str
) -> None:
    assert best_sound(formats, language)["format_id"] == name


def test_media_without_sound_say_so() -> None:
    with pytest.raises(NoAudioError):
        best_sound([MUTE], None)


def test_what_comes_by_another_protocol_is_not_fetched() -> None:
    with pytest.raises(UnsupportedError, match="rtmp"):
        best_sound([RTMP], None)


@pytest.mark.parametrize(
    "fields",
    [
        {"protocol": "rtmp"},
        {"protocol": "websocket_frag"},
        {"protocol": "m3u8_native", "is_live": True},
        {"protocol": "http_dash_segments", "is_live": True, "live": "from start"},
        {"protocol": "ism"},
    ],
)
def test_no_other_program_is_handed_a_stream(fields: dict[str, Any]) -> None:
    chosen = {"url": "https://media.example/a", "ext": "mp4", **fields}
    params = {"hls_prefer_native": True}
    with pytest.raises(UnsupportedError):
        downloader_for(chosen, params)


@pytest.mark.parametrize("protocol", ["https", "m3u8_native", "m3u8", "http_dash_segments"])
def test_yt_dlps_own_downloaders_are_let_through(protocol: str) -> None:
    chosen = {"url": "https://media.example/a", "ext": "mp4", "protocol": protocol}
    assert downloader_for(chosen, {"hls_prefer_native": True, "external_downloader": "native"})
