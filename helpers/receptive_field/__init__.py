"""How far an output pixel sees: what the architecture allows, and what the weights make of it.

`theoretical` traces a network and says which pixels an output cell is computed from; `effective`
measures by a gradient how much each of them counts; `stack_paths` does the arithmetic for a plain
chain of layers. `functional` asks what the network has learnt to see, on patches made for it.
"""

from helpers.receptive_field.cue import CuePatches, cue_patches, cue_points, functional
from helpers.receptive_field.gradient import EffectiveField, effective
from helpers.receptive_field.trace import ReceptiveField, stack_paths, theoretical

__all__ = [
    "CuePatches",
    "EffectiveField",
    "ReceptiveField",
    "cue_patches",
    "cue_points",
    "effective",
    "functional",
    "stack_paths",
    "theoretical",
]
