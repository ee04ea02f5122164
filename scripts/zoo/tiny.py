"""One network of every family, small enough to be a fixture of the tests (at most 200 KB a file)."""

from functools import partial

import exporting
import onnx
import own
import timm.models.byobnet as byobnet
import timm.models.ghostnet as ghostnet
import timm.models.mobilenetv3 as mobilenetv3
import timm.models.regnet as regnet
import timm.models.res2net as res2net
import timm.models.resnet as resnet
import timm.models.resnetv2 as resnetv2
import torchvision.models as vision
from networks import Network
from timm.models._efficientnet_builder import decode_arch_def
from torch import nn
from torchvision.models import convnext, efficientnet, mobilenetv3 as vision_mobilenetv3
from torchvision.models import regnet as vision_regnet

CLASSES = 4
SMALL = ((3, 32, 32),)


def residual(block=resnet.BasicBlock, layers=(2, 2, 1, 1), channels=(8, 8, 16, 16), **options):
    return resnet.ResNet(block, layers, channels=channels, num_classes=CLASSES, **options)


def bottlenecks(**options):
    return residual(resnet.Bottleneck, (2, 2, 1, 1), (4, 4, 8, 8), **options)


def preactivated():
    return resnetv2.ResNetV2((2, 2), (16, 32), num_classes=CLASSES, stem_chs=8, norm_layer=partial(timm_batch_norm, eps=1e-5))


def timm_batch_norm(channels, **options):
    from timm.layers import BatchNormAct2d

    return BatchNormAct2d(channels, **options)


def mobilenet_v2():
    return vision.MobileNetV2(CLASSES, 0.5, [[1, 8, 1, 1], [3, 16, 2, 2], [3, 16, 2, 1]], round_nearest=4)


def mobilenet_v3():
    conf = partial(vision_mobilenetv3.InvertedResidualConfig, dilation=1, width_mult=1.0)
    settings = [
        conf(8, 3, 8, 8, True, "RE", 1), conf(8, 3, 24, 16, False, "RE", 2), conf(16, 5, 32, 16, True, "HS", 1), conf(16, 3, 32, 16, True, "HS", 1),
    ]
    return vision.MobileNetV3(settings, 64, CLASSES)


def mobilenet_v4():
    stages = [["cn_r1_k1_s1_c8"], ["uir_r1_a5_k5_s2_e3_c16", "uir_r2_a0_k3_s1_e2_c16"], ["cn_r1_k1_s1_c32"]]
    return mobilenetv3.MobileNetV3(decode_arch_def(stages), CLASSES, stem_size=8, num_features=64, head_bias=False, norm_layer=nn.BatchNorm2d, act_layer=nn.ReLU)


def mnasnet():
    model = vision.MNASNet(0.1, CLASSES)
    # Three of the six stages, and the classifier on what they put out.
    model.layers = model.layers[:11]
    model.classifier = nn.Linear(8, CLASSES)
    return model


def efficientnet_v1():
    conf = partial(efficientnet.MBConvConfig, width_mult=1.0, depth_mult=1.0)
    settings = [conf(1, 3, 1, 8, 8, 1), conf(3, 3, 2, 8, 16, 2), conf(3, 5, 1, 16, 16, 2)]
    return efficientnet.EfficientNet(settings, 0.2, num_classes=CLASSES, last_channel=32)


def efficientnet_v2():
    fused, plain = efficientnet.FusedMBConvConfig, efficientnet.MBConvConfig
    settings = [fused(1, 3, 1, 8, 8, 1), fused(2, 3, 2, 8, 8, 2), plain(3, 3, 2, 8, 16, 2)]
    return efficientnet.EfficientNet(settings, 0.2, num_classes=CLASSES, last_channel=32)


def efficientnet_lite():
    stages = [["ds_r1_k3_s1_e1_c8"], ["ir_r2_k3_s2_e3_c16"], ["ir_r2_k5_s1_e3_c16"]]
    from timm.models.efficientnet import EfficientNet

    return EfficientNet(decode_arch_def(stages), CLASSES, num_features=32, stem_size=8, act_layer=nn.ReLU6)


def regnets(squeeze=None):
    params = vision_regnet.BlockParams([2, 2], [8, 16], [4, 8], [1.0, 1.0], [2, 2], squeeze)
    return vision_regnet.RegNet(params, CLASSES, stem_width=8)


def regnet_z():
    blocks = byobnet.ByoBlockCfg
    stages = tuple(
        blocks(type="bottle", d=2, c=width, s=2, gs=4, br=3.0, block_kwargs={"bottle_in": True, "linear_out": True}) for width in (8, 16)
    )
    cfg = byobnet.ByoModelCfg(blocks=stages, stem_type="3x3", stem_chs=8, stem_pool="", num_features=32, downsample="", attn_layer="se", act_layer="silu")
    return byobnet.ByobNet(cfg, num_classes=CLASSES)


def repvgg():
    stages = tuple(byobnet.ByoBlockCfg(type="rep", d=2, s=2, gs=0, br=1.0, c=width) for width in (8, 16))
    return byobnet.ByobNet(byobnet.ByoModelCfg(blocks=stages, stem_type="rep", stem_chs=8), num_classes=CLASSES)


