"""What Accelerate's config asks of a run: honoured, or refused by name; nothing of it is passed over in silence.

`accelerate launch` hands its options, and those of the file that `accelerate config` wrote, to each process in
variables of the environment:

    ACCELERATE_MIXED_PRECISION              precision=, where that is `auto`
    ACCELERATE_GRADIENT_ACCUMULATION_STEPS  micro_batch_size=, as batch_size is that of the whole step
    ACCELERATE_USE_CPU, _TORCH_DEVICE       --device
    DeepSpeed, FSDP, Megatron, a parallelism config, SageMaker, a compiler, fp8: refused

Without the launcher Accelerate reads no file; one that asks for more than one process of fp32 is then named in a
message.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from accelerate.commands.config.config_args import default_config_file, load_config_from_file

from emoscene.core.errors import UsageError
from emoscene.core.plain_text import format_count
from emoscene.core.processes import count_processes
from emoscene.training.state import Config

PREFIX = "ACCELERATE_"
PARALLEL = "training is data parallel, each process holding the whole base"
REFUSED = {
    "USE_DEEPSPEED": f"{PARALLEL}: `accelerate launch --multi_gpu` does that without DeepSpeed",
    "USE_FSDP": f"{PARALLEL}: `accelerate launch --multi_gpu` does that without FSDP",
    "USE_MEGATRON_LM": f"{PARALLEL}: `accelerate launch --multi_gpu` does that without Megatron",
    "USE_PARALLELISM_CONFIG": f"{PARALLEL}: leave the parallelism config out",
    "USE_SAGEMAKER": "a job there starts `python -m emoscene train` in a container of its own",
    "DYNAMO_BACKEND": "give compile=yes, which compiles the UNet's blocks",
}
"""Variables that are on, with what to do instead."""
OFF = {"", "no", "false", "0", "none"}


def is_asked(environment: Mapping[str, str], name: str) -> bool:
    """Tell whether a variable of Accelerate's asks for anything.

    Args:
        environment: The variables.
        name: The variable, without its prefix.

    Returns:
        Whether it is there and not switched off.
    """
    return environment.get(PREFIX + name, "").lower() not in OFF


def read_launcher_device(device: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Read on which device `accelerate launch` wants the run, and refuse what training does not do.

    Args:
        device: What `--device` says; None where it is left out.
        environment: The variables that the launcher set.

    Returns:
        The device that is asked for; None where nobody asks.

    Raises:
        UsageError: The launcher asks for what training does not do, or for another device than the call.
    """
    for name, remedy in REFUSED.items():
        if is_asked(environment, name):
            raise UsageError(f"{PREFIX}{name}={environment[PREFIX + name]} is not honoured: {remedy}")
    wish = environment.get(f"{PREFIX}TORCH_DEVICE") or None
    said = f"{PREFIX}TORCH_DEVICE={wish}"
    if is_asked(environment, "USE_CPU"):
        wish, said = "cpu", f"{PREFIX}USE_CPU=true"
    if wish is None:
        return device
    if device not in (None, wish):
        raise UsageError(f"{said} and --device {device} do not go together: leave one of them out")
    return wish


def apply_launcher(config: Config, environment: Mapping[str, str] = os.environ) -> Config:
    """Apply what `accelerate launch` asks for to a run's settings.

    Args:
        config: The run's settings.
        environment: The variables that the launcher set.

    Returns:
        The settings with the launcher's precision and parts of a step.

    Raises:
        UsageError: It asks for what training does not do, or for something else than the settings.
    """
    return _apply_accumulation(_apply_precision(config, environment), environment)


def _apply_precision(config: Config, environment: Mapping[str, str]) -> Config:
    """The launcher says `no` where nobody said anything, so that is no wish."""
    if not is_asked(environment, "MIXED_PRECISION"):
        return config
    wish = environment[f"{PREFIX}MIXED_PRECISION"].lower()
    said = f"{PREFIX}MIXED_PRECISION={wish}"
    [option] = [field for field in fields(Config) if field.name == "precision"]
    choices = option.metadata["choices"]
    if wish not in choices:
        able = " or ".join(name for name in choices if name != "auto")
        raise UsageError(f"{said} is not honoured: launch with --mixed_precision no, and give precision={able}")
    if config.precision not in ("auto", wish):
        raise UsageError(f"{said} and precision={config.precision} do not go together: leave one of them out")
    return replace(config, precision=wish)


def _apply_accumulation(config: Config, environment: Mapping[str, str]) -> Config:
    name = f"{PREFIX}GRADIENT_ACCUMULATION_STEPS"
    text = environment.get(name, "1")
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"{name}={text} is not honoured: give a number from 1 on, or micro_batch_size")
    if text == "1":
        return config
    each = -(-config.batch_size // count_processes())
    micro = -(-each // int(text))
    if config.micro_batch_size not in (0, micro):
        raise UsageError(
            f"{name}={text} and micro_batch_size={config.micro_batch_size} do not go together: a process's {each} in "
            f"{text} parts are {format_count(micro, 'sample')} at a time; leave one of them out"
        )
    return replace(config, micro_batch_size=micro)


def remark_config_file(on_message: Callable[[str], None]) -> None:
    """Say so where a run started without the launcher passes over what `accelerate config` wrote.

    Args:
        on_message: Receives a sentence, where there is anything to say.
    """
    if f"{PREFIX}MIXED_PRECISION" in os.environ or not Path(default_config_file).is_file():
        return
    try:
        asked = _list_wishes(load_config_from_file(None).to_dict())
    except (KeyError, TypeError, ValueError) as error:
        asked = [f"what Accelerate itself does not read ({error})"]
    if asked:
        on_message(
            f"{default_config_file} asks for {', '.join(asked)}, and only `accelerate launch -m emoscene train` "
            "passes that on"
        )


def _list_wishes(written: Mapping[str, Any]) -> list[str]:
    """What a file of Accelerate's asks for beyond one process in fp32."""
    asked = []
    for key in ("mixed_precision", "distributed_type", "use_cpu"):
        value = str(getattr(written.get(key), "value", written.get(key))).lower()
        if value not in OFF:
            asked.append(f"{key}={value}")
    for key, value in written.items():
        if key.endswith("_config") and value:
            asked.append(key)
    if (written.get("num_processes") or 1) > 1:
        asked.append(f"num_processes={written['num_processes']}")
    return asked
