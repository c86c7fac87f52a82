"""Every error a person can meet, as one tree.

    HearSightError
    ├── RequestError           the request can't be taken as it is
    │   ├── InvalidRequestError      request.invalid
    │   ├── UnsupportedUrlError      request.unsupported_url
    │   ├── ForbiddenAddressError    request.forbidden_address
    │   ├── AccessError              who asks, and whether they may
    │   │   ├── KeyMissingError          auth.missing
    │   │   ├── KeyInvalidError          auth.invalid
    │   │   ├── ScopeMissingError        auth.forbidden
    │   │   ├── ForeignRequestError      auth.foreign
    │   │   └── KeyNotFoundError         auth.key_not_found
    │   ├── UnknownPoolError         request.unknown_pool
    │   ├── LimitError               not now; later it may be taken
    │   │   ├── RequestRateError         quota.requests
    │   │   ├── QueuedJobsError          quota.queued_jobs
    │   │   ├── AudioMinutesError        quota.audio_minutes
    │   │   └── OverloadError            overload.busy
    │   ├── JobNotFoundError         job.not_found
    │   ├── JobConflictError         job.conflict
    │   ├── JobStateError            job.state
    │   ├── MediaRemovedError        job.media_removed
    │   ├── UploadTooLargeError      upload.too_large
    │   └── UploadRefusedError       upload.unsupported
    ├── NetworkError           the way to the source
    │   ├── DnsError                 network.dns           retryable
    │   ├── RefusedError             network.refused       retryable
    │   ├── TimedOutError            network.timeout       retryable
    │   ├── TlsError                 network.tls
    │   ├── Http4xxError             network.http_4xx
    │   ├── RateLimitedError         network.rate_limited  retryable
    │   └── Http5xxError             network.http_5xx      retryable
    ├── MediaError             what the source gave
    │   ├── NotFoundError            media.not_found
    │   ├── PrivateError             media.private
    │   ├── GeoBlockedError          media.geo_blocked
    │   ├── BotCheckError            media.bot_check
    │   ├── LiveError                media.live
    │   ├── UnsupportedError         media.unsupported
    │   ├── TooLargeError            media.too_large
    │   ├── TooLongError             media.too_long
    │   ├── ClipOutsideError         media.clip_outside
    │   ├── NoAudioError             media.no_audio
    │   └── CorruptError             media.corrupt
    ├── AsrError               recognition
    │   ├── OutOfMemoryError         asr.out_of_memory     retryable
    │   ├── DeviceFailedError        asr.device_failed     retryable
    │   ├── EngineHungError          asr.hung              retryable
    │   ├── ModelMissingError        asr.model_missing
    │   ├── DeviceMissingError       asr.device_missing
    │   ├── LanguageUnsupportedError asr.unsupported_language
    │   ├── OptionUnsupportedError   asr.unsupported_option
    │   ├── RecognitionError         asr.failed            retryable
    │   └── RemoteError              an endpoint that recognises for us
    │       ├── RemoteKeyError           asr.remote_key
    │       ├── RemoteModelError         asr.remote_model
    │       ├── RemoteTooLargeError      asr.remote_too_large
    │       ├── RemoteRefusedError       asr.remote_refused
    │       ├── RemoteBusyError          asr.remote_busy         retryable
    │       ├── RemoteUnavailableError   asr.remote_unavailable  retryable
    │       └── RemoteAnswerError        asr.remote_answer
    ├── StorageError           our own stores
    │   ├── DatabaseError            storage.database      retryable
    │   ├── RedisUnavailableError    storage.redis         retryable
    │   ├── ReaderRoleError          storage.reader_role
    │   ├── ObjectStoreError         storage.object_store  retryable
    │   │   └── AccessDeniedError        storage.denied        retryable
    │   └── DiskFullError            storage.disk_full     retryable
    ├── WorkerLostError        worker.lost                 retryable
    ├── UnexpectedError        internal.unexpected         retryable
    └── Interruption           not a failure: the work has to stop here
        ├── Cancelled                someone cancelled the job
        ├── LeaseLost                another worker owns the task now
        └── Draining                 this process is about to end

A `code` never changes its meaning. What people read stands in `messages.py`, in English and
Chinese; an error carries the values that go into it.
"""

from collections.abc import Iterator
from typing import ClassVar

from hearsight_core.messages import Language, render


