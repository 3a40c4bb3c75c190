"""The cards that the stand-in plays."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """A GPU as torch.cuda describes it.

    capability: CUDA's compute capability; from 8.0 on a card computes in bfloat16. memory: its bytes. computes: whether
    matrix products, convolutions and attention are computed; if not their results are zeros of the right shape, so that
    a large model's memory is counted in seconds.
    """

    name: str
    capability: tuple[int, int]
    memory: int
    computes: bool = True

    @property
    def has_bfloat16(self) -> bool:
        """Whether bfloat16 is native; older cards emulate it, slowly."""
        return self.capability >= (8, 0)


H100 = Card("Stand-in H100", (9, 0), 80 * 2**30)
T4 = Card("Stand-in T4", (7, 5), 16 * 2**30)


def small_card(memory: int, computes: bool = True) -> Card:
    """A card of this many bytes that has bfloat16."""
    return Card("Stand-in of little memory", (8, 6), memory, computes)
