"""The demonstration: everything once, and what it says when it cannot begin."""

from pathlib import Path

import pytest

from jpnet import cli
from jpnet.report import read_report
from jpnet.workspace import Workspace


@pytest.mark.slow
def test_demo_proves_the_verilog_of_a_network_that_it_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["demo", "--config", "tiny", "--build", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    titles = [line for line in shown.splitlines() if line[:2] in {f"{n}." for n in range(1, 6)}]
    assert [title[0] for title in titles] == list("12345")
    report = read_report(Workspace(build=tmp_path, model="mlp3-digits", config="tiny"))
    assert report["mismatches"] == 0
    assert report["accuracy_rtl"] == report["accuracy_int8"] > 0.9
    assert report["speedup_over_dense"] > 1
    assert "Proved: the generated Verilog of tiny" in shown


def test_demo_of_an_unknown_configuration_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["demo", "--config", "tinny", "--build", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "tinny" in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
