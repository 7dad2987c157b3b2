from pathlib import Path

import pytest

from jpnet.workspace import Workspace, load_config
from jpnet_spec.configs import PRESETS


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("mlp3", "mlp3"),
        ("mlp3-mnist", "mlp3"),
        ("mlp3-digits", "mlp3-digits"),
        ("some/mine.safetensors", "mine"),
        ("some/mine/model.safetensors", "mine"),
    ],
)
def test_model_has_one_name(model: str, name: str) -> None:
    assert Workspace(build=Path("build"), model=model, config="tiny").model_name == name


def test_configuration_file_gives_the_folder_its_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"lanes": 2}')
    workspace = Workspace(build=Path("build"), model="m", config=str(path))
    assert workspace.folder == Path("build/m/mine")
    assert load_config(str(path)).lanes == 2


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_are_found_by_name(name: str) -> None:
    assert load_config(name) == PRESETS[name]
