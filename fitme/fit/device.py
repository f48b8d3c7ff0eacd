"""Copies for the device that renders and descends; all other stages of a fit work on NumPy arrays.

Tensors cross between both in few places, each time by an explicit copy: here and in `SceneParameters`,
`KeyframeTarget`, `TextureTarget.to` on the way to the device; in `HeadAligner.draw`, `ReflectanceFit.maps`,
`ReflectanceFit.w_plus`, `ReflectanceFit.tuned_weights` and `SceneParameters.estimates` on the way back.
"""

import copy
from typing import TypeVar

import torch
from torch import nn

from fitme.shape.morphable_model import MorphableModel

Network = TypeVar("Network", bound=nn.Module)


def network_on(network: Network, device: torch.device) -> Network:
    """A network itself if it is on the CPU and so is `device`, else a copy on it: others may go on using the network
    where it is."""
    return network if device.type == "cpu" else copy.deepcopy(network).to(device)


def model_on(model: MorphableModel, device: torch.device) -> MorphableModel:
    """A model itself on the CPU, a copy on another device. Ambient occlusion and tables of texels are cached for the
    model on the CPU alone."""
    return model if device.type == "cpu" else model.to(device)
