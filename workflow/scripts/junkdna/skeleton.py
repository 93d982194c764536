"""A model without weights, whose parts are read from the checkpoint while they run, and its stacks of blocks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from accelerate import init_empty_weights
from accelerate.utils import set_module_tensor_to_device
from torch import nn

from junkdna.checkpoint import Base
from junkdna.files import DataError

BATCH_TOKENS = 512  # on a CPU larger products are no faster, and the activations of a batch then outweigh a block
CUDA_BATCH_TOKENS = 8192


@dataclass
class Batch:
    """Hidden states (sequences, tokens, features) on their way through a stack, and what else its blocks take."""

    hidden: torch.Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self, module: nn.Module) -> torch.Tensor:
        out = module(self.hidden, *self.args, **self.kwargs)
        return out[0] if isinstance(out, tuple) else out

    def advance(self, module: nn.Module) -> None:
        """Replace the hidden states by the block's output."""
        self.hidden = self.run(module)


class StopForward(Exception):  # noqa: N818 (no error)
    """Ends a forward pass early."""


@dataclass
class Stack:
    """Blocks that run one after the other, such as the layers of a decoder."""

    path: str
    blocks: list[str]
    outputs: list[torch.Tensor] = field(default_factory=list)


class _Catcher(nn.Module):
    """Stands in for the first block: keeps what it is called with and ends the forward pass."""

    caught: Batch

    def forward(self, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        self.caught = Batch(hidden, args, kwargs)
        raise StopForward


class _Replay(nn.Module):
    """Stands in for a whole stack that was compressed before: answers with its outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.output = torch.empty(0)

    def forward(self, *_: Any, **__: Any) -> torch.Tensor:
        return self.output


class Skeleton:
    """A model without weights, whose parts are filled from the checkpoint while they run."""

    def __init__(self, base: Base, model: transformers.PreTrainedModel, device: torch.device) -> None:
        self.base, self.model, self.device = base, model, device
        self.dtype = getattr(torch, base.calibration.dtype)
        self.body = model.base_model
        self.prefix = f"{model.base_model_prefix}."
        self.parameters = {name: id(p) for name, p in model.named_parameters(remove_duplicate=False)}
        self.sources = self._sources()
        self.stacks = self._stacks()
        self._check()

    @classmethod
    def of(cls, base: Base) -> Skeleton:
        """The checkpoint's own architecture.

        Raises:
            DataError: transformers has no such class, or its blocks differ in the attention masks that they take.
        """
        folder = base.checkpoint.folder
        if base.calibration is None or not base.calibration.sequences:
            raise DataError(f"{folder}: this method needs calibration data; give the model `calibration`")
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        name = (config.architectures or ["none"])[0]
        if not hasattr(transformers, name):
            raise DataError(f"{folder / 'config.json'}: architectures: {name!r} is not a class of transformers")
        if len(kinds := set(getattr(config, "layer_types", None) or ())) > 1:
            raise DataError(f"{folder}: blocks with attention of kinds {', '.join(sorted(kinds))} cannot be streamed")
        with init_empty_weights(include_buffers=False):
            model = getattr(transformers, name)(config).eval()
        model.tie_weights()
        return cls(base, model, torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    def _sources(self) -> dict[str, str]:
        """Parameter to the checkpoint's name of it: with or without the body's prefix, or that of a tied one."""
        known = self.base.checkpoint.infos
        direct = {}
        for name in self.parameters:
            for candidate in (name, name.removeprefix(self.prefix), self.prefix + name):
                if candidate in known:
                    direct[name] = candidate
                    break
        by_tensor = {self.parameters[name]: source for name, source in direct.items()}
        return {name: by_tensor[key] for name, key in self.parameters.items() if key in by_tensor}

    def _stacks(self) -> list[Stack]:
        """The outermost lists of modules that hold prunable weights, in the order of the architecture."""
        prunable = {name for name, source in self.sources.items() if source in set(self.base.names)}
        stacks: list[Stack] = []
        for path, module in self.model.named_modules():
            inside = any(path.startswith(f"{stack.path}.") for stack in stacks)
            if isinstance(module, nn.ModuleList) and not inside and any(n.startswith(f"{path}.") for n in prunable):
                stacks.append(Stack(path, [f"{path}.{number}" for number in range(len(module))]))
        return stacks

    def _check(self) -> None:
        layers = getattr(self.model.config, "num_hidden_layers", 0)
        if self.stacks and len(self.stacks[0].blocks) < layers:
            raise DataError(
                f"{self.base.checkpoint.folder}: {self.stacks[0].path} holds {len(self.stacks[0].blocks)} blocks for "
                f"{layers} layers; blocks that run more than once cannot be streamed"
            )
        blocks = tuple(f"{block}." for stack in self.stacks for block in stack.blocks)
        where = {source: name for name, source in self.sources.items() if name.startswith(blocks)}
        if outside := [name for name in self.base.names if name not in where]:
            raise DataError(
                f"{self.base.checkpoint.folder}: {outside[0]}: lies outside the blocks that a calibrated method "
                "streams; exclude it with `prunable_exclude`"
            )
        self.where = {source: where[source] for source in self.base.names}
        for source, name in self.where.items():
            sharing = [other for other, key in self.parameters.items() if key == self.parameters[name]]
            if len(sharing) > 1:
                raise DataError(
                    f"{self.base.checkpoint.folder}: {source}: shared by {' and '.join(sharing)}, which see different "
                    "inputs; a calibrated method cannot compress it; exclude it with `prunable_exclude`"
                )

    def targets(self, block: str) -> dict[str, nn.Module]:
        """Prunable weights of a block, by the checkpoint's name, to the layers that hold them."""
        return {
            source: self.model.get_submodule(name.rsplit(".", 1)[0])
            for source, name in self.where.items()
            if name.startswith(f"{block}.")
        }

    def loaded(self, block: str) -> _Loaded:
        """Context: the block with its weights, which are dropped at the end."""
        return _Loaded(self, [name for name in self.parameters if name.startswith(f"{block}.")], block)

    def fill(self, name: str) -> None:
        """Read one parameter."""
        tensor = self.base.checkpoint.tensor(self.sources[name])
        set_module_tensor_to_device(self.model, name, self.device, value=tensor, dtype=self.dtype)

    def empty(self, name: str) -> None:
        """Drop one parameter's values."""
        set_module_tensor_to_device(self.model, name, "meta")

    def drop(self, source: str) -> None:
        """Drop a weight, by the checkpoint's name."""
        self.empty(self.where[source])

    def replace(self, source: str, weight: torch.Tensor) -> None:
        """Put a compressed weight, in its stored form, where the block runs."""
        value = weight.contiguous()
        set_module_tensor_to_device(self.model, self.where[source], self.device, value=value, dtype=self.dtype)

    def inputs(self, stack: Stack) -> list[Batch]:
        """What the first block of a stack is called with, batch by batch; earlier stacks answer from memory."""
        blocks = tuple(f"{block}." for other in self.stacks for block in other.blocks)
        rest = [name for name in self.parameters if not name.startswith(blocks) and name in self.sources]
        earlier = self.stacks[: self.stacks.index(stack)]
        stand_ins = {other.path: _Replay() for other in earlier} | {stack.path: _Catcher()}
        originals = {path: self.model.get_submodule(path) for path in stand_ins}
        found = []
        with _Loaded(self, rest, ""):
            try:
                for path, stand_in in stand_ins.items():
                    self.model.set_submodule(path, nn.ModuleList([stand_in]))
                tokens = CUDA_BATCH_TOKENS if self.device.type == "cuda" else BATCH_TOKENS
                for number, ids in enumerate(self.base.calibration.batches(tokens)):
                    for other in earlier:
                        stand_ins[other.path].output = other.outputs[number]
                    try:
                        self.body(input_ids=torch.tensor(ids, device=self.device), use_cache=False)
                    except StopForward:
                        found.append(stand_ins[stack.path].caught)
                    except (TypeError, ValueError) as error:  # blocks that hand each other more than hidden states
                        name = type(self.model).__name__
                        raise DataError(f"{self.base.checkpoint.folder}: {name} cannot be streamed: {error}") from error
            finally:
                for path, original in originals.items():
                    self.model.set_submodule(path, original)
        return found


class _Loaded:
    """Parameters that are filled within a ``with`` block."""

    def __init__(self, skeleton: Skeleton, names: list[str], block: str) -> None:
        self.skeleton, self.names, self.block = skeleton, names, block

    def __enter__(self) -> nn.Module:
        for name in self.names:
            if name not in self.skeleton.sources:
                raise DataError(f"{self.skeleton.base.checkpoint.folder}: {name}: missing; fetch the model again")
            self.skeleton.fill(name)
        return self.skeleton.model.get_submodule(self.block)

    def __exit__(self, *_: object) -> None:
        for name in self.names:
            self.skeleton.empty(name)
