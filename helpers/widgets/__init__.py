"""Interactive figures: one file per widget, its browser half (``.js``, ``.css``) beside it."""

from helpers.widgets.mask_overlay import MaskOverlay

__all__ = ["MaskOverlay"]