class HearSightError(Exception):
    """An error with a stable code and a message that says what to do next.

    Keyword arguments are the values that the message names; `detail` is a technical remark (such as
    a library's own words) that goes at its end.
    """

    code: ClassVar[str] = "internal.unexpected"
    retryable: ClassVar[bool] = False
    hits_process: ClassVar[bool] = False
    """Whether it befalls a process and all that it does: any task in it may be the cause."""

    def __init__(self, *, detail: str = "", **values: object) -> None:
        self.detail = detail
        self.values = values
        super().__init__(self.text("en"))

    def text(self, language: Language) -> str:
        """The message for people, in `language`."""
        text = render(self.code, language, **self.values)
        return f"{text} ({self.detail})" if self.detail else text

    @classmethod
    def kinds(cls) -> "Iterator[type[HearSightError]]":
        """This error and all below it."""
        yield cls
        for kind in cls.__subclasses__():
            yield from kind.kinds()

    @classmethod
    def codes(cls, *, retryable: bool = False) -> set[str]:
        """The codes of this error and all below it but interruptions; the retryable ones if so."""
        return {
            kind.code
            for kind in cls.kinds()
            if not issubclass(kind, Interruption) and (kind.retryable or not retryable)
        }

    @classmethod
    def of_code(cls, code: str) -> "type[HearSightError] | None":
        """The error, this one or one below it, that has brought `code` into the tree."""
        return next((kind for kind in cls.kinds() if vars(kind).get("code") == code), None)


class RequestError(HearSightError):
    """The request can't be taken as it is."""

    code = "request.invalid"

    def __init__(self, *, field: str | None = None, detail: str = "", **values: object) -> None:
        self.field = field
        super().__init__(detail=detail, **values)


class InvalidRequestError(RequestError):
    """A field is missing, unknown or of the wrong form."""

    code = "request.invalid"


class UnsupportedUrlError(RequestError):
    """Not an http or https address."""

    code = "request.unsupported_url"


class ForbiddenAddressError(RequestError):
    """The address lies inside a private or reserved network."""

    code = "request.forbidden_address"


class AccessError(RequestError):
    """Who asks may not do this, or has not said who they are."""


class KeyMissingError(AccessError):
    """No API key was sent, and one is asked for."""

    code = "auth.missing"


class KeyInvalidError(AccessError):
    """The API key is none of ours, or was revoked."""

    code = "auth.invalid"


class ScopeMissingError(AccessError):
    """The API key may not do this."""

    code = "auth.forbidden"


class ForeignRequestError(AccessError):
    """An API without keys was asked by another name than this machine's, or by another site."""

    code = "auth.foreign"


class KeyNotFoundError(AccessError):
    """There is no API key of this id."""

    code = "auth.key_not_found"


class UnknownPoolError(RequestError):
    """No ASR workers of this name are there to recognise it."""

    code = "request.unknown_pool"


class LimitError(RequestError):
    """More than may be asked for now; the same may be taken after `retry_after_s`."""

    def __init__(
        self,
        *,
        retry_after_s: float = 1,
        field: str | None = None,
        detail: str = "",
        **values: object,
    ) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(field=field, detail=detail, **values)


class RequestRateError(LimitError):
    """The key has sent too many requests."""

    code = "quota.requests"


class QueuedJobsError(LimitError):
    """The owner has too many jobs that are not done yet."""

    code = "quota.queued_jobs"


class AudioMinutesError(LimitError):
    """The owner has had as much recognised today as it may."""

    code = "quota.audio_minutes"


class OverloadError(LimitError):
    """The deployment, or this process, has as much to do as it can take."""

    code = "overload.busy"


class JobNotFoundError(RequestError):
    """There is no such job."""

    code = "job.not_found"


class JobConflictError(RequestError):
    """The job id is taken by another request."""

    code = "job.conflict"


class JobStateError(RequestError):
    """The job's state does not allow this."""

    code = "job.state"


class MediaRemovedError(RequestError):
    """The job's media was kept long enough, and is gone."""

    code = "job.media_removed"


class UploadTooLargeError(RequestError):
    """The upload is over the size limit."""

    code = "upload.too_large"


class UploadRefusedError(RequestError):
    """The upload's content is no audio or video."""

    code = "upload.unsupported"


class NetworkError(HearSightError):
    """The way to the source is broken."""


class DnsError(NetworkError):
    """The host's name has no address."""

    code = "network.dns"
    retryable = True


class RefusedError(NetworkError):
    """The host refused or cut the connection."""

    code = "network.refused"
    retryable = True


class TimedOutError(NetworkError):
    """The host did not answer, or the download took too long."""

    code = "network.timeout"
    retryable = True


class TlsError(NetworkError):
    """No trusted encrypted connection."""

    code = "network.tls"


class Http4xxError(NetworkError):
    """The host refused the request."""

    code = "network.http_4xx"


class RateLimitedError(NetworkError):
    """The host has had too many requests from here (HTTP 429)."""

    code = "network.rate_limited"
    retryable = True


class Http5xxError(NetworkError):
    """The host failed."""

    code = "network.http_5xx"
    retryable = True


class MediaError(HearSightError):
    """The source gave nothing that can be recognised."""


class NotFoundError(MediaError):
    """Nothing is at this address."""

    code = "media.not_found"


