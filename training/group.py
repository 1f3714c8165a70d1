"""The group of processes that train one network together; alone, it is this process only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
import torch.distributed

Item = TypeVar("Item")


@dataclass(frozen=True)
class Group:
    """One process's place among `size` of them.

    With more than one, torch's default process group has to be set up. What `sum_` and
    `any_` do is collective: each process calls them equally often, in the same order.
    """

    rank: int = 0
    """0 to size - 1; the process of rank 0 writes and reports."""
    size: int = 1
    device: torch.device = field(default=torch.device("cpu"))
    """Where this process computes, and where collectives take their tensors."""

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's own items: every `size`-th, beginning with its rank."""
        return items[self.rank :: self.size]

    def part(self, count: int) -> int:
        """This process's part of a whole number; the parts of all processes sum to it."""
        return count // self.size + (self.rank < count % self.size)

    def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Replace a tensor, of one shape everywhere, by its sum over all processes."""
        if self.size == 1:
            return tensor
        summed = tensor.to(self.device)
        torch.distributed.all_reduce(summed)
        return tensor.copy_(summed)

    def any_(self, flag: bool) -> bool:
        """Whether the flag is set in any process; the same answer in all of them."""
        return bool(self.sum_(torch.tensor(int(flag))))
