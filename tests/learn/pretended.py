# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A device for machines without a GPU: its tensors say that they are there, and are on the CPU.

As on a GPU, an operation is refused whose tensors are on both devices, but for numbers (tensors
without axes), copies, and places of an index; and NumPy gets none of them. torch's `FakeTensorMode`
does the same without values, and so without results whose shape depends on values, as with masks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

from kryloset.learn import processes

#: A device that torch knows, of which it computes gradients, and which no machine has.
DEVICE = torch.device("lazy", 0)

#: What takes tensors of both devices.
_BOTH = {"aten::copy_", "aten::_to_copy", "aten::index", "aten::index_put", "aten::index_put_"}


class Pretended(Tensor):
    """A tensor on the device.

    Attributes:
        values: What it has.
    """

    __module__ = "torch"  # by which `opt_einsum` knows a tensor

    @staticmethod
    def __new__(cls, values):
        """Make a tensor of such a shape and type."""
        return Tensor._make_wrapper_subclass(
            cls,
            values.shape,
            strides=values.stride() if values.layout == torch.strided else None,
            dtype=values.dtype,
            device=DEVICE,
            requires_grad=values.requires_grad,
        )

    def __init__(self, values):
        """Keep the values."""
        self.values = values

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), named=None):
        """Do an operation."""
        return _compute(function, arguments, named or {})

    def __deepcopy__(self, memory):
        """Return a weight, or another tensor, with the same values."""
        copied = Pretended(self.values.detach().clone())
        return nn.Parameter(copied) if isinstance(self, nn.Parameter) else copied

    def __reduce_ex__(self, protocol):
        """Save the values."""
        return self.values.__reduce_ex__(protocol)

    def tolist(self):
        """Return the values, for which torch copies them to the CPU."""
        return self.values.tolist()


class _Making(TorchDispatchMode):
    """Makes tensors on the device, also of none that are there."""

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        """Do an operation."""
        return _compute(function, arguments, named or {})


def _compute(function, arguments, named):
    """Do an operation, with results where they would be."""
    tensors = [leaf for leaf in tree_leaves((arguments, named)) if isinstance(leaf, Tensor)]
    there = any(isinstance(tensor, Pretended) for tensor in tensors)
    here = [tensor for tensor in tensors if not isinstance(tensor, Pretended) and tensor.dim()]
    if there and here and function._schema.name not in _BOTH:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in here)
        raise RuntimeError(f"{function}: not all tensors are on {DEVICE}: {shapes} on the CPU")
    wanted = named.get("device")
    if wanted is not None:
        named = {**named, "device": torch.device("cpu")}
    given, by_name = tree_map_only(Pretended, lambda tensor: tensor.values, (arguments, named))
    found = function(*given, **by_name)
    if there if wanted is None else torch.device(wanted) == DEVICE:
        found = tree_map_only(Tensor, Pretended, found)
    return return_and_correct_aliasing(function, arguments, named, found) if there else found


@contextmanager
def on_device() -> Iterator[None]:
    """Let models be trained and evaluated on the device."""
    make_fabric, make_tensor, autocast = processes.make_fabric, torch.tensor, torch.autocast

    def elsewhere(settings) -> Fabric:
        fabric = make_fabric(settings.model_copy(update={"device": "cpu"}))
        fabric.strategy._root_device = DEVICE
        return fabric

    with (
        patch("lightning_fabric.accelerators.CPUAccelerator.setup_device"),
        patch("kryloset.learn.processes.make_fabric", elsewhere),
        patch("kryloset.run.evaluate.find_device", lambda wanted: DEVICE),
        # It knows no such device.
        patch("torch.autocast", lambda _, **settings: autocast("cpu", **settings)),
        # torch makes one from a list where nothing sees it.
        patch("torch.tensor", lambda *of, device=None, **how: make_tensor(*of, **how).to(device)),
        # A module that moves gets other weights than it had: they are of another type.
        patch("torch.__future__._swap_module_params_on_conversion", True),
        _Making(),
    ):
        yield
