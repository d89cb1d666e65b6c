"""What a network looks at: class activation maps (CAM), with the graph cut at the CAM layer."""

from masktune_core.saliency.cam_grid import cam_grid
from masktune_core.saliency.explain import Explanation, compute_cams, explain
from masktune_core.saliency.methods import METHODS

__all__ = ["METHODS", "Explanation", "cam_grid", "compute_cams", "explain"]
