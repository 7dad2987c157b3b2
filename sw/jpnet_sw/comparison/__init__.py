"""All pruning methods on the same network with the same budget."""

from jpnet_sw.comparison.figures import row_figures
from jpnet_sw.comparison.rows import Published, Row, find_row, rows_of, table_models

__all__ = ["Published", "Row", "find_row", "row_figures", "rows_of", "table_models"]
