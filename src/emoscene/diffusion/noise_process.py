"""How noise enters the latents of a base, and what its network says of it: the only place that spells it out.

A forward process mixes latents x_0 with standard normal noise eps at a timestep t,

    x_t = signal(t) x_0 + noise(t) eps,      SNR(t) = signal(t)^2 / noise(t)^2

and a network that sees x_t is trained to predict one of four things:

    EpsilonProcess   eps                                     Ho et al. 2020, https://arxiv.org/abs/2006.11239
    VProcess         v = signal eps - noise x_0              Salimans & Ho 2022, https://arxiv.org/abs/2202.00512
    SampleProcess    x_0
    FlowProcess      u = eps - x_0, a straight path          Lipman et al. 2023, https://arxiv.org/abs/2210.02747

In the first three signal^2 = alphabar and noise^2 = 1 - alphabar, with alphabar_t the product of all 1 - beta up to t.
In a flow noise(t) = t / T and signal(t) = 1 - t / T.

Methods, losses, samplers and edits work on the network's own prediction and ask the process for the rest. So nothing is
lost where alphabar is 0 (zero terminal SNR, Lin et al. 2024, https://arxiv.org/abs/2305.08891): there eps is x_t
whatever the network says, while v still tells x_0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from torch import Tensor

from emoscene.core.errors import UsageError
from emoscene.diffusion.noise_schedule import check_flow_schedule, check_schedule
from emoscene.diffusion.transfer import move_to_device

NEARLY_ZERO = 2.0**-24
"""alphabar of a last timestep without signal, for solvers that divide by it: what diffusers' own put there."""
FLOW = "flow_prediction"


