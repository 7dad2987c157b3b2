"""Methods in a user's Python file."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from jpnet_sw.sparsity.methods.registry import add_method

__all__ = ["find_method"]


def find_method(text: str) -> str:
    """Return the name of a method, which is loaded if it is in a file.

    Parameters
    ----------
    text
        A name, which is returned as it is, or ``FILE.py:CLASS``; the class's name in lower case is
        then the method's.

    Raises
    ------
    ValueError
        If there is no such file or class, the file does not load, or the class is no method.
    """
    file, colon, kind = text.rpartition(":")
    if not colon:
        return text
    path = Path(file)
    if path.suffix != ".py" or not path.is_file():
        raise ValueError(f"method's file must be a Python file that exists, not {file!r}")
    spec = spec_from_file_location(f"jpnet_method_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path}: method's file must load, not end with {type(error).__name__}: {reason}"
        ) from error
    if not hasattr(module, kind):
        raise ValueError(f"{path}: method must be a class of this file, not {kind!r}")
    add_method(kind.lower(), getattr(module, kind))
    return kind.lower()
