"""Builds a netlist for cocotb and runs benches on it."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Verilator

from jpnet_cosim.verilator_build import (
    QUICK_FLAGS,
    TOP,
    build_environment,
    build_lock,
    keyed_folder,
    sources,
)

__all__ = ["BenchVerilator", "run_benches"]

_FLAGS = ("-O3", *QUICK_FLAGS)
_MAKE = "OPT_FAST=-O0 OPT_GLOBAL=-O0"  # benches spend their time in Python, not in the netlist


class BenchVerilator(Verilator):
    """cocotb's runner for the packaged Verilator, with nothing public but the top's ports.

    A design whose every signal is public cannot be optimised: it builds and runs several times
    slower.
    """

    def _set_env_build(self) -> None:
        super()._set_env_build()
        environment = build_environment()
        self.env.update(environment)
        self.env["MAKEFLAGS"] = f"{environment['MAKEFLAGS']} {_MAKE}"

    def _simulator_in_path_build_only(self) -> None:
        self.executable = "verilator"

    def _build_command(self) -> list[list[str]]:
        compile_command, *others = super()._build_command()
        return [[part for part in compile_command if part != "--public-flat-rw"], *others]


def _ports_file(top: str) -> str:
    return f'`verilator_config\npublic_flat_rw -module "{top}" -port "*"\n'


def _build(verilog_dir: Path, *, cache_dir: Path, top: str, waves: bool) -> Path:
    texts = {source.name: source.read_bytes() for source in sources(verilog_dir)}
    texts["top_ports.vlt"] = _ports_file(top).encode()
    flags = [*_FLAGS, _MAKE, "cocotb", top, *(["waves"] if waves else [])]
    folder = keyed_folder(cache_dir, texts=texts, flags=flags)
    with build_lock(folder):
        if folder.is_dir():
            return folder
        with tempfile.TemporaryDirectory(prefix=".build-", dir=cache_dir) as temporary:
            stage = Path(temporary) / "stage"
            stage.mkdir()
            for name, text in texts.items():
                (stage / name).write_bytes(text)
            ordered = sorted(texts, key=lambda name: (not name.endswith(".vlt"), name))
            BenchVerilator().build(
                sources=[stage / name for name in ordered],
                hdl_toplevel=top,
                build_dir=stage,
                build_args=list(_FLAGS),
                timescale=("1ns", "1ps"),
                waves=waves,
            )
            complete = Path(temporary) / "complete"
            complete.mkdir()
            (stage / top).rename(complete / top)
            complete.rename(folder)
    return folder


def run_benches(
    verilog_dir: Path,
    *,
    module: str,
    cache_dir: Path,
    work_dir: Path,
    top: str = TOP,
    bench_prefixes: Sequence[str] = ("",),
    options: Mapping[str, str] | None = None,
    seed: int = 1,
    waves: bool = False,
) -> int:
    """Run the benches of a module on a netlist and return how many passed.

    Must be called from a pytest test: elsewhere cocotb's runner does not report failures.

    Parameters
    ----------
    verilog_dir
        Folder with the Verilog.
    module
        Python module with the benches.
    cache_dir
        Where builds are kept.
    work_dir
        Where results and waveforms go.
    top
        Top module.
    bench_prefixes
        Beginnings of the names of the benches to run; by default all.
    options
        Passed to the benches as plusargs.
    seed
        Of cocotb's random numbers.
    waves
        Whether to record waveforms in `work_dir`.

    Raises
    ------
    RuntimeError
        If no bench ran.
    """
    folder = _build(verilog_dir, cache_dir=cache_dir, top=top, waves=waves)
    results = BenchVerilator().test(
        test_module=module,
        hdl_toplevel=top,
        hdl_toplevel_lang="verilog",
        build_dir=folder,
        test_dir=work_dir,
        test_filter=rf"{re.escape(module)}\.({'|'.join(map(re.escape, bench_prefixes))})",
        plusargs=[f"+{name}={value}" for name, value in (options or {}).items()],
        seed=seed,
        waves=waves,
    )
    ran, failed = get_results(results)
    if ran == 0 or failed:
        raise RuntimeError(f"{module}: {ran} benches ran, {failed} failed")
    return int(ran)
