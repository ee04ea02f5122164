"""The networks of the zoo: what each is, how PyTorch builds it, and how many of its blocks may go."""

from collections.abc import Callable
from dataclasses import dataclass

import exporting
import own
import timm
import torchvision.models as vision
import torchvision.models.segmentation as segmentation

IMAGE = (3, 224, 224)


@dataclass(frozen=True)
class Network:
    name: str
    family: str
    build: Callable
    #: Droppable blocks by its architecture; None where the literature does not say.
    droppable: int | None
    #: Shapes (C, H, W) of its inputs.
    inputs: tuple = (IMAGE,)


def of_torchvision(family, droppable, inputs=(IMAGE,)):
    def entry(name, **options):
        return Network(name, family, lambda: getattr(vision, name)(weights=None, **options), droppable, inputs)

    return entry


def of_timm(name, family, droppable, inputs=(IMAGE,), **options):
    return Network(f"timm/{name}", family, lambda: timm.create_model(name, pretrained=False, **options), droppable, inputs)


def fcn():
    return segmentation.fcn_resnet50(weights=None, weights_backbone=None)


NETWORKS = [
    of_torchvision("ResNet, basic blocks", 5)("resnet18"),
    of_torchvision("ResNet, basic blocks", 13)("resnet34"),
    of_torchvision("ResNet, bottlenecks", 12)("resnet50"),
    Network("own/resnet20", "ResNet, thin, shortcuts by slice and pad", own.thin_resnet20, 7, ((3, 32, 32),)),
    of_timm("resnetv2_50", "ResNet, pre-activation", 12),
    Network("own/preact_resnet20", "ResNet, pre-activation, thin", own.preact_resnet20, 7, ((3, 32, 32),)),
    of_torchvision("ResNet, wide", 12)("wide_resnet50_2"),
    of_torchvision("ResNeXt", 12)("resnext50_32x4d"),
    of_timm("seresnet50", "SE-ResNet", 12),
    of_timm("res2net50_26w_4s", "Res2Net", 12),
    of_torchvision("RegNet X", 18)("regnet_x_400mf"),
    of_torchvision("RegNet Y", 12)("regnet_y_400mf"),
    of_timm("regnetz_b16", "RegNet Z", None),
    of_torchvision("MobileNetV2", 10)("mobilenet_v2"),
    of_torchvision("MobileNetV3", 10)("mobilenet_v3_large"),
    of_torchvision("MobileNetV3", 6)("mobilenet_v3_small"),
    of_timm("mobilenetv4_conv_small", "MobileNetV4", None),
    of_torchvision("MnasNet", 10)("mnasnet1_0"),
    of_torchvision("EfficientNet", 9)("efficientnet_b0"),
    of_timm("efficientnet_lite0", "EfficientNet-Lite", 9),
    of_timm("efficientnet_lite2", "EfficientNet-Lite", 14),
    of_torchvision("EfficientNetV2", 35)("efficientnet_v2_s"),
    of_timm("ghostnet_100", "GhostNet", None),
    of_torchvision("ConvNeXt", 18)("convnext_tiny"),
    of_timm("repvgg_a0", "RepVGG, as it is trained", None),
    of_torchvision("Swin", 24)("swin_t"),
    of_torchvision("ViT", 24)("vit_b_16"),
    of_timm("deit_tiny_patch16_224", "DeiT", 24),
    Network("own/c2f", "YOLO-style backbone, C2f", own.c2f_backbone, 6, ((3, 160, 160),)),
    Network("own/c3", "YOLO-style backbone, C3", own.c3_backbone, 6, ((3, 160, 160),)),
    Network("fcn_resnet50", "segmentation, FCN on ResNet-50", fcn, 12, ((3, 128, 128),)),
    Network("own/two_inputs", "two inputs", own.two_inputs, 4, ((3, 32, 32), (1, 32, 32))),
    Network("own/several_inputs", "several inputs", own.SeveralInputs, 3, ((3, 32, 32), (3, 32, 32), (2,))),
    Network("own/two_outputs", "two outputs", own.two_outputs, 7, ((3, 32, 32),)),
    of_torchvision("DenseNet", 0)("densenet121"),
    of_torchvision("VGG", 0)("vgg11_bn"),
    of_torchvision("SqueezeNet", 0)("squeezenet1_1"),
    of_timm("cspresnet50", "CSPNet", None),
    of_timm("darknet53", "DarkNet", 23),
    of_timm("dla34", "DLA", None),
    of_timm("skresnet18", "SK-ResNet", None),
    of_timm("hrnet_w18_small", "HRNet", None),
    of_timm("poolformer_s12", "PoolFormer", 24),
    of_timm("mixer_s32_224", "MLP-Mixer", 16),
    of_timm("convmixer_768_32", "ConvMixer", 32),
    of_timm("mobilevit_xxs", "MobileViT", None, ((3, 256, 256),)),
    of_timm("levit_128s", "LeViT", None),
    of_timm("edgenext_xx_small", "EdgeNeXt", None),
    of_timm("fastvit_t8", "FastViT", None, ((3, 256, 256),)),
    of_timm("nf_resnet50", "NF-ResNet", 12),
    of_timm("ecaresnet26t", "ECA-ResNet", None),
    of_timm("resnest14d", "ResNeSt", None),
    of_timm("xception41", "Xception", None, ((3, 299, 299),)),
    of_timm("efficientformer_l1", "EfficientFormer", None),
    of_timm("convnextv2_atto", "ConvNeXt V2", None),
    of_timm("inception_next_atto", "InceptionNeXt", None),
    of_timm("mobileone_s0", "MobileOne", None),
    of_timm("tf_efficientnet_lite1", "EfficientNet-Lite, TensorFlow's padding", None),
]


@dataclass(frozen=True)
class Form:
    """A way to export."""

    name: str
    export: Callable
    #: Whether a runtime computes it with the statistics of the batch: nothing to compare with.
    trains: bool = False


def torchscript(name, **options):
    return Form(name, lambda *args: exporting.torchscript(*args, **options), options.get("norm") == "training")


def dynamo(name, **options):
    return Form(name, lambda *args: exporting.dynamo(*args, **options))


USUAL = [torchscript("TorchScript"), dynamo("dynamo")]

#: Of one network, to see that a form changes nothing.
ALL = [
    *USUAL,
    torchscript("TorchScript, free batch", batch="dynamic"),
    torchscript("TorchScript, BatchNormalization kept", norm="kept", batch="dynamic"),
    torchscript("TorchScript, training form", norm="training", batch="dynamic"),
    *[torchscript(f"TorchScript, opset {opset}", opset=opset) for opset in (7, 8, 9, 11, 13, 20)],
    dynamo("dynamo, fixed batch", batch="static"),
    dynamo("dynamo, not optimized", optimize=False),
    *[dynamo(f"dynamo, opset {opset}", opset=opset) for opset in (20, 23)],
]


def forms(network):
    return ALL if network.name in ("resnet18", "mobilenet_v3_small") else USUAL
