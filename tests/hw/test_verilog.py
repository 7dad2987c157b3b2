import hashlib
import json
import re

import pytest

from jpnet_hw import verilog
from jpnet_hw.verilog import EmissionError, emit
from jpnet_spec.config import AcceleratorConfig

CONFIG = AcceleratorConfig(
    lanes=1,
    groups=1,
    clusters=2,
    contexts=2,
    act_word=8,
    weight_depth=64,
    pointer_depth=64,
    acc_depth=16,
    act_depth=16,
    param_depth=16,
    program_depth=4,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verilog")
    assert emit(CONFIG, folder) == folder / "jpnet_accelerator.v"
    return folder


def test_the_same_configuration_gives_the_same_bytes(folder, tmp_path):
    emit(CONFIG, tmp_path / "again")
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "again").iterdir())
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_manifest_describes_every_file(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert AcceleratorConfig(**manifest["config"]) == CONFIG
    assert int(manifest["config_hash"], 16) == CONFIG.config_hash
    names = {path.name for path in folder.iterdir()} - {"manifest.json"}
    assert set(manifest["sha256"]) == names
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_top_has_the_documented_ports(folder):
    text = (folder / "jpnet_accelerator.v").read_text()
    top = re.search(r"module jpnet_accelerator\((.*?)\);", text, re.DOTALL)
    ports = set(re.sub(r"\s", "", top[1]).split(","))
    lite = "awaddr awprot awvalid awready wdata wstrb wvalid wready bresp bvalid bready araddr "
    lite += "arprot arvalid arready rdata rresp rvalid rready"
    address = "id addr len size burst lock cache prot valid ready".split()
    master = [f"{channel}{name}" for channel in ("aw", "ar") for name in address]
    master += "wdata wstrb wlast wvalid wready bid bresp bvalid bready".split()
    master += "rid rdata rresp rlast rvalid rready".split()
    trace = [
        f"row_{name}" for name in "valid context image layer banks address column data".split()
    ]
    trace += [f"theta_{name}" for name in "valid context image layer value".split()]
    expected = {"clk", "rst", "irq"}
    expected |= {f"s_axil_{name}" for name in lite.split()}
    expected |= {f"m_axi_{name}" for name in master}
    expected |= {f"trace_{name}" for name in trace}
    assert ports == expected


def test_equal_parts_are_one_module(folder):
    text = (folder / "jpnet_accelerator.v").read_text()
    parts = re.findall(r"^module \S*jpnet_accelerator\.([\w.]+) ?\(", text, re.MULTILINE)
    for place in ("context_", "cluster_", "skipper_", r"skipper_0\.walker_"):
        found = [part for part in parts if re.fullmatch(place + r"\d", part)]
        assert found == [place.replace("\\", "") + "0"]


def test_no_path_of_the_build_is_in_the_files(folder):
    for path in folder.iterdir():
        assert "/home" not in path.read_text(), path.name
        assert ".py:" not in path.read_text(), path.name


def test_a_failure_leaves_the_old_files(folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(verilog, "Accelerator", lambda _: None)
    monkeypatch.setattr(verilog, "convert_rtlil", lambda *_, **__: "module \\top\nend\n")
    monkeypatch.setattr(verilog.sys, "executable", "false")
    with pytest.raises(EmissionError, match="Yosys failed with exit code 1"):
        emit(CONFIG, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
