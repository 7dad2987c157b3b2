"""Builds are keyed by content, lint is clean, and failures are reported."""

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jpnet_cosim import verilator_build
from jpnet_cosim.samples import GEOMETRIES
from jpnet_cosim.verilator_build import BuildError, build_native, keyed_folder, lint
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.configs import PRESETS

LARGE = sorted(set(PRESETS) - {"tiny"})

Emitted = Callable[[AcceleratorConfig], Path]


@pytest.mark.parametrize(
    "name", ["tiny", *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]
)
def test_presets_are_lint_clean(emitted: Emitted, name: str) -> None:
    lint(emitted(PRESETS[name]))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name == "wide" else []) for name in GEOMETRIES],
)
def test_odd_geometries_are_lint_clean(emitted: Emitted, name: str) -> None:
    lint(emitted(GEOMETRIES[name]))


def test_lint_finds_a_planted_fault(verilog_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(verilog_dir, tmp_path / "copy")
    spoilt = sorted((tmp_path / "copy").glob("*.v"))[0]
    spoilt.write_text(
        spoilt.read_text() + "\nmodule extra(input a, output b, c);\nassign b = a;\nendmodule\n"
    )
    with pytest.raises(BuildError, match=r"UNDRIVEN|MULTITOP"):
        lint(tmp_path / "copy", top="extra")


def test_a_folder_without_verilog_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no Verilog found"):
        build_native(tmp_path, cache_dir=tmp_path / "cache")


def test_verilog_without_the_accelerator_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.v").write_text("module other(input clk); endmodule\n")
    with pytest.raises(BuildError, match="no module jpnet_accelerator with its ports found"):
        build_native(tmp_path, cache_dir=tmp_path / "cache")


def test_broken_verilog_leaves_no_build(verilog_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    text = "module jpnet_accelerator(clk);\n  input clk;\n  assign = ;\nendmodule\n"
    (tmp_path / "broken" / "top.v").write_text(text)
    with pytest.raises(BuildError, match="syntax error"):
        build_native(tmp_path / "broken", cache_dir=tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".locks"]


def test_a_build_is_found_again(verilog_dir: Path, cache_dir: Path) -> None:
    first = build_native(verilog_dir, cache_dir=cache_dir, optimise=False)
    changed = first.stat().st_mtime_ns
    assert build_native(verilog_dir, cache_dir=cache_dir, optimise=False) == first
    assert first.stat().st_mtime_ns == changed


def test_two_who_want_a_build_make_it_once(
    verilog_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Path] = []

    def build(command: Sequence[str], *, folder: Path, what: str) -> None:
        started.append(folder)
        time.sleep(0.2)
        (folder / "obj").mkdir()
        (folder / "obj" / "simulate").touch()

    monkeypatch.setattr(verilator_build, "_run", build)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda _: build_native(verilog_dir, cache_dir=tmp_path), range(4)))
    assert len(started) == 1
    assert len(set(found)) == 1
    assert found[0].is_file()


def test_the_key_depends_on_every_byte_and_flag(tmp_path: Path) -> None:
    base = keyed_folder(tmp_path, texts={"a.v": b"1", "b.v": b"2"}, flags=["-O3"])
    for texts, flags in (
        ({"a.v": b"1", "b.v": b"3"}, ["-O3"]),
        ({"a.v": b"1", "c.v": b"2"}, ["-O3"]),
        ({"a.v": b"12", "b.v": b""}, ["-O3"]),
        ({"a.v": b"1", "b.v": b"2"}, ["-O2"]),
    ):
        assert keyed_folder(tmp_path, texts=texts, flags=flags) != base
    again = keyed_folder(tmp_path, texts={"b.v": b"2", "a.v": b"1"}, flags=["-O3"])
    assert again == base
