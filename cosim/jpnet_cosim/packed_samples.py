"""Random packed lists for the test benches."""

import numpy as np

from jpnet_spec.packed_lists import FIELDS, ListPacking, ListShape, PackedFields

__all__ = ["random_fields"]


def random_fields(
    rng: np.random.Generator, packing: ListPacking, *, rows: int, columns: int, entries: int
) -> PackedFields:
    """Return random fields of at least so many entries; blocks end with a whole list."""
    shape = ListShape(packing=packing, rows=rows, columns=columns)
    first = code = int(rng.integers(shape.most_code + 1))
    codes: list[int] = []
    trailing: list[int] = []
    while len(codes) < entries:
        count = 1 if shape.is_runs else shape.blocks(code)
        codes += [code] * count
        if shape.is_runs:
            trailing.append(-1)
            continue
        code = int(rng.integers(shape.most_code + 1))
        trailing += [-1] * (count - 1) + [code]
    fields = [rng.integers(1 << code, size=FIELDS) for code in codes]
    return PackedFields(
        shape=shape,
        begins=True,
        code=first,
        fields=np.array(fields, dtype=np.uint8),
        codes=np.array(codes, dtype=np.uint8),
        trailing=np.array(trailing, dtype=np.int8),
    )
