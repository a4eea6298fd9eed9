"""Where a model runs and in which number format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from alchemy.errors import AlchemyError, ErrorCode

if TYPE_CHECKING:
    import torch

_CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def pick_device(name: str) -> str:
    """`auto` → the accelerator when there is one (CUDA and ROCm are both `cuda` to torch), else CPU.

    Raises:
        AlchemyError: CONFIG_INVALID for a device this machine does not have.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise AlchemyError(
            ErrorCode.CONFIG_INVALID, f"unknown device {name!r}", "Use auto, cpu or cuda[:n]."
        ) from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise AlchemyError(
            ErrorCode.CONFIG_INVALID,
            f"device {name!r} is configured, but torch sees no GPU here",
            "Set device: auto, or install a torch build for this GPU.",
        )
    return name


def fast_bfloat16(device: str) -> bool:
    """Whether bfloat16 arithmetic is native on this device (AMX or AVX512-BF16 on a CPU)."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported()
    # torch offers no public question for it; both names exist in every torch we allow
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # pyright: ignore[reportPrivateUsage]


def pick_dtype(name: str, device: str, *, cpu_default: str = "float32") -> torch.dtype:
    """`auto` → bfloat16 or float16 on a GPU, `cpu_default` on a CPU; else the named one."""
    import torch

    if name == "auto":
        if device.startswith("cuda"):
            name = "bfloat16" if fast_bfloat16(device) else "float16"
        else:
            name = cpu_default
    return getattr(torch, name)


def available_cores() -> int:
    """Cores this process may use: affinity, cut by the container's CPU limit."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = _CGROUP_LIMIT.read_text(encoding="ascii").split()[:2]
    except (OSError, ValueError):  # no cgroup v2: no limit to read
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def use_cores(sharing: int = 1) -> int:
    """Let torch compute on all cores, divided among `sharing` processes; the number of threads.

    Ray sets OMP_NUM_THREADS to an actor's `num_cpus`, which here are scheduling shares of a small
    machine: without this call a stage that owns the machine would compute on one core.
    """
    import torch

    threads = max(1, available_cores() // max(1, sharing))
    torch.set_num_threads(threads)
    return threads
