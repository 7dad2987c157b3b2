"""A page's tables and pictures of studies: `python -m jpnet.study_page`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from jpnet.page import put_between, write_page
from jpnet.study_figures import draw_study
from jpnet.study_file import Study, read_study
from jpnet.study_tables import study_table
from jpnet_spec.artefact import ArtefactError

__all__ = ["main", "markers", "update_page"]


def markers(study: Study) -> tuple[str, str]:
    """Return the lines of a page between which a study's tables stand."""
    return f"<!-- study {study.value} -->\n", f"<!-- end of {study.value} -->\n"


def update_page(folder: Path, page: Path, images: Path) -> None:
    """Put every study of a folder into a page and draw its picture.

    Parameters
    ----------
    folder
        Of files ``<model>-<study>.json``, as ``jpnet study --results`` writes them.
    page
        With the `markers` of each study that is there.
    images
        Folder of the pictures, ``study-<model>-<study>.svg``.

    Raises
    ------
    ValueError
        If there is no study, a file is damaged, or a marker is missing.
    """
    text = page.read_text()
    found = {study: sorted(folder.glob(f"*-{study.value}.json")) for study in Study}
    if not any(found.values()):
        raise ArtefactError(f"{folder}: holds no study, `jpnet study` makes them")
    for study, files in found.items():
        parts = [_part(path, page, images) for path in files]
        if parts:
            begin, end = markers(study)
            text = put_between(text, "\n\n".join(parts) + "\n", begin=begin, end=end)
    write_page(page, text)


def _part(path: Path, page: Path, images: Path) -> str:
    content = read_study(path)
    picture = draw_study(content, images / f"study-{path.stem}.svg")
    place = Path(os.path.relpath(picture, page.parent)).as_posix()
    return (
        f"**{content['model']}** on {content['dataset']}, seed {content['seed']}. "
        f"{study_table(content)}\n\n![{content['study']} of {content['model']}]({place})"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Put studies into a page."""
    parser = argparse.ArgumentParser(prog="python -m jpnet.study_page", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder that jpnet study --results wrote")
    parser.add_argument("--page", type=Path, required=True, help="page that gets the tables")
    parser.add_argument("--images", type=Path, required=True, help="folder of the pictures")
    options = parser.parse_args(arguments)
    update_page(options.folder, options.page, options.images)
    return 0


if __name__ == "__main__":
    sys.exit(main())
