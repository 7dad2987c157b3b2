import subprocess
import sys

import pytest

import jpnet

PROGRAM = """
import importlib, pkgutil, sys
package = importlib.import_module({package!r})
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.startswith("jpnet_cosim.benches."):
        importlib.import_module(module.name)
loaded = sorted({banned!r} & set(sys.modules))
sys.exit(f"{package} loads " + ", ".join(loaded) if loaded else 0)
"""


@pytest.mark.parametrize(
    ("package", "banned"),
    [
        ("jpnet_spec", {"torch", "amaranth", "jpnet_hw", "jpnet_sw", "jpnet_cosim", "jpnet"}),
        ("jpnet_hw", {"torch", "jpnet_sw", "jpnet_cosim", "jpnet"}),
        ("jpnet_sw", {"amaranth", "jpnet_hw", "jpnet_cosim", "jpnet"}),
        ("jpnet_cosim", {"torch", "jpnet_sw", "jpnet"}),
    ],
)
def test_no_module_of_a_package_loads_what_it_may_not(package: str, banned: set[str]) -> None:
    program = PROGRAM.replace("{package!r}", repr(package)).replace("{banned!r}", repr(banned))
    program = program.replace("{package}", package)
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_front_door_loads_neither_torch_nor_amaranth_until_it_needs_them() -> None:
    program = "import sys, jpnet.cli; sys.exit(bool({'torch', 'amaranth'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_front_door_offers_only_names_that_exist() -> None:
    for name in jpnet.__all__:
        assert getattr(jpnet, name) is not None


def test_front_door_refuses_other_names() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = jpnet.nothing
