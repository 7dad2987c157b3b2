"""A teacher's answers in a file, so that a training that goes on need not ask again."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jpnet_spec.artefact import ArtefactError, read_artefact, write_artefact

__all__ = ["kept_answers"]

_KIND = "teacher-answers"


def kept_answers(
    path: Path, question: Mapping[str, Any], ask: Callable[[], Tensor], *, writes: bool
) -> Tensor:
    """Return answers from a file where it has those to this question; else ask, and keep them.

    Parameters
    ----------
    path
        A damaged file, or one with answers to another question, is replaced.
    question
        Everything that the answers depend on, JSON-serialisable.
    ask
        Returns the answers.
    writes
        Whether to keep them.
    """
    try:
        header, arrays = read_artefact(path, kind=_KIND)
        if header["question"] == question:
            return torch.from_numpy(arrays["answers"])
    except ArtefactError:
        pass
    answers = ask()
    if writes:
        tensors = {"answers": answers.cpu().numpy()}
        write_artefact(path, kind=_KIND, header={"question": dict(question)}, tensors=tensors)
    return answers
