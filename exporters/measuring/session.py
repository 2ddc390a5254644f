"""ONNX Runtime sessions that use the provider that was asked for, or none."""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import onnxruntime as ort

from ...support.errors import InputError
from ..reading.ort_file import is_ort_file
from .denormals import flushing
from .kernels_library import lacks_kernels, library_path, register, why_missing
from .library_output import captured_stderr, quiet

Provider = Literal["cpu", "cuda", "tensorrt"]
PROVIDERS: dict[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
ON_GPU = frozenset({PROVIDERS["cuda"], PROVIDERS["tensorrt"]})

_SHAPE_OPERATORS = frozenset(
    {
        "Abs",
        "Add",
        "And",
        "Cast",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Div",
        "Equal",
        "Gather",
        "Greater",
        "Identity",
        "Less",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Range",
        "ReduceProd",
        "Reshape",
        "Shape",
        "Size",
        "Slice",
        "Split",
        "Squeeze",
        "Sub",
        "Unsqueeze",
        "Where",
    }
)
_FALLBACK_REFUSED = "fallback to CPU EP has been explicitly disabled"


@dataclass(frozen=True)
class SessionSettings:
    """How ONNX Runtime runs a model: the provider, and on the CPU its ``threads`` per operator.

    ``spinning``: waiting threads stay busy while a run lasts. ``flush_denormals``: subnormal
    numbers count as zero, as they slow the processor down. ``profile``: how the files begin in
    which the runtime notes the time of each node; None: it notes none.
    """

    provider: Provider
    threads: int
    spinning: bool = True
    flush_denormals: bool = True
    profile: Path | None = None


def default_threads() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_session(path: Path, settings: SessionSettings) -> ort.InferenceSession:
    """Open the ONNX file at ``path`` with the provider of ``settings``.

    Raises:
        InputError: when the file cannot be read or run, or when the provider is not really used.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"model {str(path)!r} has a name that is not UTF-8: rename it") from None
    if settings.provider != "cpu":
        return _open_on_gpu(path, settings)
    session, failure, _ = _create(path, settings, strict=False)
    if session is None:
        raise InputError(_unreadable(path, failure))
    return session


def _open_on_gpu(path: Path, settings: SessionSettings) -> ort.InferenceSession:
    """Open a session on CUDA or TensorRT without a way back to the CPU.

    ONNX Runtime places arithmetic on shapes on the CPU on purpose and counts it as a fallback
    all the same. Where it refuses a model for that, the model is opened with the fallback, and
    each node that went to the CPU is looked at.
    """
    wanted = PROVIDERS[settings.provider]
    if wanted not in ort.get_available_providers():
        raise InputError(_not_there(settings, "this onnxruntime is built without it"))
    with quiet():
        ort.preload_dlls()
    session, failure, notices = _create(path, settings, strict=True)
    refused = session is None and _FALLBACK_REFUSED in failure
    if refused:
        session, failure, notices = _create(path, settings, strict=False)
    if session is None and re.search("CUDA (failure|error)|CUDNN|CUBLAS", failure):
        raise InputError(_not_there(settings, reason(failure).partition(" ; ")[0]))
    if session is None and "install TensorRT libraries" in failure:
        raise InputError(_not_there(settings, _provider_cause(notices)))
    if session is None:
        raise InputError(_unreadable(path, failure))
    if session.get_providers()[0] != wanted:
        raise InputError(_not_there(settings, _provider_cause(notices), loaded=True))
    if refused and (strangers := _computed_on_cpu(session)):
        raise InputError(
            f"model {str(path)!r} does not run on {_NAMES[settings.provider]} alone: ONNX Runtime "
            f"computes {', '.join(strangers)} on the CPU; validate it with validate.provider=cpu"
        )
    return session


def _create(
    path: Path, settings: SessionSettings, *, strict: bool
) -> tuple[ort.InferenceSession | None, str, str]:
    """Return the session, or None with what went wrong, and what the native code printed."""
    options = _options(path, settings)
    if settings.provider != "cpu":
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if strict:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session, failure = None, ""
    with captured_stderr() as notices, flushing(settings.flush_denormals):
        try:
            session = ort.InferenceSession(
                str(path), options, providers=[_provider(path, settings)], enable_fallback=0
            )
        except Exception as error:  # the runtime's own classes derive from Exception alone
            failure = str(error)
    return session, failure, notices.text


def _provider(path: Path, settings: SessionSettings) -> str | tuple[str, dict[str, str]]:
    """Return the provider with its options.

    TensorRT may use its sparse kernels, which need two zeros in each four weights. It keeps what
    it compiles for a file, in a folder of this process, as each file is opened many times.
    """
    name = PROVIDERS[settings.provider]
    if settings.provider != "tensorrt":
        return name
    state = path.stat() if path.exists() else None
    content = f"{path.resolve()} {state and (state.st_mtime_ns, state.st_size)}"
    engines = Path(_engines()) / hashlib.sha256(content.encode()).hexdigest()
    return name, {
        "trt_sparsity_enable": "1",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(engines),
    }


@cache
def _engines() -> str:
    folder = tempfile.mkdtemp(prefix="wfpipe-engines-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def session_entries(path: Path, settings: SessionSettings) -> dict[str, str]:
    """Return ONNX Runtime's configuration entries for a model file and ``settings``.

    The format is that of the content, which was checked: left alone, the runtime goes by the name.
    """
    own = path.is_file() and is_ort_file(path)
    entries = {
        "session.intra_op.allow_spinning": settings.spinning,
        # Threads of one session must not take cores from another session that is being timed.
        "session.force_spinning_stop": settings.spinning,
        "session.set_denormal_as_zero": settings.flush_denormals,
    }
    switches = {key: "1" if value else "0" for key, value in entries.items()}
    return {**switches, "session.load_model_format": "ORT" if own else "ONNX"}


def _options(path: Path, settings: SessionSettings) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    if settings.profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(settings.profile)
    if settings.provider == "cpu" and (library := library_path()) is not None:
        register(options, library)
    for key, value in session_entries(path, settings).items():
        options.add_session_config_entry(key, value)
    return options


def _computed_on_cpu(session: ort.InferenceSession) -> list[str]:
    """Return the operators, beyond arithmetic on shapes, that a CUDA session runs on the CPU."""
    on_cpu = {
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name == PROVIDERS["cpu"]
        for node in part.get_nodes()
    }
    return sorted(on_cpu - _SHAPE_OPERATORS)


_NAMES = {"cpu": "the CPU", "cuda": "CUDA", "tensorrt": "TensorRT"}


def _not_there(settings: SessionSettings, cause: str, *, loaded: bool = False) -> str:
    package = "onnxruntime-gpu[cuda,cudnn]" if loaded else "onnxruntime-gpu"
    remedy = f"Install it with: pip install '{package}'"
    if settings.provider == "tensorrt":
        remedy = "Install it with: pip install 'onnxruntime-gpu[cuda,cudnn]' tensorrt"
    return (
        f"provider {settings.provider!r} cannot be used: {cause}; available here: cpu. {remedy}, "
        "or set validate.provider=cpu"
    )


def _provider_cause(notices: str) -> str:
    """Find in the runtime's notices why a provider did not load."""
    missing = re.search(r"with error: (.+)", notices)
    needs = re.search(r"Require (.+?)\. Please", notices)
    cause = missing[1].strip() if missing else "ONNX Runtime did not load it"
    return f"{cause} (it needs {needs[1]})" if needs else cause


def _unreadable(path: Path, failure: str) -> str:
    """Say in one line why a session could not be created."""
    if "NO_SUCHFILE" in failure:
        return f"model {str(path)!r} does not exist"
    if "INVALID_PROTOBUF" in failure or "No graph was found" in failure:
        return f"model {str(path)!r} is not an ONNX file, or it is empty or truncated"
    if lacks_kernels(failure):
        return f"model {str(path)!r} runs on sparse kernels: {why_missing()}"
    return f"model {str(path)!r} cannot be run by ONNX Runtime: {reason(failure)}"


def reason(failure: object) -> str:
    """Return the sentence of an ONNX Runtime error, without its codes and source locations."""
    lines = str(failure).strip().splitlines() or ["no reason given"]
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", lines[0])
    text = re.sub(r"^Load model from .*? failed:", "", text)
    text = re.sub(r"^/\S+:\d+ .*?\) (?=[A-Z])", "", text)
    return text if len(text) <= 300 else text[:297] + "..."
