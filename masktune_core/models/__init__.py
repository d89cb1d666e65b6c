"""The networks, and the layer of each that is explained.

`build_model` makes a network from its name; `cam_layer` finds the module whose output a saliency map is drawn on.
"""

from masktune_core.models.layers import cam_layer
from masktune_core.models.registry import build_model

__all__ = ["build_model", "cam_layer"]
