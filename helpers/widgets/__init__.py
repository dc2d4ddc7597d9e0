"""Interactive figures: one file per widget, its browser half (``.js``, ``.css``) beside it."""

from helpers.widgets.branch_explorer import BranchExplorer
from helpers.widgets.crf_playground import CRFPlayground
from helpers.widgets.mask_overlay import MaskOverlay
from helpers.widgets.receptive_field_explorer import ReceptiveFieldExplorer
from helpers.widgets.scribble_segmenter import ScribbleSegmenter
from helpers.widgets.skip_explorer import SkipExplorer
from helpers.widgets.upsampling_explorer import UpsamplingExplorer

__all__ = [
    "BranchExplorer",
    "CRFPlayground",
    "MaskOverlay",
    "ReceptiveFieldExplorer",
    "ScribbleSegmenter",
    "SkipExplorer",
    "UpsamplingExplorer",
]
