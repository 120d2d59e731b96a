"""Convolutional networks for ImageNet as lists of GEMMs, in the order their convolutions run.

Names are those of the modules in torchvision. A residual block's `downsample` runs where
torchvision runs it, after the block's other convolutions. Sources: Simonyan and Zisserman, "VGG",
ICLR 2015 (configuration D); He et al., "ResNet", CVPR 2016, whose stride of a bottleneck lies on
the 3 x 3 convolution here, as in torchvision ("v1.5"); Szegedy et al., "Inception-v3", CVPR 2016,
without its auxiliary classifier.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from oleaster.sim.networks.layer import Convolution, Layer

__all__ = ["CNNS", "inception_v3", "resnet", "vgg_16"]

CLASSES = 1000


@dataclass(frozen=True)
class _Image:
    """Square feature maps."""

    channels: int
    side: int

    def pool(self, *, halves: bool) -> "_Image":
        """Max-pooled by 2: `halves`, or 3 x 3 without padding."""
        return _Image(self.channels, self.side // 2 if halves else (self.side - 3) // 2 + 1)


@dataclass
class _Layers:
    """Collects layers while the shapes of feature maps are followed through the network."""

    batch: int
    layers: list[Layer] = field(default_factory=list)

    def convolve(
        self,
        name: str,
        image: _Image,
        channels: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        *,
        padded: bool = True,
    ) -> _Image:
        """`padded`: by half the kernel, so that only the stride makes the image smaller."""
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        side = (image.side - 1) // stride + 1 if padded else (image.side - height) // stride + 1
        shape = Convolution(self.batch, side, side, image.channels, channels, height, width, stride)
        m, k = self.batch * side * side, height * width * image.channels
        self.layers.append(Layer(name, "convolution", m, k, channels, 1, shape))
        return _Image(channels, side)

    def connect(self, name: str, inputs: int, outputs: int) -> int:
        self.layers.append(Layer(name, "linear", self.batch, inputs, outputs))
        return outputs


def vgg_16(batch: int) -> list[Layer]:
    """VGG-16 on `batch` images of 224 x 224."""
    net, image, index = _Layers(batch), _Image(3, 224), 0
    for channels, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            image = net.convolve(f"features.{index}", image, channels, 3)
            index += 2  # a ReLU follows each
        image = image.pool(halves=True)
        index += 1
    width = image.channels * image.side**2
    for name, outputs in (
        ("classifier.0", 4096),
        ("classifier.3", 4096),
        ("classifier.6", CLASSES),
    ):
        width = net.connect(name, width, outputs)
    return net.layers


def resnet(batch: int, depths: tuple[int, int, int, int], *, bottleneck: bool) -> list[Layer]:
    """ResNet on `batch` images of 224 x 224; `depths`: blocks of each stage."""
    net = _Layers(batch)
    image = net.convolve("conv1", _Image(3, 224), 64, 7, 2).pool(halves=True)
    for stage, depth in enumerate(depths, start=1):
        width = 32 << stage
        for block in range(depth):
            name, source = f"layer{stage}.{block}", image
            stride = 2 if block == 0 and stage > 1 else 1
            if bottleneck:
                image = net.convolve(f"{name}.conv1", image, width, 1)
                image = net.convolve(f"{name}.conv2", image, width, 3, stride)
                image = net.convolve(f"{name}.conv3", image, 4 * width, 1)
            else:
                image = net.convolve(f"{name}.conv1", image, width, 3, stride)
                image = net.convolve(f"{name}.conv2", image, width, 3)
            if image != source:
                net.convolve(f"{name}.downsample.0", source, image.channels, 1, stride)
    net.connect("fc", image.channels, CLASSES)
    return net.layers


def inception_v3(batch: int) -> list[Layer]:
    """Inception-v3 on `batch` images of 299 x 299."""
    net = _Layers(batch)
    image = net.convolve("Conv2d_1a_3x3", _Image(3, 299), 32, 3, 2, padded=False)
    image = net.convolve("Conv2d_2a_3x3", image, 32, 3, padded=False)
    image = net.convolve("Conv2d_2b_3x3", image, 64, 3).pool(halves=False)
    image = net.convolve("Conv2d_3b_1x1", image, 80, 1)
    image = net.convolve("Conv2d_4a_3x3", image, 192, 3, padded=False).pool(halves=False)
    for name, pool_channels in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
        image = _inception_a(net, name, image, pool_channels)
    image = _inception_b(net, "Mixed_6a", image)
    for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        image = _inception_c(net, name, image, width)
    image = _inception_d(net, "Mixed_7a", image)
    for name in ("Mixed_7b", "Mixed_7c"):
        image = _inception_e(net, name, image)
    net.connect("fc", image.channels, CLASSES)
    return net.layers


# Blocks under the letters that torchvision gives them: branches side by side whose channels are
# concatenated.


def _inception_a(net: _Layers, name: str, image: _Image, pool_channels: int) -> _Image:
    net.convolve(f"{name}.branch1x1", image, 64, 1)
    x = net.convolve(f"{name}.branch5x5_1", image, 48, 1)
    net.convolve(f"{name}.branch5x5_2", x, 64, 5)
    x = net.convolve(f"{name}.branch3x3dbl_1", image, 64, 1)
    x = net.convolve(f"{name}.branch3x3dbl_2", x, 96, 3)
    net.convolve(f"{name}.branch3x3dbl_3", x, 96, 3)
    net.convolve(f"{name}.branch_pool", image, pool_channels, 1)
    return _Image(64 + 64 + 96 + pool_channels, image.side)


def _inception_b(net: _Layers, name: str, image: _Image) -> _Image:
    net.convolve(f"{name}.branch3x3", image, 384, 3, 2, padded=False)
    x = net.convolve(f"{name}.branch3x3dbl_1", image, 64, 1)
    x = net.convolve(f"{name}.branch3x3dbl_2", x, 96, 3)
    x = net.convolve(f"{name}.branch3x3dbl_3", x, 96, 3, 2, padded=False)
    return _Image(384 + 96 + image.channels, x.side)


def _inception_c(net: _Layers, name: str, image: _Image, width: int) -> _Image:
    net.convolve(f"{name}.branch1x1", image, 192, 1)
    x = net.convolve(f"{name}.branch7x7_1", image, width, 1)
    x = net.convolve(f"{name}.branch7x7_2", x, width, (1, 7))
    net.convolve(f"{name}.branch7x7_3", x, 192, (7, 1))
    x = net.convolve(f"{name}.branch7x7dbl_1", image, width, 1)
    x = net.convolve(f"{name}.branch7x7dbl_2", x, width, (7, 1))
    x = net.convolve(f"{name}.branch7x7dbl_3", x, width, (1, 7))
    x = net.convolve(f"{name}.branch7x7dbl_4", x, width, (7, 1))
    net.convolve(f"{name}.branch7x7dbl_5", x, 192, (1, 7))
    net.convolve(f"{name}.branch_pool", image, 192, 1)
    return _Image(4 * 192, image.side)


def _inception_d(net: _Layers, name: str, image: _Image) -> _Image:
    x = net.convolve(f"{name}.branch3x3_1", image, 192, 1)
    net.convolve(f"{name}.branch3x3_2", x, 320, 3, 2, padded=False)
    x = net.convolve(f"{name}.branch7x7x3_1", image, 192, 1)
    x = net.convolve(f"{name}.branch7x7x3_2", x, 192, (1, 7))
    x = net.convolve(f"{name}.branch7x7x3_3", x, 192, (7, 1))
    x = net.convolve(f"{name}.branch7x7x3_4", x, 192, 3, 2, padded=False)
    return _Image(320 + 192 + image.channels, x.side)


def _inception_e(net: _Layers, name: str, image: _Image) -> _Image:
    net.convolve(f"{name}.branch1x1", image, 320, 1)
    x = net.convolve(f"{name}.branch3x3_1", image, 384, 1)
    net.convolve(f"{name}.branch3x3_2a", x, 384, (1, 3))
    net.convolve(f"{name}.branch3x3_2b", x, 384, (3, 1))
    x = net.convolve(f"{name}.branch3x3dbl_1", image, 448, 1)
    x = net.convolve(f"{name}.branch3x3dbl_2", x, 384, 3)
    net.convolve(f"{name}.branch3x3dbl_3a", x, 384, (1, 3))
    net.convolve(f"{name}.branch3x3dbl_3b", x, 384, (3, 1))
    net.convolve(f"{name}.branch_pool", image, 192, 1)
    return _Image(320 + 4 * 384 + 192, image.side)


CNNS: dict[str, Callable[[int], list[Layer]]] = {
    "resnet-18": lambda batch: resnet(batch, (2, 2, 2, 2), bottleneck=False),
    "resnet-50": lambda batch: resnet(batch, (3, 4, 6, 3), bottleneck=True),
    "vgg-16": vgg_16,
    "inception-v3": inception_v3,
}
