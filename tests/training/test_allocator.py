"""The allocator's habits: freed memory is used again without asking the kernel."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.conftest import PROJECT

# In a process of its own: the habits would stay for all later tests.
_PAGE_FAULTS = """
import ctypes, resource, sys
from training.allocator import keep_freed_memory
if "keep" in sys.argv:
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def touch():
    block = libc.malloc(ctypes.c_size_t(1 << 26))
    ctypes.memset(block, 1, 1 << 26)
    libc.free(block)
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _page_faults(*arguments: str) -> int:
    command = [sys.executable, "-c", _PAGE_FAULTS, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=PROJECT)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a habit of glibc")
def test_freed_blocks_come_back_without_page_faults() -> None:
    assert _page_faults("keep") * 10 < _page_faults()
