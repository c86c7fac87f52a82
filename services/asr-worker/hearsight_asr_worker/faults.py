"""What an engine library's exceptions mean to us."""

from hearsight_core.errors import AsrError, OutOfMemoryError, RecognitionError

_OUT_OF_MEMORY = ("out of memory", "alloc_failed", "bad_alloc", "failed to allocate", "bad alloc")
_DEVICE = ("cuda", "cublas", "cudnn", "nccl")


class DeviceLostError(RecognitionError):
    """The device fails from now on: only a new process can use it again.

    CUDA errors other than a failed allocation are sticky, they corrupt the process's context (CUDA
    C++ programming guide, "Error Checking").
    """


def fault_of(error: Exception) -> AsrError:
    """The error of ours that `error`, raised by the engine library, stands for."""
    if isinstance(error, AsrError):
        return error
    text = str(error).lower()
    detail = str(error) or type(error).__name__
    if isinstance(error, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY):
        return OutOfMemoryError(detail=detail)
    if isinstance(error, RuntimeError) and any(sign in text for sign in _DEVICE):
        return DeviceLostError(detail=detail)
    return RecognitionError(detail=detail)
