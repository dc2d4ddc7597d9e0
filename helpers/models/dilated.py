"""A stack of 3x3 convolutions with one switch: the dilation rate of each."""

from __future__ import annotations

from torch import Tensor, nn

from helpers.models.encoder import Halve, conv_bn_relu
from helpers.models.fcn import normalize, upsample

STRIDES = (1, 2, 4)


class DilatedStack(nn.Module):
    """One 3x3 convolution for each of `rates`, all of the same width, then a score for each cell.

    The rates change neither the number of layers nor that of parameters, only how far apart the
    nine weights of a layer lie (Yu and Koltun, "Multi-scale context aggregation by dilated
    convolutions", ICLR 2016, section 2). The stack works on a map of `stride` 1, 2 or 4 pixels a
    cell. A stem makes that map: for each factor of two a 3x3 convolution and a 2x2 pooling; at
    stride 1 a 1x1 convolution, so that the receptive field is ``1 + 2 * sum(rates)`` pixels.

    ``forward`` takes images ``(N, 3, H, W)`` in [0, 1], sides multiples of `stride`, and gives
    logits ``(N, num_classes, H, W)``. Raises ``ValueError`` when an argument is out of range or the
    input has another shape.
    """

    def __init__(
        self,
        num_classes: int,
        rates: tuple[int, ...] = (1, 1, 1, 1),
        stride: int = 2,
        width: int = 32,
    ):
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes!r}")
        self.rates = check_rates(rates)
        if not self.rates:
            raise ValueError("rates must hold at least one rate, got ()")
        if stride not in STRIDES:
            raise ValueError(f"stride must be one of {STRIDES}, got {stride!r}")
        self.stride = stride
        if stride == 1:
            self.stem = nn.Sequential(nn.Conv2d(3, width, 1), nn.ReLU())
        else:
            halvings = stride.bit_length() - 1
            self.stem = nn.Sequential(
                *(
                    nn.Sequential(conv_bn_relu(width if k else 3, width), Halve(2))
                    for k in range(halvings)
                )
            )
        self.layers = nn.Sequential(*(conv_bn_relu(width, width, rate) for rate in self.rates))
        self.context = nn.Identity()
        self.score = nn.Conv2d(width, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        return upsample(self.cell_scores(images), images.shape[-2:])

    def cell_scores(self, images: Tensor) -> Tensor:
        """Logits ``(N, num_classes, H / stride, W / stride)``, before they are enlarged."""
        normal = normalize(images)
        height, width = images.shape[-2:]
        if height % self.stride or width % self.stride:
            raise ValueError(
                f"images must have sides that {self.stride} divides, got {height} x {width}"
            )
        return self.score(self.context(self.layers(self.stem(normal))))


def check_rates(rates: tuple[int, ...]) -> tuple[int, ...]:
    """`rates` as a tuple, or ``ValueError`` when one is not a whole number of at least 1."""
    whole = isinstance(rates, (tuple, list)) and all(type(rate) is int for rate in rates)
    if not whole or any(rate < 1 for rate in rates):
        raise ValueError(f"rates must be whole numbers of at least 1, got {rates!r}")
    return tuple(rates)
