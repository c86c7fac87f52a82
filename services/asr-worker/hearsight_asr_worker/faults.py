"""What an engine library's exceptions mean to us."""

from hearsight_core.errors import (
    AsrError,
    DeviceFailedError,
    OutOfMemoryError,
    RecognitionError,
)

_OUT_OF_MEMORY = ("out of memory", "alloc_failed", "bad_alloc", "failed to allocate", "bad alloc")
_DEVICE = (
    *("cuda", "cublas", "cudnn", "nccl"),
    # what CUDA says of a kernel that went wrong, where a library leaves out who says it
    *("illegal memory access", "device-side assert", "unspecified launch failure"),
    *("misaligned address", "illegal instruction was encountered"),
)


def fault_of(error: Exception) -> AsrError:
    """The error of ours that `error`, raised by the engine library, stands for."""
    if isinstance(error, AsrError):
        return error
    text = str(error).lower()
    detail = str(error) or type(error).__name__
    if isinstance(error, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY):
        return OutOfMemoryError(detail=detail)
    if isinstance(error, RuntimeError) and any(sign in text for sign in _DEVICE):
        return DeviceFailedError(detail=detail)
    return RecognitionError(detail=detail)
