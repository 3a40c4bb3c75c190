"""The critic: a small network that tells rendered patches from the decoder's, so that the decoder learns texture.

A decoder that is only asked for the right pixels answers doubt with blur: where it cannot know which way a blade of
grass leans, the average of all ways is the safest. The critic (a patch discriminator, Isola et al. 2017; in
autoencoders, Esser et al. 2021) looks at patches of some twenty pixels and knows that rendered grass is no grey mist.
It serves while the decoder trains and is not shipped.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call


class Discriminator(nn.Module):
    """Four convolutions; high where a patch looks rendered, low where it looks made."""

    def __init__(self, channels: Sequence[int] = (32, 64, 96)) -> None:
        super().__init__()
        a, b, c = channels
        slope = 0.2
        self.layers = nn.Sequential(
            nn.Conv2d(3, a, 4, 2, 1),
            nn.LeakyReLU(slope),
            nn.Conv2d(a, b, 4, 2, 1),
            nn.GroupNorm(8, b),
            nn.LeakyReLU(slope),
            nn.Conv2d(b, c, 3, 1, 1),
            nn.GroupNorm(8, c),
            nn.LeakyReLU(slope),
            nn.Conv2d(c, 1, 3, 1, 1),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Judge the patches of images: high where a patch looks rendered.

        Args:
            pictures: Images [B, 3, H, W] in [-1, 1].

        Returns:
            The mean verdicts [B, 1, H / 4, W / 4].
        """
        verdict: Tensor = self.layers(pictures)
        return verdict

    def generator_loss(self, made: Tensor) -> Tensor:
        """Compute the generator's loss; its gradient reaches the images alone, and not the discriminator.

        Args:
            made: The generator's images [B, 3, H, W] in [-1, 1].

        Returns:
            The loss [B]; low where the images look rendered.
        """
        frozen = {name: value.detach() for name, value in self.state_dict(keep_vars=True).items()}
        return -functional_call(self, frozen, made).float().mean((1, 2, 3))

    def discriminator_loss(self, made: Tensor, wanted: Tensor) -> Tensor:
        """Compute the discriminator's hinge loss; its gradient reaches the discriminator alone.

        Args:
            made: The generator's images [B, 3, H, W] in [-1, 1].
            wanted: Rendered images [B, 3, H, W] in [-1, 1].

        Returns:
            The loss [B].
        """
        rendered, painted = self(wanted).float(), self(made.detach()).float()
        return (F.relu(1 - rendered) + F.relu(1 + painted)).mean((1, 2, 3))