def ghost():
    # kernel, middle, out, squeeze-and-excitation, stride
    stages = [[[3, 8, 8, 0, 1]], [[3, 24, 16, 0, 2]], [[3, 32, 16, 0.25, 1]], [[3, 32, 16, 0, 1]]]
    return ghostnet.GhostNet(stages, num_classes=CLASSES, width=0.5)


def convnext_small():
    settings = [convnext.CNBlockConfig(8, 16, 2), convnext.CNBlockConfig(16, None, 2)]
    return vision.ConvNeXt(settings, num_classes=CLASSES)


def swin():
    return vision.SwinTransformer([4, 4], 8, [2], [2], [4, 4], num_classes=CLASSES)


def vit():
    return vision.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=CLASSES)


def densenet():
    return vision.DenseNet(4, (2, 2), 8, num_classes=CLASSES)


def vgg():
    return vision.vgg.VGG(vision.vgg.make_layers([8, "M", 16, "M"], batch_norm=True), num_classes=CLASSES)


def tiny_vgg():
    model = vgg()
    model.avgpool, model.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(16, CLASSES)
    return model


def segmentation():
    """A residual backbone with a head of convolutions, enlarged back to the image's size."""
    return own.Segmentation(residual(), 16, CLASSES)


FIXTURES = [
    Network("resnet_basic", "ResNet, basic blocks", residual, 2, SMALL),
    Network("resnet_bottleneck", "ResNet, bottlenecks", bottlenecks, 2, SMALL),
    Network("resnet_thin", "ResNet, thin, shortcuts by slice and pad", partial(own.Thin, own.BasicBlock, width=4), 7, SMALL),
    Network("resnet_preactivation", "ResNet, pre-activation", preactivated, 2, SMALL),
    Network("resnet_wide", "ResNet, wide", partial(bottlenecks, base_width=128), 2, SMALL),
    Network("resnext", "ResNeXt", partial(bottlenecks, cardinality=2, base_width=32), 2, SMALL),
    Network("seresnet", "SE-ResNet", partial(bottlenecks, block_args={"attn_layer": "se"}), 2, SMALL),
    Network("res2net", "Res2Net", partial(residual, res2net.Bottle2neck, (2, 1, 1, 1), (4, 4, 8, 8), base_width=52, block_args={"scale": 4}), 1, SMALL),
    Network("regnet_x", "RegNet X", regnets, 2, SMALL),
    Network("regnet_y", "RegNet Y", partial(regnets, 0.25), 2, SMALL),
    Network("regnet_z", "RegNet Z", regnet_z, 2, SMALL),
    Network("mobilenet_v2", "MobileNetV2", mobilenet_v2, 3, SMALL),
    Network("mobilenet_v3", "MobileNetV3", mobilenet_v3, 3, SMALL),
    Network("mobilenet_v4", "MobileNetV4", mobilenet_v4, 2, SMALL),
    Network("mnasnet", "MnasNet", mnasnet, 6, SMALL),
    Network("efficientnet", "EfficientNet", efficientnet_v1, 4, SMALL),
    Network("efficientnet_lite", "EfficientNet-Lite", efficientnet_lite, 4, SMALL),
    Network("efficientnet_v2", "EfficientNetV2", efficientnet_v2, 3, SMALL),
    Network("ghostnet", "GhostNet", ghost, 2, SMALL),
    Network("convnext", "ConvNeXt", convnext_small, 4, SMALL),
    Network("repvgg", "RepVGG, as it is trained", repvgg, 0, SMALL),
    Network("swin", "Swin", swin, 4, SMALL),
    Network("vit", "ViT", vit, 4, SMALL),
    Network("c2f", "YOLO-style backbone, C2f", partial(own.Backbone, own.C2f, 3), 6, ((3, 64, 64),)),
    Network("c3", "YOLO-style backbone, C3", partial(own.Backbone, own.C3, 3), 6, ((3, 64, 64),)),
    Network("segmentation", "segmentation, FCN", segmentation, 2, SMALL),
    Network("two_outputs", "two outputs", partial(own.Thin, own.BasicBlock, width=4, early_exit=True), 7, SMALL),
    Network("densenet", "DenseNet", densenet, 0, SMALL),
    Network("vgg", "VGG", tiny_vgg, 0, SMALL),
    Network("several_inputs", "several inputs", own.SeveralInputs, 3, (*SMALL, *SMALL, (2,))),
]


def write(folder):
    """All fixtures, with a free batch; every second one by the other exporter."""
    for at, network in enumerate(FIXTURES):
        path = folder / f"{network.name}.onnx"
        model, inputs = exporting.built(network), exporting.example(network, 2)
        if at % 2:
            exporting.dynamo(model, inputs, path)
        else:
            exporting.torchscript(model, inputs, path, batch="dynamic", norm="kept" if at % 4 else "folded")
        onnx.save(slim(onnx.load(path)), path)
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KB, {network.droppable} droppable blocks")


def slim(model):
    """Without what only says where a node came from, but for its module; values that nothing outside knows have short names."""
    known = {value.name for value in [*model.graph.input, *model.graph.output, *model.graph.initializer]}
    short = {}
    for node in model.graph.node:
        kept = [entry for entry in node.metadata_props if entry.key == "pkg.torch.onnx.name_scopes"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name and name not in known:
                    names[index] = short.setdefault(name, f"v{len(short)}")
    del model.graph.value_info[:]
    return model
