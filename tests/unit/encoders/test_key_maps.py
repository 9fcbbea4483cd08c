"""Publishers' formats, read as their own implementations read them."""

import dataclasses

import numpy as np
import pytest
import torch
import torchvision

from medcbir.encoders import get_spec, load_encoder
from medcbir.encoders.key_maps import (
    dinov2,
    medclip_swin,
    open_clip_visual,
    radimagenet_resnet,
    same_names,
    segment_anything,
    xmir_densenet,
    xrv_densenet,
)
from medcbir.errors import EncoderError


def shaken(model):
    """The model with every parameter moved, so that none is still the zero or one that would hide a mistake."""
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model.eval()


def assert_encodes_as(name, published, reference, directory):
    """The encoder filled from `published` gives the direction that `reference` gives on the normalised pixels."""
    spec = get_spec(name)
    spec = dataclasses.replace(spec, checkpoint=dataclasses.replace(spec.checkpoint, sha256=None))
    file = directory / spec.checkpoint.file
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(published, file)
    batch = np.random.default_rng(4).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (spec.pixels.mean, spec.pixels.std))
    with torch.inference_mode():
        expected = reference((torch.tensor(batch).permute(0, 3, 1, 2) / 255 - mean) / std).double().numpy()
    vector = load_encoder(spec, weights_dir=directory, device="cpu").encode(batch)
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=2e-6)


def test_xmir_gives_torchvisions_pooled_features_from_a_plain_file_too(tmp_path):
    model = shaken(torchvision.models.densenet121())
    state = model.state_dict()
    assert_encodes_as("xmir", state, lambda pixels: torch.relu(model.features(pixels)).mean(dim=(2, 3)), tmp_path)


def test_both_of_rad_dinos_files_are_read_alike():
    names = {
        "embeddings.cls_token": "cls_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
        "encoder.layer.3.attention.output.dense.bias": "blocks.3.attn.proj.bias",
        "encoder.layer.3.layer_scale1.lambda1": "blocks.3.ls1.gamma",
        "encoder.layer.3.mlp.fc1.bias": "blocks.3.mlp.fc1.bias",
        "encoder.layer.3.norm1.bias": "blocks.3.norm1.bias",
        "layernorm.weight": "norm.weight",
    }
    tensors = {theirs: torch.zeros(1, 5, 2) for theirs in names}
    parts = {
        f"encoder.layer.3.attention.attention.{part}.bias": torch.tensor([number])
        for number, part in enumerate(("query", "key", "value"))
    }
    mapped = dinov2({**tensors, **parts, "embeddings.mask_token": torch.zeros(1)}, {"pos_embed": torch.zeros(1, 5, 2)})
    assert set(mapped) == {*names.values(), "blocks.3.attn.qkv.bias"}
    assert mapped["blocks.3.attn.qkv.bias"].tolist() == [0, 1, 2]


def test_xrv_takes_one_channel_for_the_mean_of_three_and_no_other_count():
    kernel = torch.arange(49.0).reshape(1, 1, 7, 7)
    mapped = xrv_densenet({"features.conv0.weight": kernel, "op_threshs": 0, "classifier.bias": 0}, {})
    assert set(mapped) == {"features.conv0.weight"}
    torch.testing.assert_close(mapped["features.conv0.weight"].sum(dim=1, keepdim=True), kernel)
    colour = xrv_densenet({"features.conv0.weight": torch.zeros(64, 3, 7, 7)}, {})
    assert colour["features.conv0.weight"].shape != (64, 3, 7, 7), "which the loader refuses"


def test_radimagenets_numbers_are_torchvisions_children():
    children = list(torchvision.models.resnet50().named_children())[:9]
    numbered = {f"backbone.{number}.weight": 0 for number in range(len(children))}
    assert list(radimagenet_resnet(numbered, {}))[:2] == ["conv1.weight", "bn1.weight"]
    named = {number: name for number, (name, module) in enumerate(children) if list(module.parameters())}
    mapped = list(radimagenet_resnet(numbered, {}))
    assert {number: mapped[number].removesuffix(".weight") for number in named} == named


