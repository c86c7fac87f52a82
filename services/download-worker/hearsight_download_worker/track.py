"""Decodes a track of a container, in the decoder's process.

Imports no more than it must, as `decoder.py`.
"""

from typing import IO, Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

SAMPLE_RATE_HZ: Final = 16_000

_GAP_S: Final = 0.5
_LONGEST_GAP_S: Final = 300.0
"""A gap in the timestamps between these is filled with silence, so that times stay those of the
recording; a shorter one may be rounding, a longer one a clock that was set anew."""

_INDEXED: Final = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flac", "wav", "w64", "aiff", "caf"}
"""Formats whose timestamps are right after a jump into the middle; FFmpeg guesses those of others,
such as MP3."""
_FAR_S: Final = 60.0
"""To what lies no further than this, everything before is decoded."""
_RUN_UP_S: Final = 2.0
"""A jump goes so far before the place that is wanted: decoders need some sound to get going."""


class TrackDecoding:
    """Writes a track's sound from `skip_ms` to `to_ms`: mixed, or one channel of it."""

    def __init__(
        self,
        container: InputContainer,
        stream: AudioStream,
        out: IO[bytes],
        *,
        skip_ms: int,
        to_ms: int | None,
        channel: int | None,
    ) -> None:
        self._container = container
        self._stream = stream
        self._out = out
        self._skip = skip_ms * SAMPLE_RATE_HZ // 1000
        self._end = None if to_ms is None else to_ms * SAMPLE_RATE_HZ // 1000
        self._channel = channel
        self._jumped = False
        """Whether the place in the recording is not known: a jump, and no frame since."""
        self._resampler: av.AudioResampler | None = None
        self._shape: tuple[str, str, int] | None = None
        self._begin_s = (container.start_time or 0) / av.time_base
        self._clock_s = self._begin_s
        self.samples = 0
        """Samples up to where it has come, those left out included."""
        self.cut_off = False
        """Whether the file ended in the middle of something."""

    def run(self, from_s: float) -> None:
        """Decodes to the end, or as far as it goes; damaged pieces are left out.

        What lies before `from_s` may be jumped over.
        """
        # More threads would not make one track faster, and none can be started here.
        self._stream.codec_context.thread_count = 1
        self._jump(from_s)
        self._to_the_end()
        if self._jumped:
            # There was nothing: the recording ends before, and its length is to be told.
            self._jumped = False
            self._container.seek(round(self._begin_s * av.time_base), backward=True)
            self._to_the_end()

    def _to_the_end(self) -> None:
        packets = self._container.demux(self._stream)
        while self._end is None or self.samples < self._end:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                self.cut_off = True
                break
            if packet is None:
                break
            self._decode(packet)
        self._flush()

    def _jump(self, from_s: float) -> None:
        if from_s < _FAR_S or self._container.format.name not in _INDEXED:
            return
        try:
            place_s = self._begin_s + from_s - _RUN_UP_S
            self._container.seek(round(place_s * av.time_base), backward=True)
        except (av.error.FFmpegError, PermissionError):
            # A file without an index. Nothing has moved: it is decoded from its start.
            return
        self._jumped = True

    def _land(self, frame: av.AudioFrame) -> None:
        """Notes where in the recording the first frame after a jump lies."""
        self._jumped = False
        if frame.time is None:
            raise ValueError("its sound has no times")
        place = max(0, round((frame.time - self._begin_s) * SAMPLE_RATE_HZ))
        self._clock_s = frame.time
        self.samples = min(place, self._skip)
        # Nothing before the frame: that is silence, as any gap is.
        self._write(bytes(2 * min(place - self.samples, round(_LONGEST_GAP_S * SAMPLE_RATE_HZ))))

    def _decode(self, packet: "av.Packet[AudioStream]") -> None:
        try:
            frames = packet.decode()
        except av.error.MemoryError as error:
            raise MemoryError from error
        except av.error.FFmpegError:
            self.cut_off = True
            return
        for frame in frames:
            self.cut_off = False
            if self._jumped:
                self._land(frame)
            self._fill_gap(frame)
            self._resample(frame)

    def _fill_gap(self, frame: av.AudioFrame) -> None:
        if frame.time is not None:
            gap_s = frame.time - self._clock_s
            if _GAP_S < gap_s <= _LONGEST_GAP_S:
                self._write(bytes(2 * round(gap_s * SAMPLE_RATE_HZ)))
            if abs(gap_s) > _GAP_S:
                self._clock_s = frame.time
        self._clock_s += frame.samples / frame.sample_rate

    def _resample(self, frame: av.AudioFrame) -> None:
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:
            self._flush()
            self._shape = shape
            layout = "mono" if self._channel is None else None
            self._resampler = av.AudioResampler("s16", layout, SAMPLE_RATE_HZ)
        frame.pts = None  # only the samples count from here on
        assert self._resampler is not None  # noqa: S101  made with the first frame
        for resampled in self._resampler.resample(frame):
            self._write(self._sound(resampled))

    def _flush(self) -> None:
        if self._resampler is None:
            return
        for resampled in self._resampler.resample(None):
            self._write(self._sound(resampled))
        self._resampler = None

    def _sound(self, frame: av.AudioFrame) -> bytes | memoryview:
        """The samples of the channel that is wanted; they come in turns."""
        channels = frame.layout.nb_channels
        sound = memoryview(frame.planes[0])[: 2 * frame.samples * channels]
        if channels == 1:
            return sound
        # A track may change its layout: where it has fewer channels, the last stands for the rest.
        place = min(self._channel or 0, channels - 1)
        return sound.cast("B").cast("h")[place::channels].tobytes()

    def _write(self, sound: bytes | memoryview) -> None:
        count = len(sound) // 2
        if self._end is not None:
            count = min(count, max(0, self._end - self.samples))
        left_out = min(count, max(0, self._skip - self.samples))
        self.samples += count
        self._out.write(sound[2 * left_out : 2 * count])
