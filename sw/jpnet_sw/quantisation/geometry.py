"""Torch's convolution and pooling modules in the terms of the specification."""

from torch import nn

from jpnet_spec.convolution import Convolution
from jpnet_spec.window import Window

__all__ = [
    "average_window",
    "check_average",
    "check_convolution",
    "check_pool",
    "convolution_of",
    "pool_window",
]


def _pair(value: object) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    assert isinstance(value, tuple | list)
    return int(value[0]), int(value[1])


def _stride(name: str, value: object) -> int:
    rows, columns = _pair(value)
    if rows != columns:
        raise ValueError(f"layer {name!r}: stride must be the same both ways, not {value!r}")
    return rows


def check_convolution(name: str, module: nn.Conv2d) -> None:
    """Refuse a convolution that the integer network cannot express.

    Raises
    ------
    ValueError
        If it is dilated, strided differently in both directions or not padded with zeros.
    """
    _stride(name, module.stride)
    if _pair(module.dilation) != (1, 1):
        raise ValueError(f"layer {name!r}: dilation must be 1, not {module.dilation!r}")
    if module.padding_mode != "zeros":
        raise ValueError(
            f"layer {name!r}: padding_mode must be 'zeros', not {module.padding_mode!r}"
        )


def check_pool(name: str, module: nn.MaxPool2d) -> None:
    """Refuse a max pooling that the integer network cannot express.

    Raises
    ------
    ValueError
        If it is dilated, strided differently in both directions or returns indices.
    """
    _stride(name, module.stride)
    if _pair(module.dilation) != (1, 1):
        raise ValueError(f"layer {name!r}: dilation must be 1, not {module.dilation!r}")
    if module.return_indices:
        raise ValueError(f"layer {name!r}: return_indices must be False, not True")


def check_average(name: str, module: nn.AvgPool2d | nn.AdaptiveAvgPool2d) -> None:
    """Refuse an average pooling that the integer network cannot express.

    Raises
    ------
    ValueError
        If windows would be divided by different areas, or an adaptive one has several outputs.
    """
    if isinstance(module, nn.AdaptiveAvgPool2d):
        size = module.output_size
        if size not in (1, (1, 1)):
            raise ValueError(f"layer {name!r}: output_size must be 1, not {size!r}")
        return
    _stride(name, module.stride)
    padded = _pair(module.padding) != (0, 0)
    if module.ceil_mode or (padded and not module.count_include_pad):
        raise ValueError(
            f"layer {name!r}: every window must have the same divisor, not ceil_mode="
            f"{module.ceil_mode} with count_include_pad={module.count_include_pad}"
        )
    if module.divisor_override is not None:
        raise ValueError(
            f"layer {name!r}: divisor_override must be None, not {module.divisor_override!r}"
        )


def average_window(module: nn.AvgPool2d | nn.AdaptiveAvgPool2d, maps: tuple[int, int]) -> Window:
    """Return the window of a checked average pooling over maps of a height and width."""
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return Window(size=maps)
    rows, columns = _pair(module.padding)
    return Window(
        size=_pair(module.kernel_size),
        stride=_stride("", module.stride),
        padding=(rows, rows, columns, columns),
    )


def convolution_of(module: nn.Conv2d, input_shape: tuple[int, ...]) -> Convolution:
    """Return what a checked module convolves images of a shape with.

    Raises
    ------
    ValueError
        If the shape is not that of maps, or the kernel does not fit.
    """
    if len(input_shape) != 3:
        raise ValueError(f"input must be channels, height and width, not {input_shape!r}")
    size = _pair(module.kernel_size)
    if module.padding == "same":
        # As torch does: the larger half of an odd sum comes after.
        before = [(extent - 1) // 2 for extent in size]
        after = [extent - 1 - first for extent, first in zip(size, before, strict=True)]
    else:
        before = after = [0, 0] if module.padding == "valid" else list(_pair(module.padding))
    window = Window(
        size=size,
        stride=_stride("", module.stride),
        padding=(before[0], after[0], before[1], after[1]),
    )
    return Convolution(
        input_shape=(input_shape[0], input_shape[1], input_shape[2]),
        window=window,
        channel_groups=module.groups,
    )


def pool_window(module: nn.MaxPool2d, maps: tuple[int, ...]) -> Window:
    """Return the window of a checked pooling module over maps of a height and width.

    Rounding the output's size up is padding at the bottom and the right.
    """
    size, stride = _pair(module.kernel_size), _stride("", module.stride)
    around = _pair(module.padding)
    padding = []
    for extent, length, before in zip(size, maps, around, strict=True):
        after = before
        if module.ceil_mode:
            steps = -(-max(0, length + 2 * before - extent) // stride)
            # A window that begins in the padding is none.
            steps -= steps * stride >= length + before
            after = max(before, steps * stride + extent - length - before)
        padding += [before, after]
    return Window(
        size=size, stride=stride, padding=(padding[0], padding[1], padding[2], padding[3])
    )
