"""The engine: runs a method's hooks around the training loop's steps, and ends it."""

from typing import Any

import torch
from torch import Tensor

from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.method import PruningMethod

__all__ = ["Pruner"]


class Pruner:
    """A method at work on a network.

    A step is: `before_step` and `begin_round`, forward pass, loss and `penalty`, backward pass,
    `after_backward`, optimiser, `after_step`, masks. When the active part of the stage is over, or
    the method says so, its masks become final and the rest of the stage trains on them.

    Parameters
    ----------
    method
        Whose hooks are run.
    l1, l2
        Regularisation of all weights in every step of the stage: each moves by
        ``learning_rate * l1`` towards 0 and shrinks by the factor ``1 - learning_rate * l2``.
    """

    def __init__(self, method: PruningMethod, *, l1: float = 0.0, l2: float = 0.0) -> None:
        self.method = method
        self._l1, self._l2 = l1, l2
        self._clock = Clock(step=0, active_steps=1)
        method.register_buffer("finished", torch.zeros((), dtype=torch.int64))
        if method.removes_channels:
            method.target.tie_filters()
        if method.hides and not method.masks.shadows:
            method.masks.keep_shadows()
        method.attach()

    @property
    def finished(self) -> bool:
        """Whether the masks are final."""
        return bool(self.method.get_buffer("finished"))

    @property
    def _active(self) -> bool:
        return not self.finished

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over the method's parameters and buffers that were saved."""
        wanted = self.method.state_dict()
        # A file holds a number as a list of one.
        shaped = {name: v.reshape(wanted[name].shape) for name, v in tensors.items()}
        self.method.load_state_dict(shaped)
        if self.finished:
            self.method.detach()
            self.method.masks.drop_shadows()

    @torch.no_grad()
    def before_step(self, clock: Clock) -> None:
        """Run what comes before a step's forward pass, and a round where one begins."""
        self._clock = clock
        if self._active and (clock.step >= clock.active_steps or self.method.done):
            self.finalise()
        if not self._active:
            return
        self.method.before_step(clock)
        done = self.method.round_begun(clock)
        if done is not None:
            self.method.begin_round(done)

    def learning_rate(self, scheduled: float) -> float:
        """Return the learning rate of the current step."""
        return self.method.learning_rate(scheduled, self._clock) if self._active else scheduled

    def penalty(self) -> Tensor | None:
        """Return what is added to the current step's loss."""
        return self.method.penalty(self._clock) if self._active else None

    @torch.no_grad()
    def after_backward(self) -> None:
        """Run what comes between the backward pass and the optimiser."""
        self.method.masks.reveal()
        if self._active:
            self.method.after_backward(self._clock)

    @torch.no_grad()
    def after_step(self, learning_rate: float) -> None:
        """Run what comes between the optimiser and the masks."""
        if self._active:
            self.method.after_step(self._clock)
        if self._l1 or self._l2:
            self.method.masks.shrink(learning_rate, l1=self._l1, l2=self._l2)

    @torch.no_grad()
    def finalise(self) -> None:
        """Make the masks final, once."""
        if self.finished:
            return
        self.method.finalise()
        self.method.detach()
        self.method.masks.drop_shadows()
        self.method.get_buffer("finished").fill_(1)

    def facts(self) -> dict[str, Any]:
        """Return what the method has to say about itself."""
        return self.method.facts()
