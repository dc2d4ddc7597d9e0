"""The helper modules of Pixelwise: what a notebook has taught, the next ones import from here."""
