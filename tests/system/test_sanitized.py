"""The accelerator reads and writes nothing but its argument and its result, as sanitizers watch it."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.commands import unmeasured
from tests.support.documents import locate
from tests.support.peers import need

pytestmark = pytest.mark.system

OPTIONS = ["-O2", "-g", "-fPIC", "-shared", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

PROGRAM = """
from array import array
from _upper import _variants
data = bytes(range(256)) * 300
items = array("B", data)
for upper in _variants.values():
    for size in [*range(300), 4095, 4096, 65536, 76800]:
        exact = items[:size]  # unlike bytes and bytearrays, it has no byte more in memory
        for argument in exact, memoryview(exact)[size // 3:], data[:size], bytearray(data[:size]):
            assert upper(argument) == bytes(argument).upper()
    for wrong in "hello", memoryview(data)[::2]:
        try:
            upper(wrong)
        except (TypeError, BufferError):
            pass
print(*_variants)
"""


def runSanitized(folder: Path, source: str) -> "subprocess.CompletedProcess[str]":
    """Compile `source` with the sanitizers, and run PROGRAM with it, each object in memory of its own."""
    gcc = need("gcc")
    include = sysconfig.get_path("include")
    if not Path(include, "Python.h").exists():
        pytest.skip("Python.h is missing: apt-get install python3-dev")
    runtime = subprocess.check_output([gcc, "-print-file-name=libasan.so"], text=True).strip()
    if not Path(runtime).is_absolute():  # gcc prints the name as it is if it finds no such file
        pytest.skip("this gcc has no AddressSanitizer")
    (folder / "_upper.c").write_text(source)
    command = [gcc, *OPTIONS, f"-I{include}", "_upper.c", "-o", "_upper.abi3.so"]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    environment = {
        **unmeasured(),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python frees little of what it has at its end
        "LD_PRELOAD": os.pathsep.join([runtime, os.environ.get("LD_PRELOAD", "")]).strip(os.pathsep),
        "PYTHONMALLOC": "malloc",
    }
    command = [sys.executable, "-S", "-c", PROGRAM]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_sanitizersFindNothing(tmp_path: Path) -> None:
    """AddressSanitizer and UBSan find nothing in any variant, at any size."""
    result = runSanitized(tmp_path, locate("echoup/_upper.c").read_text())
    assert (result.returncode, result.stderr) == (0, "")
    assert "C" in result.stdout


def test_sanitizersFindOneByteTooMany(tmp_path: Path) -> None:
    """AddressSanitizer would find a loop that takes one byte too many."""
    source = locate("echoup/_upper.c").read_text()
    assert source.count("i < size") == 1
    result = runSanitized(tmp_path, source.replace("i < size", "i <= size"))
    assert result.returncode != 0
    assert "ERROR: AddressSanitizer: heap-buffer-overflow" in result.stderr
