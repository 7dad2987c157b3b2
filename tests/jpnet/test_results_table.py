from pathlib import Path

import pytest

from jpnet.json_file import write_json
from jpnet.results_table import insert_results, results_table
from jpnet_spec.artefact import ArtefactError


def test_missing_results_name_the_command_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no results, `jpnet bench` makes them"):
        results_table(tmp_path)


def test_results_of_another_kind_are_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "mlp3-edge16.json", kind="speed", content={})
    with pytest.raises(ArtefactError, match="expected a jpnet report file"):
        results_table(tmp_path)


def test_page_keeps_everything_but_the_table() -> None:
    page = "a\n<!-- jpnet results docs/results -->\nold\n<!-- end of results -->\nb\n"
    once = insert_results(page, "| new |\n")
    assert once.startswith("a\n")
    assert once.endswith("b\n")
    assert "old" not in once
    assert insert_results(once, "| new |\n") == once


def test_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="page must hold the lines"):
        insert_results("nothing", "| new |\n")
