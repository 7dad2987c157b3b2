"""Documentation pages with a part that is made from measured results."""

from pathlib import Path

from jpnet_spec.artefact import atomic_path

__all__ = ["put_between", "write_page"]


def put_between(page: str, table: str, *, begin: str, end: str) -> str:
    """Return a page with a table between two markers.

    Parameters
    ----------
    page
        Its text.
    table
        What replaces all that is between the markers.
    begin, end
        The markers, whole lines.

    Raises
    ------
    ValueError
        If a marker is missing.
    """
    if begin not in page or end not in page:
        raise ValueError(f"page must hold the lines {begin.strip()!r} and {end.strip()!r}")
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.partition(end)[2]}"


def write_page(page: Path, text: str) -> None:
    """Write a page, the whole of it or nothing."""
    with atomic_path(page) as temporary:
        temporary.write_text(text)
