"""Check that a folder holds the wheel of each platform, and each wheel its platform's library.

python tests/building/check_wheels.py dist
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

from wfpipe.exporters.measuring.kernels_library import kernel_path, library_path
from wfpipe.exporters.measuring.platforms import platform_name

LIBRARIES = "wfpipe/exporters/runtime/libraries/"
TAGS = {
    "linux-x86_64": "manylinux_2_17_x86_64",
    "linux-aarch64": "manylinux_2_17_aarch64",
    "macos-arm64": "macosx_11_0_arm64",
    "windows-x86_64": "win_amd64",
}
FORMATS = {
    "linux-x86_64": rb"\x7fELF\x02\x01.{12}\x3e\x00",
    "linux-aarch64": rb"\x7fELF\x02\x01.{12}\xb7\x00",
    "macos-arm64": rb"\xcf\xfa\xed\xfe\x0c\x00\x00\x01",
    "windows-x86_64": rb"MZ.*?PE\x00\x00\x64\x86",
}
SYMBOLS = (b"RegisterCustomOps", b"wfpipe_kernels_path", b"wfpipe_kernels_version")


_LOAD = """
import onnxruntime, wfpipe
from wfpipe.exporters.measuring import kernels_library as kernels
library = kernels.library_path()
kernels.register(onnxruntime.SessionOptions(), library)
print(kernels.kernel_path(library))
"""


def check_wheel(wheel: Path, platform: str) -> None:
    """Hold a wheel to what it must have: its tag, one library, and nothing of other platforms."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (record,) = (name for name in names if name.endswith(".dist-info/WHEEL"))
        tags = re.findall(r"^Tag: (.+)$", archive.read(record).decode(), re.MULTILINE)
        assert tags == [f"py3-none-{TAGS[platform]}"], tags
        (library,) = (name for name in names if name.startswith(LIBRARIES))
        assert library.startswith(f"{LIBRARIES}{platform}/"), library
        check_library(archive.read(library), platform)


def check_library(content: bytes, platform: str) -> None:
    """Hold a library to its processor and format, its entry points and what it needs to load."""
    assert re.match(FORMATS[platform], content, re.DOTALL), f"{platform}: another format"
    for symbol in SYMBOLS:
        assert symbol in content, f"{platform}: no {symbol.decode()}"
    if platform.startswith("linux"):
        newest = max(needed_glibc(content), default=(2, 0))
        assert newest <= (2, 17), f"{platform}: needs glibc {newest}"
    for runtime in (b"libstdc++.so", b"libc++.", b"libgcc_s", b"libunwind.so", b"MSVCP"):
        assert runtime not in content, f"{platform}: needs {runtime.decode()}"


def needed_glibc(content: bytes) -> list[tuple[int, int]]:
    """Return the versions of glibc whose symbols an ELF library asks for."""
    versions = re.findall(rb"\x00GLIBC_(\d+)\.(\d+)", content)
    return [(int(major), int(minor)) for major, minor in versions]


def check_loads(wheel: Path) -> None:
    """Install a wheel in a new virtual environment and give ONNX Runtime its library."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder, "Scripts" if sys.platform == "win32" else "bin", "python"))
        pip = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "onnx", "onnxruntime"], check=True)
        subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
        load = [python, "-I", "-c", _LOAD]
        path = subprocess.run(load, check=True, cwd=folder, stdout=subprocess.PIPE, text=True)
    own = library_path()
    assert own is None or path.stdout.strip() == kernel_path(own), path.stdout
    print(f"installed alone, it loads: {path.stdout.strip()}")


def main(folder: Path) -> None:
    """Check the wheels in ``folder``, and that the sources come without libraries."""
    for platform, tag in TAGS.items():
        (wheel,) = folder.glob(f"wfpipe-*-py3-none-{tag}.whl")
        check_wheel(wheel, platform)
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, good")
        if platform == platform_name():
            check_loads(wheel)
    (sources,) = folder.glob("wfpipe-*.tar.gz")
    with tarfile.open(sources) as archive:
        names = archive.getnames()
    assert any(name.endswith("/exporters/runtime/native/operators.cpp") for name in names)
    assert not any("wfpipe_kernels." in name for name in names)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
