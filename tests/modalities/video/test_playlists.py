"""A video file never makes a reader open another file, whatever its suffix and its content."""

import io
import os

import pytest

from maskkit.data.source import BadSampleError
from maskkit.modalities.video.decoders import open_video
from maskkit.modalities.video.transcode import transcode
from tests.modalities.video.conftest import X264, make
from tests.modalities.video.test_decoders import DECODERS

MPD = """<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT3S"
profiles="urn:mpeg:dash:profile:isoff-main:2011"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1"
bandwidth="1"><BaseURL>other.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>"""
HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
PLAYLISTS = {
    "script.mp4": "ffconcat version 1.0\nfile other.mp4\n",
    "list.m3u8": HLS,
    "list.avi": HLS,
    "list.mpd": MPD,
    "dash.mkv": MPD,
    "session.sdp": SDP,
    "late.mp4": "\x01\n" + SDP,
}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", PLAYLISTS)
def test_playlists_are_refused_and_what_they_name_is_not_opened(tmp_path, other_file, name, decoder):
    (tmp_path / name).write_text(PLAYLISTS[name])
    for source in (tmp_path / name, io.BytesIO(PLAYLISTS[name].encode())):
        with pytest.raises(BadSampleError, match="playlist|not a video") as caught:
            open_video(source, decoder=decoder)
        assert "\n" not in caught.value.reason
    assert not other_file.is_set()


@pytest.mark.parametrize("decoder", DECODERS)
def test_names_that_are_addresses_to_ffmpeg_are_files(tmp_path, monkeypatch, decoder):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a.mp4", *X264, seconds=1)
    os.rename("a.mp4", "concat:b.mp4")
    make(tmp_path / "b.mp4", *X264, seconds=2)
    assert len(open_video("concat:b.mp4", decoder=decoder)) == 25


def test_transcoding_names_playlists_and_opens_no_other_file(tmp_path, other_file):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "script.mp4").write_text(f"ffconcat version 1.0\nfile {os.path.join('..', 'other.mp4')}\n")
    make(tmp_path / "videos" / "whole.mp4", *X264, seconds=1)
    transcode(str(tmp_path / "videos"), tmp_path / "out")
    assert "script.mp4\t" in (tmp_path / "out" / "skipped.txt").read_text() and not other_file.is_set()
    assert (tmp_path / "out" / "whole.mp4").exists()
