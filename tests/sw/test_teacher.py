import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from jpnet_spec.artefact import ArtefactError
from jpnet_spec.model_file import load_network
from jpnet_sw.models import build_model
from jpnet_sw.recipe import DistillConfig, TeacherFile, train
from jpnet_sw.recipe.epoch import train_step
from jpnet_sw.recipe.teacher import teacher_answers

EPOCH_MODULE = sys.modules["jpnet_sw.recipe.epoch"]
TRAIN_MODULE = sys.modules["jpnet_sw.recipe.train"]
SHAPE = (1, 8, 8)


@pytest.fixture
def teacher(tmp_path):
    """A file with a random network for the digits."""
    torch.manual_seed(11)
    path = tmp_path / "teacher.safetensors"
    save_file(build_model("mlp3", SHAPE).state_dict(), path)
    return TeacherFile(path=path, model="mlp3")


def run_short(out, recipe, teacher, *, resume=False):
    return train(
        model="mlp3",
        data="digits",
        seed=3,
        out=out,
        recipe=recipe,
        resume=resume,
        teacher=teacher,
        quiet=True,
    )


def test_answers_are_the_softened_means_of_image_and_mirror_image(teacher):
    network, images = teacher.load(SHAPE), torch.rand(1203, *SHAPE)
    answers = teacher_answers(network, images, temperature=3.0, mirrored=True)
    wanted = sum(
        torch.softmax(network(view) / 3, dim=1) for view in (images, images.flip(dims=(3,)))
    )
    torch.testing.assert_close(answers, wanted / 2)
    plain = teacher_answers(network, images, temperature=3.0, mirrored=False)
    torch.testing.assert_close(plain, torch.softmax(network(images) / 3, dim=1))


def test_a_file_teaches_every_stage(tmp_path, short_recipe, teacher, monkeypatch):
    taught = []

    def remember(*args, plan, answers=None):
        taught.append(answers)
        return train_step(*args, plan=plan, answers=answers)

    monkeypatch.setattr(EPOCH_MODULE, "train_step", remember)
    path = run_short(tmp_path, short_recipe, teacher)
    assert len(taught) == 12 * (1200 // 64)
    assert all(answers is not None for answers in taught)
    facts = load_network(path).metadata
    assert facts["teacher"] == teacher.identity()
    assert len(facts["teacher"]["sha256"]) == 64


def test_what_is_taught_is_learnt(tmp_path, short_recipe, teacher):
    """With all weight on the teacher the network answers like it and not like the labels."""
    recipe = replace(short_recipe, distill=DistillConfig(weight=1.0))
    accuracy = load_network(run_short(tmp_path, recipe, teacher)).metadata["accuracy_dense"]
    assert accuracy < 0.4


def test_resume_with_another_teacher_is_refused(tmp_path, short_recipe, teacher, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(TRAIN_MODULE, "write_history", stop)
    with pytest.raises(KeyboardInterrupt):
        run_short(tmp_path, short_recipe, teacher)
    with pytest.raises(ArtefactError, match="must be of this teacher"):
        run_short(tmp_path, short_recipe, None, resume=True)


def test_finished_run_is_of_its_teacher(tmp_path, short_recipe, teacher):
    path = run_short(tmp_path, short_recipe, teacher)
    before = path.stat().st_mtime_ns
    assert run_short(tmp_path, short_recipe, teacher, resume=True) == path
    assert path.stat().st_mtime_ns == before
    run_short(tmp_path, short_recipe, None, resume=True)
    assert "teacher" not in load_network(path).metadata


def test_missing_or_other_file_is_refused(tmp_path, short_recipe):
    path = tmp_path / "none.safetensors"
    with pytest.raises(ArtefactError, match=r"none\.safetensors: cannot be read"):
        run_short(tmp_path, short_recipe, TeacherFile(path=path, model="mlp3"))
    save_file({"fc1.weight": torch.from_numpy(np.zeros((3, 4), np.float32))}, path)
    with pytest.raises(ArtefactError, match=r"fc1.*must"):
        run_short(tmp_path, short_recipe, TeacherFile(path=path, model="mlp3"))
    assert not (tmp_path / "model.safetensors").exists()
