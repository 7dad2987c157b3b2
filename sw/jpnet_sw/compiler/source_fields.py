"""Where an instruction finds what it reads."""

from jpnet_spec.tensor_layout import MapLayout
from jpnet_sw.compiler.spans import ReadWords, Span

__all__ = ["source_fields"]


def source_fields(read: ReadWords, base: int, span: Span | None = None) -> dict[str, int]:
    """Return the instruction's fields of a source, or of some of its words.

    Parameters
    ----------
    read
        Who reads what.
    base
        First word of the tensor.
    span
        The words; None for all.
    """
    layout = read.layout
    span = span or Span(first_word=0, words=read.words)
    if not isinstance(layout, MapLayout):
        row_words = layout.config.clusters * layout.config.act_columns
        return {
            "source_base": base + span.first_word,
            "source_rows": min(layout.rows, span.end_word * row_words)
            - span.first_word * row_words,
        }
    fields = {
        "source_base": base + span.first_word,
        "source_rows": 0,
        "source_packing": layout.packing,
        "source_height": layout.height,
        "source_width": layout.width,
        "source_tail": layout.tail if read.is_last(span) else 0,
        "source_pixel_words": layout.pixel_words,
        "source_row_words": layout.row_words,
        "source_words": layout.bank_words - span.first_word,
    }
    if read.layer.convolution is not None:
        gap = layout.pixel_words - span.words
        return fields | {"source_pixel_words": span.words, "source_pixel_gap": gap}
    if span.words == read.words:
        return fields
    # Banks without a row below the map end where that row begins.
    clusters = layout.config.clusters
    ragged = span.end_word - max(span.first_word, layout.height // clusters * layout.row_words)
    left_over = layout.height % clusters if ragged > 0 else 0
    return fields | {
        "source_tail": layout.tail,
        "source_height": clusters + left_over,
        "source_row_words": ragged if ragged > 0 else layout.row_words,
        "source_words": span.words,
    }
