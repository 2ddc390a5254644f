"""On what figures were measured: versions and machine, without names and paths."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

import onnx
import onnxruntime as ort

from ...support.version import __version__
from ..documents.profile import Machine
from ..documents.report import Environment
from .session import SessionSettings, default_threads

_CPUINFO = Path("/proc/cpuinfo")


def describe_environment(
    settings: SessionSettings, provider: str, device: str, kernels: str | None = None
) -> Environment:
    """Return what the figures of a report depend on beside the model.

    Args:
        settings: those that the sessions were opened with.
        provider: the execution provider that ONNX Runtime used.
        device: the device of the pruning run, or ``"none"``.
        kernels: the processor path that ran sparse kernels; None where there were none.
    """
    return Environment(
        wfpipe=__version__,
        python=platform.python_version(),
        torch=_torch_version(),
        onnx=onnx.__version__,
        onnxruntime=ort.__version__,
        system=f"{platform.system()} {platform.machine()}",
        processor=processor_name(),
        cores=default_threads(),
        device=device,
        provider=provider,
        threads=settings.threads,
        spinning=settings.spinning,
        flush_denormals=settings.flush_denormals,
        kernels=kernels,
    )


def processor_name() -> str:
    """Return the processor's model name, or the architecture where the system does not tell."""
    name = platform.machine()
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    elif platform.system() == "Darwin":
        answer = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            text=True,
            check=False,
        )
        return answer.stdout.strip() or name
    elif platform.system() == "Windows":
        return platform.processor() or name
    return name


def _torch_version() -> str | None:
    """Return the version of PyTorch without importing it; None where it is not installed."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return None


def this_machine(kernels: str | None = None) -> Machine:
    """Return on what the figures are measured; ``kernels`` as for :func:`describe_environment`."""
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        processor=processor_name(),
        cores=default_threads(),
        python=platform.python_version(),
        onnxruntime=ort.__version__,
        wfpipe=__version__,
        kernels=kernels,
    )