class PrivateError(MediaError):
    """The source wants a login."""

    code = "media.private"


class GeoBlockedError(MediaError):
    """The source is closed to this country."""

    code = "media.geo_blocked"


class BotCheckError(MediaError):
    """The source asks for a proof of being human."""

    code = "media.bot_check"


class LiveError(MediaError):
    """The source is a live stream."""

    code = "media.live"


class UnsupportedError(MediaError):
    """The source is no media that we can read."""

    code = "media.unsupported"


class TooLargeError(MediaError):
    """The media is over the size limit."""

    code = "media.too_large"


class TooLongError(MediaError):
    """The recording is over the duration limit."""

    code = "media.too_long"


class ClipOutsideError(MediaError):
    """The stretch asked for begins after the recording's end."""

    code = "media.clip_outside"


class NoAudioError(MediaError):
    """The media has no audio track."""

    code = "media.no_audio"


class CorruptError(MediaError):
    """The media can't be decoded."""

    code = "media.corrupt"


class AsrError(HearSightError):
    """Recognition failed."""


class OutOfMemoryError(AsrError):
    """The device ran out of memory."""

    code = "asr.out_of_memory"
    retryable = True
    hits_process = True


class DeviceFailedError(AsrError):
    """The device fails from now on: only a new process can use it again.

    CUDA errors other than a failed allocation are sticky, they corrupt the process's context (CUDA
    C++ programming guide, "Error Checking").
    """

    code = "asr.device_failed"
    retryable = True
    hits_process = True


class EngineHungError(AsrError):
    """The engine did not come back from a batch."""

    code = "asr.hung"
    retryable = True
    hits_process = True


class ModelMissingError(AsrError):
    """The model can't be found or loaded."""

    code = "asr.model_missing"


class DeviceMissingError(AsrError):
    """The device asked for is not there."""

    code = "asr.device_missing"


class LanguageUnsupportedError(AsrError):
    """The model does not know the language or the task asked for."""

    code = "asr.unsupported_language"


class OptionUnsupportedError(AsrError):
    """The engine can't be told an option of the job."""

    code = "asr.unsupported_option"


class RecognitionError(AsrError):
    """The engine failed."""

    code = "asr.failed"
    retryable = True


class RemoteError(AsrError):
    """The endpoint that recognises for us did not."""


class RemoteKeyError(RemoteError):
    """The endpoint does not take our key, or wants one."""

    code = "asr.remote_key"


class RemoteModelError(RemoteError):
    """The endpoint has no such model, or is not at this address."""

    code = "asr.remote_model"


class RemoteTooLargeError(RemoteError):
    """The endpoint takes no request as large as a chunk of speech."""

    code = "asr.remote_too_large"


class RemoteRefusedError(RemoteError):
    """The endpoint refuses the request for another reason."""

    code = "asr.remote_refused"


class RemoteBusyError(RemoteError):
    """The endpoint has had too many requests, for longer than we wait."""

    code = "asr.remote_busy"
    retryable = True


class RemoteUnavailableError(RemoteError):
    """The endpoint can't be reached, fails, or does not answer in time."""

    code = "asr.remote_unavailable"
    retryable = True


class RemoteAnswerError(RemoteError):
    """The endpoint answered something that is no transcription."""

    code = "asr.remote_answer"


class StorageError(HearSightError):
    """One of our own stores failed."""


class DatabaseError(StorageError):
    """PostgreSQL failed."""

    code = "storage.database"
    retryable = True


class ReaderRoleError(StorageError):
    """The role that reads the load of the queues can't be made."""

    code = "storage.reader_role"


class RedisUnavailableError(StorageError):
    """Redis failed."""

    code = "storage.redis"
    retryable = True


class ObjectStoreError(StorageError):
    """The object store failed."""

    code = "storage.object_store"
    retryable = True


class AccessDeniedError(ObjectStoreError):
    """The object store does not let us do this."""

    code = "storage.denied"


class DiskFullError(StorageError):
    """No room left."""

    code = "storage.disk_full"
    retryable = True


class WorkerLostError(HearSightError):
    """The worker died or was cut off in the middle of the task."""

    code = "worker.lost"
    retryable = True
    hits_process = True


class UnexpectedError(HearSightError):
    """A fault of our own."""

    code = "internal.unexpected"
    retryable = True


class Interruption(HearSightError):  # noqa: N818  these stop work without being a failure
    """The work has to stop here; raised by a lease's checkpoint."""


class Cancelled(Interruption):
    """Someone cancelled the job."""

    code = "job.cancelled"


class LeaseLost(Interruption):
    """Another worker owns the task now; nothing this one writes counts."""

    code = "worker.lease_lost"


class Draining(Interruption):
    """This process is about to end; the task goes back to the queue."""

    code = "worker.draining"