class NoiseProcess(ABC):
    """x_t = signal(t) x_0 + noise(t) eps, and what a network predicts of it.

    Attributes:
        prediction: What the network predicts, as diffusers' schedulers call it.
        solver_prediction: What diffusers' solvers are given, see `to_solver`.
        num_timesteps: T, above all timesteps.
    """

    prediction: ClassVar[str]
    solver_prediction: ClassVar[str]
    num_timesteps: int

    @abstractmethod
    def signal_level(self, t: Tensor) -> Tensor:
        """Look up the factor of x_0.

        Args:
            t: Timesteps [] or [B], clipped to those that there are; fractions are allowed.

        Returns:
            signal(t) [B, 1, 1, 1], in [0, 1].
        """

    @abstractmethod
    def noise_level(self, t: Tensor) -> Tensor:
        """Look up the factor of eps.

        Args:
            t: Timesteps [] or [B].

        Returns:
            noise(t) [B, 1, 1, 1], in [0, 1].
        """

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """Bring the process to a device.

        Args:
            device: The device.

        Returns:
            The process there.
        """

    @abstractmethod
    def to_x0(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Estimate the latents without noise.

        Args:
            prediction: What the network predicts [B, C, h, w].
            x_t: The noisy latents that it saw [B, C, h, w].
            t: Their timesteps [] or [B].

        Returns:
            The estimate of x_0 [B, C, h, w].
        """

    @abstractmethod
    def to_eps(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Estimate the noise.

        Args:
            prediction: What the network predicts [B, C, h, w].
            x_t: The noisy latents that it saw [B, C, h, w].
            t: Their timesteps [] or [B].

        Returns:
            The estimate of eps [B, C, h, w].
        """

    @abstractmethod
    def target(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Compute what the network shall predict.

        Args:
            x_0: Latents [B, C, h, w].
            noise: eps [B, C, h, w].
            t: Timesteps [] or [B].

        Returns:
            The perfect prediction for this x_0 and eps [B, C, h, w].
        """

    @abstractmethod
    def score_scale(self, t: Tensor) -> Tensor:
        """Compute what a change of the score does to the prediction.

        The score is grad log p(x_t) = -eps / noise(t). By Bayes' rule that of an emotion i is greater by
        grad log p(i | x_t), for which the prediction becomes (Dhariwal & Nichol 2021, eq. 14, for each process)

            prediction - score_scale(t) grad log p(i | x_t)

        Where there is no signal x_t says nothing of the emotion, and the scale is 0.

        Args:
            t: Timesteps [] or [B].

        Returns:
            The factor [B, 1, 1, 1].
        """

    @abstractmethod
    def error_scale(self, t: Tensor) -> Tensor:
        """Compute what an error of the prediction is in x_0.

        Args:
            t: Timesteps [] or [B].

        Returns:
            |d x_0 / d prediction| [B].
        """

    def add_noise(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Apply the forward process: x_t = signal(t) x_0 + noise(t) eps.

        Args:
            x_0: Latents [B, C, h, w].
            noise: eps, standard normal [B, C, h, w].
            t: Timesteps [] or [B].

        Returns:
            Noisy latents x_t [B, C, h, w].
        """
        return self.signal_level(t) * x_0 + self.noise_level(t) * noise

    def snr(self, t: Tensor) -> Tensor:
        """Compute the signal-to-noise ratio.

        Args:
            t: Timesteps [] or [B].

        Returns:
            signal^2 / noise^2 [B], at least 0.
        """
        return (self.signal_level(t) / self.noise_level(t)).square().flatten()

    def loss_weight(self, t: Tensor, gamma: float) -> Tensor:
        """Compute the weight of a squared error: that of x_0, min(SNR, gamma), whatever is predicted.

        For eps this is min(SNR, gamma) / SNR, for v min(SNR, gamma) / (SNR + 1) (Hang et al. 2023,
        https://arxiv.org/abs/2303.09556).

        Args:
            t: Timesteps [] or [B].
            gamma: The cap of the signal-to-noise ratio, above 0.

        Returns:
            Weights [B], at least 0.
        """
        return self.snr(t).clamp(max=gamma) * self.error_scale(t).square()

    def compute_loss(self, prediction: Tensor, x_0: Tensor, noise: Tensor, t: Tensor, gamma: float) -> Tensor:
        """Compute the weighted squared error of a prediction.

        Args:
            prediction: What the network predicts [B, C, h, w].
            x_0: Latents [B, C, h, w].
            noise: The noise that was added [B, C, h, w].
            t: Their timesteps [B].
            gamma: The cap of the signal-to-noise ratio in the weight, above 0.

        Returns:
            The losses [B].
        """
        errors = F.mse_loss(prediction, self.target(x_0, noise, t), reduction="none").mean((1, 2, 3))
        return errors * self.loss_weight(t, gamma)

    def timesteps(self, uniform: Tensor) -> Tensor:
        """Spread uniform numbers over the timesteps of training.

        Args:
            uniform: Numbers in [0, 1) [B].

        Returns:
            Timesteps [B].
        """
        return (uniform * self.num_timesteps).long()

    def to_solver(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Convert a prediction to what diffusers' solvers are given.

        Args:
            prediction: What the network predicts [B, C, h, w].
            x_t: The noisy latents that it saw [B, C, h, w].
            t: Their timesteps [] or [B].

        Returns:
            `solver_prediction` [B, C, h, w].
        """
        return prediction

    def solver_settings(self, accepted: Collection[str]) -> dict[str, Any]:
        """List the settings of a solver for this process, beside those of the base's own scheduler.

        Args:
            accepted: The names of the settings that the solver has.

        Returns:
            The settings.
        """
        return {"prediction_type": self.solver_prediction}


class VariancePreservingProcess(NoiseProcess):
    """x_t = sqrt(alphabar_t) x_0 + sqrt(1 - alphabar_t) eps.

    Args:
        alphas_cumprod: alphabar of all timesteps [T], falling, in (0, 1); the last one may be 0.
        is_rescaled: Whether a scheduler's `rescale_betas_zero_snr` makes the same of the base's betas.
    """

    def __init__(self, alphas_cumprod: Tensor, is_rescaled: bool = False) -> None:
        self.alphas_cumprod = alphas_cumprod
        self.is_rescaled = is_rescaled
        self.num_timesteps = len(alphas_cumprod)
        self.has_zero_snr = bool(alphas_cumprod[-1] == 0)

    def to(self, device: torch.device | str) -> Self:
        """Bring the table to a device."""
        return type(self)(self.alphas_cumprod.to(device), self.is_rescaled)

    def alphabar(self, t: Tensor) -> Tensor:
        """Look up alphabar; between whole timesteps its logarithm is interpolated linearly.

        Args:
            t: Timesteps [] or [B], clipped to 0 ... T - 1.

        Returns:
            alphabar [B, 1, 1, 1] in [0, 1).
        """
        last = self.num_timesteps - 1
        t = move_to_device(torch.as_tensor(t), self.alphas_cumprod.device).reshape(-1).float().clamp(0, last)
        low, high = t.floor().long(), t.ceil().long()
        if not self.has_zero_snr:
            logs = self.alphas_cumprod.log()
            return torch.lerp(logs[low], logs[high], t - low).exp().view(-1, 1, 1, 1)
        logs = self.alphas_cumprod.clamp(min=NEARLY_ZERO).log()
        between = torch.lerp(logs[low], logs[high], t - low).exp()
        return torch.where(t == last, 0, between).view(-1, 1, 1, 1)

    def signal_level(self, t: Tensor) -> Tensor:
        """sqrt(alphabar)."""
        return self.alphabar(t).sqrt()

    def noise_level(self, t: Tensor) -> Tensor:
        """sqrt(1 - alphabar)."""
        return (1 - self.alphabar(t)).sqrt()

    def snr(self, t: Tensor) -> Tensor:
        """alphabar / (1 - alphabar)."""
        alphabar = self.alphabar(t)
        return (alphabar / (1 - alphabar)).flatten()

    def solver_settings(self, accepted: Collection[str]) -> dict[str, Any]:
        """With betas that end just before zero SNR, for a solver that cannot rescale them itself."""
        settings = super().solver_settings(accepted)
        rescales = "rescale_betas_zero_snr" in accepted
        if self.has_zero_snr and not (rescales and self.is_rescaled):
            levels = self.alphas_cumprod.double().clamp(min=NEARLY_ZERO).cpu()
            before = torch.cat([torch.ones(1, dtype=torch.float64), levels[:-1]])
            settings["trained_betas"] = (1 - levels / before).tolist()
            if rescales:
                settings["rescale_betas_zero_snr"] = False
        return settings


class EpsilonProcess(VariancePreservingProcess):
    """The network predicts eps, as Stable Diffusion 1 does."""

    prediction = solver_prediction = "epsilon"

    def to_x0(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """(x_t - noise eps) / signal."""
        alphabar = self.alphabar(t)
        return (x_t - (1 - alphabar).sqrt() * prediction) / alphabar.sqrt()

    def to_eps(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The prediction itself."""
        return prediction

    def target(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """eps."""
        return noise

    def score_scale(self, t: Tensor) -> Tensor:
        """The noise level."""
        return self.noise_level(t)

    def error_scale(self, t: Tensor) -> Tensor:
        """noise / signal."""
        return self.snr(t).rsqrt()

    def compute_loss(self, prediction: Tensor, x_0: Tensor, noise: Tensor, t: Tensor, gamma: float) -> Tensor:
        """As `min_snr_loss`."""
        return min_snr_loss(prediction, noise, self.alphabar(t), gamma)


class VProcess(VariancePreservingProcess):
    """The network predicts v = signal eps - noise x_0, as Stable Diffusion 2.1 at 768 pixels does.

    In single precision whatever the network computes in: in bfloat16 alphabar_1 rounds to 1.
    """

    prediction = solver_prediction = "v_prediction"

    def to_x0(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """signal x_t - noise v."""
        alphabar = self.alphabar(t)
        return alphabar.sqrt() * x_t.float() - (1 - alphabar).sqrt() * prediction.float()

    def to_eps(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """signal v + noise x_t."""
        alphabar = self.alphabar(t)
        return alphabar.sqrt() * prediction.float() + (1 - alphabar).sqrt() * x_t.float()

    def target(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """signal eps - noise x_0."""
        alphabar = self.alphabar(t)
        return alphabar.sqrt() * noise - (1 - alphabar).sqrt() * x_0

    def score_scale(self, t: Tensor) -> Tensor:
        """noise / signal; 0 where there is no signal."""
        return divide_by_signal(self.noise_level(t), self.signal_level(t))

    def error_scale(self, t: Tensor) -> Tensor:
        """The noise level."""
        return self.noise_level(t).flatten()


class SampleProcess(VariancePreservingProcess):
    """The network predicts x_0 itself; solvers are given v, which some of them need and all of them take."""

    prediction = "sample"
    solver_prediction = "v_prediction"

    def to_x0(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The prediction itself."""
        return prediction

    def to_eps(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """(x_t - signal x_0) / noise."""
        alphabar = self.alphabar(t)
        return (x_t.float() - alphabar.sqrt() * prediction.float()) / (1 - alphabar).sqrt()

    def target(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_0."""
        return x_0

    def score_scale(self, t: Tensor) -> Tensor:
        """-noise^2 / signal (Tweedie's formula); 0 where there is no signal."""
        return -divide_by_signal(self.noise_level(t).square(), self.signal_level(t))

    def error_scale(self, t: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(self.snr(t))

    def to_solver(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """v = (signal x_t - x_0) / noise."""
        alphabar = self.alphabar(t)
        return (alphabar.sqrt() * x_t.float() - prediction.float()) / (1 - alphabar).sqrt()


class FlowProcess(NoiseProcess):
    """x_t = (1 - t / T) x_0 + (t / T) eps, and the network predicts eps - x_0 (rectified flow, flow matching).

    Args:
        num_timesteps: T; the network is told timesteps from 0 (the image) to T (noise).
        shift: How much more of the noisy end is trained and sampled; 1 is evenly (Esser et al. 2024, eq. 23,
            https://arxiv.org/abs/2403.03206).
    """

    prediction = solver_prediction = FLOW

    def __init__(self, num_timesteps: int = 1000, shift: float = 1.0) -> None:
        self.num_timesteps, self.shift = num_timesteps, shift

    def to(self, device: torch.device | str) -> Self:
        """The process itself, which has no table."""
        return self

    def signal_level(self, t: Tensor) -> Tensor:
        """1 - t / T."""
        return 1 - self.noise_level(t)

    def noise_level(self, t: Tensor) -> Tensor:
        """t / T."""
        return (torch.as_tensor(t).float() / self.num_timesteps).clamp(0, 1).view(-1, 1, 1, 1)

    def to_x0(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """x_t - noise u."""
        return x_t.float() - self._there(self.noise_level(t), x_t) * prediction.float()

    def to_eps(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """x_t + signal u."""
        return x_t.float() + self._there(self.signal_level(t), x_t) * prediction.float()

    def target(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """eps - x_0."""
        return noise - x_0

    def add_noise(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """On a straight line from x_0 to eps."""
        level = self._there(self.noise_level(t), x_0)
        return (1 - level) * x_0 + level * noise

    def score_scale(self, t: Tensor) -> Tensor:
        """noise / signal, as noise + noise^2 / signal of eps and of x_0; 0 where there is no signal."""
        return divide_by_signal(self.noise_level(t), self.signal_level(t))

    def error_scale(self, t: Tensor) -> Tensor:
        """The noise level."""
        return self.noise_level(t).flatten()

    def timesteps(self, uniform: Tensor) -> Tensor:
        """From 1 to T, shifted: t = T shift s / (1 + (shift - 1) s) with s evenly in (0, 1]."""
        level = ((uniform * self.num_timesteps).floor() + 1) / self.num_timesteps
        return self.num_timesteps * self.shift * level / (1 + (self.shift - 1) * level)

    def _there(self, level: Tensor, x: Tensor) -> Tensor:
        moved: Tensor = move_to_device(level, x.device)
        return moved


def divide_by_signal(number: Tensor, signal: Tensor) -> Tensor:
    """Divide by a signal level.

    Args:
        number: What to divide, of the signal's shape.
        signal: Levels in [0, 1].

    Returns:
        The quotients; 0 where there is no signal.
    """
    return torch.where(signal > 0, number / signal, 0)


def min_snr_loss(predicted: Tensor, noise: Tensor, alphabar: Tensor, gamma: float) -> Tensor:
    """Compute the squared error of a noise prediction, times min(SNR, gamma) / SNR (Hang et al. 2023, eq. 5).

    Args:
        predicted: The predicted noise [B, 4, h, w].
        noise: The noise that was added [B, 4, h, w].
        alphabar: alphabar_t of each sample's timestep [B, 1, 1, 1], in (0, 1).
        gamma: The cap of SNR = alphabar / (1 - alphabar).

    Returns:
        The losses [B].
    """
    snr = (alphabar / (1 - alphabar)).flatten()
    return F.mse_loss(predicted, noise, reduction="none").mean((1, 2, 3)) * snr.clamp(max=gamma) / snr


def rescale_to_zero_snr(alphas_cumprod: Tensor) -> Tensor:
    """Shift a schedule so that its last timestep has no signal (Lin et al. 2024, algorithm 1).

    Args:
        alphas_cumprod: alphabar of all timesteps [T], falling.

    Returns:
        alphabar [T]; the first one as it was, the last one 0.
    """
    signal = alphas_cumprod.double().sqrt()
    first, last = signal[0], signal[-1]
    return ((signal - last) * first / (first - last)).square().to(alphas_cumprod.dtype)


PROCESSES: dict[str, type[VariancePreservingProcess]] = {
    "epsilon": EpsilonProcess,
    "v_prediction": VProcess,
    "sample": SampleProcess,
}


def read_noise_process(config: Mapping[str, Any], place: Path) -> NoiseProcess:
    """Read the process that a network was trained with from the config of a scheduler.

    The schedule of Stable Diffusion is computed in double precision, any other as diffusers does it.

    Args:
        config: The config of any of diffusers' schedulers.
        place: The folder or the file, for the error.

    Returns:
        The process, in main memory.

    Raises:
        UsageError: What is predicted, or the schedule, is not supported.
    """
    is_flow = str(config.get("_class_name", "")).startswith("FlowMatch")
    kind = config.get("prediction_type", FLOW if is_flow else "epsilon")
    if is_flow or kind == FLOW:
        check_flow_schedule(config, place)
        return FlowProcess(config["num_train_timesteps"], float(config.get("shift", config.get("flow_shift", 1.0))))
    if kind not in PROCESSES:
        known = ", ".join([*PROCESSES, FLOW])
        raise UsageError(f"{place} predicts {kind!r}, and a base predicts one of {known}: give another base")
    check_schedule(config, place)
    levels = _read_alphas_cumprod(config)
    is_rescaled = bool(config.get("rescale_betas_zero_snr"))
    if is_rescaled:
        levels = rescale_to_zero_snr(levels)
    if levels[-1] == 0 and kind == "epsilon":
        raise UsageError(
            f"{place} predicts the noise and begins at noise without any image (zero terminal SNR), of which its "
            "prediction can say nothing: write prediction_type v_prediction into its scheduler_config.json if it was "
            "trained so, or give another base"
        )
    return PROCESSES[kind](levels, is_rescaled)


def _read_alphas_cumprod(config: Mapping[str, Any]) -> Tensor:
    """alphabar of all timesteps [T], before any rescaling."""
    if config.get("trained_betas") is not None or config.get("beta_schedule", "linear") != "scaled_linear":
        given = {"rescale_betas_zero_snr": False}
        for key, value in config.items():
            if not key.startswith("_") and key not in given:
                given[key] = value
        levels: Tensor = DDPMScheduler.from_config(given).alphas_cumprod
        return levels
    first, last, total = config["beta_start"], config["beta_end"], config["num_train_timesteps"]
    betas = torch.linspace(first**0.5, last**0.5, total, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()
