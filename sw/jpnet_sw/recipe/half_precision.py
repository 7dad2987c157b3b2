"""Products in bfloat16, where a processor multiplies it."""

import torch

__all__ = ["half_precision"]

_CPU_NAMES = ("amx_bf16", "avx512_bf16", "bf16")


def half_precision(device: torch.device, *, wanted: bool) -> torch.autocast:
    """Return the context in which products are in bfloat16, if wanted and fast.

    On a processor without instructions for it they stay in float32, which then takes a fraction of
    the time.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and _is_fast(device))


def _is_fast(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older releases of torch cannot tell.
    told: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(told.get(name) for name in _CPU_NAMES)
