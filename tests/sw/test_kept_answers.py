"""A teacher is asked once, however often a training is stopped."""

import sys

import pytest
import torch
from safetensors.torch import save_file

from jpnet_sw.models import build_model
from jpnet_sw.recipe import TeacherFile, train
from jpnet_sw.recipe.kept_answers import kept_answers
from jpnet_sw.recipe.train import ANSWERS_FILE

SHAPE = (1, 8, 8)


def test_answers_are_kept_for_their_question(tmp_path):
    path, asked = tmp_path / "answers.safetensors", []

    def ask():
        asked.append(1)
        return torch.full((3, 2), float(len(asked)))

    for question, writes, wanted in (
        ({"teacher": "a"}, False, 1),
        ({"teacher": "a"}, True, 2),
        ({"teacher": "a"}, True, 2),
        ({"teacher": "b"}, True, 3),
        ({"teacher": "a"}, True, 4),
    ):
        found = kept_answers(path, question, ask, writes=writes)
        assert torch.equal(found, torch.full((3, 2), float(wanted)))
        assert path.exists() is writes
    path.write_bytes(path.read_bytes()[:-1])
    assert kept_answers(path, {"teacher": "a"}, ask, writes=True)[0, 0] == 5
    assert kept_answers(path, {"teacher": "a"}, ask, writes=True)[0, 0] == 5


def test_a_training_that_goes_on_does_not_ask_again(tmp_path, short_recipe, monkeypatch):
    torch.manual_seed(11)
    file = tmp_path / "teacher.safetensors"
    save_file(build_model("mlp3", SHAPE).state_dict(), file)
    teacher, out = TeacherFile(path=file, model="mlp3"), tmp_path / "out"
    stages = sys.modules["jpnet_sw.recipe.stages"]
    whole = stages.train_epoch
    epochs = []

    def stop(*arguments):
        epochs.append(1)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        return whole(*arguments)

    def refuse(*arguments, **options):
        raise AssertionError

    def run(folder, *, resume):
        return train(
            model="mlp3",
            data="digits",
            seed=3,
            out=folder,
            recipe=short_recipe,
            resume=resume,
            teacher=teacher,
            quiet=True,
        )

    with monkeypatch.context() as patch:
        patch.setattr(stages, "train_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            run(out, resume=False)
    assert (out / ANSWERS_FILE).exists()
    with monkeypatch.context() as patch:
        patch.setattr(stages, "teacher_answers", refuse)
        resumed = run(out, resume=True)
    assert not (out / ANSWERS_FILE).exists()
    assert resumed.read_bytes() == run(tmp_path / "unbroken", resume=False).read_bytes()
