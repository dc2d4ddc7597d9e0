"""DeepLab v3 and v3+: a dense map, seen at several scales, with or without a decoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.models.dilated import DilatedStack, check_rates
from helpers.models.encoder import WIDTHS, Encoder, conv_bn_relu
from helpers.models.fcn import prepare, upsample

BRANCH_WIDTH = 64
LOW_LEVEL_STAGE = 2
"""Whose map joins the decoder: stride 4, as in v3+."""
LOW_LEVEL_WIDTH = 24
"""The low-level map is squeezed to fewer channels than what it joins (v3+, section 4.1)."""


def enlarge(maps: Tensor, size: tuple[int, int], shift: float) -> Tensor:
    """Bilinear to `size` like `upsample`, then `shift` rows down and columns to the right.

    What comes in at the upper left repeats the border.
    """
    if shift == 0:
        return upsample(maps, size)
    theta = maps.new_tensor([[1, 0, -2 * shift / size[1]], [0, 1, -2 * shift / size[0]]])
    grid = F.affine_grid(theta.expand(len(maps), 2, 3), [*maps.shape[:2], *size], False)
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)


class ImagePooling(nn.Sequential):
    """The mean of the whole map, once more to every cell: ``(N, C, h, w)`` to ``(N, out, h, w)``.

    Liu, Rabinovich and Berg, "ParseNet", arXiv 1506.04579, section 3.1.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(nn.AdaptiveAvgPool2d(1), conv_bn_relu(in_channels, out_channels, kernel=1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).expand(-1, -1, *x.shape[-2:])


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: the same map through several windows side by side.

    A 1x1 convolution, a 3x3 convolution for each of `rates`, and the mean of the whole map; joined
    and mixed by a 1x1 convolution. ``(N, in_channels, h, w)`` to ``(N, out_channels, h, w)``. Chen
    et al., "Rethinking atrous convolution" (v3), arXiv 1706.05587, section 3.3.
    """

    def __init__(
        self, in_channels: int, out_channels: int, rates: tuple[int, ...], image_pooling: bool
    ):
        super().__init__()
        self.rates = check_rates(rates)
        self.names = ("1x1",)
        for rate in self.rates:  # a rate may come twice: its branches are told apart by primes
            name = f"rate {rate}"
            while name in self.names:
                name += "'"
            self.names += (name,)
        layers = [conv_bn_relu(in_channels, out_channels, kernel=1)]
        layers += [conv_bn_relu(in_channels, out_channels, rate) for rate in self.rates]
        if image_pooling:
            self.names += ("image pooling",)
            layers.append(ImagePooling(in_channels, out_channels))
        self.layers = nn.ModuleList(layers)
        self.mix = conv_bn_relu(len(layers) * out_channels, out_channels, kernel=1)

    @property
    def branches(self) -> dict[str, nn.Module]:
        """The branches by name: "1x1", "rate 2", "image pooling"."""
        return dict(zip(self.names, self.layers, strict=True))

    def responses(self, x: Tensor) -> dict[str, Tensor]:
        """Each branch's own map ``(N, out_channels, h, w)`` by its name."""
        return {name: branch(x) for name, branch in self.branches.items()}

    def join(self, responses: dict[str, Tensor]) -> Tensor:
        """The mixed map from those of the branches; a map of zeros is a branch muted."""
        return self.mix(torch.cat([responses[name] for name in self.names], dim=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.responses(x))


class DeepLab(nn.Module):
    """Encoder with `output_stride`, ASPP, and with `decoder` one finer map on the way back.

    Without the decoder this is DeepLabv3 (Chen et al., arXiv 1706.05587): scores on the coarse map,
    enlarged by one bilinear step. With it, v3+ (Chen et al., "Encoder-decoder with atrous separable
    convolution", ECCV 2018, section 3.1): the ASPP's map grows to stride 4, meets the encoder's map
    of that stride, and two 3x3 convolutions look at both. `rates` count cells of the coarse map;
    ``()`` leaves the 1x1 branch. The weights depend neither on `output_stride` nor on the rates, see
    `at_stride`.

    ``forward`` takes images ``(N, 3, H, W)`` in [0, 1] of any size and gives logits
    ``(N, num_classes, H, W)``. Raises ``ValueError`` when an argument is out of range or the input
    has another shape.
    """

    def __init__(
        self,
        num_classes: int,
        output_stride: int = 16,
        rates: tuple[int, ...] = (1, 2, 3),
        image_pooling: bool = True,
        decoder: bool = True,
        widths: tuple[int, ...] = WIDTHS,
    ):
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes!r}")
        for name, value in (("image_pooling", image_pooling), ("decoder", decoder)):
            if not isinstance(value, bool):
                raise ValueError(f"{name} must be True or False, got {value!r}")
        self.encoder = Encoder(widths, output_stride)
        self.shift = 0.0
        self.aspp = ASPP(widths[5], BRANCH_WIDTH, rates, image_pooling)
        self.decoder = nn.ModuleDict()
        if decoder:
            low = widths[LOW_LEVEL_STAGE]
            self.decoder["squeeze"] = conv_bn_relu(low, LOW_LEVEL_WIDTH, kernel=1)
            self.decoder["refine"] = nn.Sequential(
                conv_bn_relu(BRANCH_WIDTH + LOW_LEVEL_WIDTH, BRANCH_WIDTH),
                conv_bn_relu(BRANCH_WIDTH, BRANCH_WIDTH),
            )
        self.score = nn.Conv2d(BRANCH_WIDTH, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.encoder(prepare(images))
        height, width = images.shape[-2:]
        return self.decode(features, self.aspp(features[-1]))[..., :height, :width]

    def decode(self, features: list[Tensor], context: Tensor) -> Tensor:
        """Logits at full resolution from the encoder's six maps and the ASPP's map of the last."""
        if self.decoder:
            low = self.decoder["squeeze"](features[LOW_LEVEL_STAGE])
            grown = enlarge(context, low.shape[-2:], self.shift / 2**LOW_LEVEL_STAGE)
            context = self.decoder["refine"](torch.cat([grown, low], dim=1))
            return upsample(self.score(context), features[0].shape[-2:])
        return enlarge(self.score(context), features[0].shape[-2:], self.shift)

    def at_stride(self, output_stride: int) -> DeepLab:
        """A copy with the same weights at another output stride; the rates keep their pixels.

        The numbers at the old positions stay, and so must their places in the image: from stride 16
        to 8, cell 2k of the new map has to lie where cell k of the old one lay, 4 pixels further on
        than bilinear upsampling would put it. The copy's `shift` says so, in pixels.

        Raises ``ValueError`` when a rate would not be a whole number (v3, section 4.2: trained at
        stride 16, evaluated at 8).
        """
        old = self.encoder.output_stride
        if any(rate * old % output_stride for rate in self.aspp.rates):
            raise ValueError(
                f"output_stride must keep the rates {self.aspp.rates} at stride {old} whole, "
                f"got {output_stride!r}"
            )
        copy = DeepLab(
            self.score.out_channels,
            output_stride,
            tuple(rate * old // output_stride for rate in self.aspp.rates),
            "image pooling" in self.aspp.names,
            len(self.decoder) > 0,
            self.encoder.widths,
        )
        copy.shift = self.shift + (old - output_stride) / 2
        copy.to(self.score.weight).load_state_dict(self.state_dict())
        return copy.train(self.training)


class StackWithASPP(DilatedStack):
    """A stack that sees little, and an ASPP on its map: 22 pixels, then `aspp_rates` times two.

    A trunk for the question when an ASPP helps: that of `DeepLab` sees the whole scene anyway.
    With ``aspp_rates=()`` and no pooling the ASPP sees single cells only: the control.
    """

    def __init__(
        self,
        num_classes: int,
        aspp_rates: tuple[int, ...] = (4, 8, 16),
        image_pooling: bool = True,
        width: int = 32,
    ):
        super().__init__(num_classes, width=width)
        self.context = ASPP(width, width, aspp_rates, image_pooling)
