import sys

import pytest

from jpnet.provenance import provenance


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["bench", "--build", "build"], "jpnet bench --build build"),
        (["bench", "--data-root", "/somewhere/data"], "jpnet bench --data-root PATH"),
        (["bench", "--data-root=/somewhere/data"], "jpnet bench --data-root=PATH"),
    ],
)
def test_the_command_names_no_path_of_one_machine(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], shown: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/jpnet", *arguments])
    assert provenance(seed=0, data="mnist")["command"] == shown