def test_medclip_fuses_query_key_and_value_and_moves_the_downsampling():
    block = "vision_model.model.encoder.layers.1.blocks.0."
    published = {
        f"{block}attention.self.value.weight": torch.full((1, 2), 3.0),
        f"{block}attention.self.query.weight": torch.full((1, 2), 1.0),
        f"{block}attention.self.key.weight": torch.full((1, 2), 2.0),
        f"{block}attention.self.relative_position_bias_table": torch.zeros(169, 3),
        f"{block}attention.self.relative_position_index": torch.zeros(49, 49),
        f"{block}attention.output.dense.bias": torch.zeros(2),
        f"{block}layernorm_after.bias": torch.zeros(2),
        f"{block}output.dense.bias": torch.zeros(2),
        "vision_model.model.encoder.layers.1.downsample.norm.bias": torch.zeros(2),
        "vision_model.model.layernorm.bias": torch.zeros(2),
        "vision_model.projection_head.weight": torch.zeros(512, 768),
        "text_model.projection_head.weight": torch.zeros(512, 768),
    }
    mapped = medclip_swin(published, {})
    assert set(mapped) == {
        "trunk.layers.1.blocks.0.attn.qkv.weight",
        "trunk.layers.1.blocks.0.attn.relative_position_bias_table",
        "trunk.layers.1.blocks.0.attn.proj.bias",
        "trunk.layers.1.blocks.0.norm2.bias",
        "trunk.layers.1.blocks.0.mlp.fc2.bias",
        "trunk.layers.2.downsample.norm.bias",
        "trunk.norm.bias",
        "projection.weight",
    }
    assert mapped["trunk.layers.1.blocks.0.attn.qkv.weight"].tolist() == [[1, 1], [2, 2], [3, 3]]


def test_a_medclip_file_without_its_keys_is_an_error_that_names_them(tmp_path):
    spec = get_spec("medclip")
    query = "vision_model.model.encoder.layers.0.blocks.0.attention.self.query.weight"
    (tmp_path / spec.checkpoint.file).parent.mkdir()
    torch.save({query: torch.zeros(1)}, tmp_path / spec.checkpoint.file)
    with pytest.raises(EncoderError, match=r"lacks layers.0.blocks.0.attention.key.weight, which MedCLIP needs"):
        load_encoder(spec, weights_dir=tmp_path, device="cpu")


def test_sam_and_clip_keep_their_image_encoders_alone():
    assert set(segment_anything({"image_encoder.blocks.0.mlp.lin1.bias": 0, "mask_decoder.x": 0}, {})) == {
        "blocks.0.mlp.fc1.bias"
    }
    assert set(open_clip_visual({"visual.conv1.weight": 0, "text_projection": 0}, {})) == {"conv1.weight"}


def test_dinov2_keeps_the_class_position_and_resamples_the_others():
    torch.manual_seed(0)
    published = {"pos_embed": torch.randn(1, 1 + 37 * 37, 8), "mask_token": torch.zeros(1, 8)}
    same = dinov2(published, {"pos_embed": torch.zeros(1, 1 + 37 * 37, 8)})
    assert torch.equal(same["pos_embed"], published["pos_embed"])
    small = dinov2(published, {"pos_embed": torch.zeros(1, 1 + 16 * 16, 8)})["pos_embed"]
    assert small.shape == (1, 1 + 16 * 16, 8)
    assert torch.equal(small[:, 0], published["pos_embed"][:, 0])


def test_dinov2_samples_positions_at_steps_of_37_over_16_1():
    rows = np.random.default_rng(6).normal(size=37)
    grid = torch.tensor(rows, dtype=torch.float32).repeat_interleave(37).reshape(1, -1, 1)
    published = {"pos_embed": torch.cat([torch.zeros(1, 1, 1), grid], dim=1)}
    resampled = dinov2(published, {"pos_embed": torch.zeros(1, 257, 1)})["pos_embed"][0, 1:, 0].reshape(16, 16)

    def cubic(distance, a=-0.75):  # Keys' kernel, with the constant that torch uses
        near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
        far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        return np.where(distance <= 1, near, np.where(distance < 2, far, 0))

    centres = (np.arange(16) + 0.5) * 37 / 16.1 - 0.5
    inside = slice(1, 15)  # at the border torch repeats the last row
    expected = cubic(np.abs(centres[:, None] - np.arange(37))) @ rows
    np.testing.assert_allclose(resampled[inside, 8], expected[inside], atol=1e-5)


def test_a_classifier_is_left_out_only_where_the_model_has_none():
    published = {"fc.weight": 0, "layer1.weight": 0}
    assert set(same_names(published, {"layer1.weight": 0})) == {"layer1.weight"}
    assert set(same_names(published, published)) == set(published)
    assert set(xmir_densenet({"features.a": 0, "classifier.bias": 0}, {"features.a": 0})) == {"features.a"}
