"""Every text tower of the registry at full size: filled from its publisher's format, it gives its publisher's vectors.

Weights are random, tokenizers are toys in the publishers' formats, save CLIP's, which is the real one: what is shown is
that words take the same way through files, tokens and towers as in transformers or open_clip.
"""

import dataclasses
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import safetensors.torch
import tokenizers
import torch
import transformers
from open_clip.hf_model import HFTextEncoder
from random_weights import filled

from medcbir.encoders import SPECS, EncoderSpec, load_text_encoder
from medcbir.errors import InputError

Tensors = dict[str, torch.Tensor]
Reference = Callable[[str], torch.Tensor]
"""A text -> its features (1, dim), by an implementation that is not ours."""

TEXTS = ("pleural effusion", "Chest X-ray: no acute findings.", "MR brain, T2-weighted")
WORDS = ("pleural", "effusion", "chest", "x", "ray", "no", "acute", "findings", "mr", "brain", "t2", "weighted")
LAYERS = 2
"""Of MedSigLIP's 27 and PE-Core's 24 layers, at full width: all would take a minute to no further end."""


def renamed(state: Tensors, *pairs: tuple[str, str]) -> Tensors:
    out = {}
    for name, tensor in state.items():
        for theirs, ours in pairs:
            name = name.replace(theirs, ours)
        out[name] = tensor
    return out


def clip(folder: Path) -> tuple[Tensors, Reference]:
    """OpenAI's tower in transformers, its file under open_clip's names; the tokenizer is transformers' own as well."""
    config = transformers.CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768,
        vocab_size=49408, eos_token_id=49407,
    )  # fmt: skip
    model = filled(lambda: transformers.CLIPTextModelWithProjection(config))
    state = renamed(
        {name.removeprefix("text_model."): tensor for name, tensor in model.state_dict().items()},
        ("embeddings.token_embedding.", "token_embedding."),
        ("embeddings.position_embedding.weight", "positional_embedding"),
        ("encoder.layers.", "transformer.resblocks."),
        ("self_attn.", "attn."),
        ("layer_norm", "ln_"),
        ("final_ln_", "ln_final"),
        ("mlp.fc1", "mlp.c_fc"),
        ("mlp.fc2", "mlp.c_proj"),
    )
    for number in range(12):
        for kind in ("weight", "bias"):
            parts = [state.pop(f"transformer.resblocks.{number}.attn.{part}_proj.{kind}") for part in "qkv"]
            state[f"transformer.resblocks.{number}.attn.in_proj_{kind}"] = torch.cat(parts)
    state["text_projection"] = state.pop("text_projection.weight").T
    own = open_clip.SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    packed = Path(open_clip.tokenizer.default_bpe()).read_bytes()
    merges = gzip.decompress(packed).decode().split("\n")[1 : len(own.bpe_ranks) + 1]
    tokenizer = transformers.CLIPTokenizer(
        vocab={names.get(token, token): number for token, number in own.encoder.items()},
        merges=[tuple(merge.split()) for merge in merges],
    )
    towers = {"visual.conv1.weight": torch.zeros(2), "logit_scale": torch.zeros(())}
    return state | towers, lambda text: model(**tokenizer(text, return_tensors="pt")).text_embeds


def siglip(config: transformers.SiglipTextConfig, numbers: Callable[[str], list[int]]) -> tuple[Tensors, Reference]:
    model = filled(lambda: transformers.SiglipTextModel(config))
    state = {f"text_model.{name}": tensor for name, tensor in model.state_dict().items()}
    images = {"vision_model.head.probe": torch.zeros(2), "logit_bias": torch.zeros(1)}

    def reference(text: str) -> torch.Tensor:
        given = numbers(text)
        return model(torch.tensor([given + [config.pad_token_id] * (64 - len(given))])).pooler_output

    return state | images, reference


def siglip2(folder: Path) -> tuple[Tensors, Reference]:
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *sorted({letter for word in WORDS for letter in word})]
    merged = [("a", "t"), ("p", "l"), ("pl", "e")]
    vocabulary = {piece: number for number, piece in enumerate([*pieces, *map("".join, merged)])}
    tokenizer = transformers.Siglip2Tokenizer(vocab=vocabulary, merges=merged)
    tokenizer.save_pretrained(folder)
    return siglip(
        transformers.SiglipTextConfig(vocab_size=256_000, pad_token_id=0),
        lambda text: [*tokenizer(text, add_special_tokens=False).input_ids, vocabulary["<eos>"]],
    )


def medsiglip(folder: Path) -> tuple[Tensors, Reference]:
    pieces = ["<unk>", "</s>", *(f"▁{word}" for word in WORDS), "▁", *"abcdefghijklmnopqrstuvwxyz0123456789.,-:"]
    made = tokenizers.Tokenizer(tokenizers.models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    made.save(str(folder / "tokenizer.json"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    config = transformers.SiglipTextConfig(
        hidden_size=1152, intermediate_size=4304, num_hidden_layers=LAYERS, num_attention_heads=16
    )
    return siglip(
        config, lambda text: [*tokenizer(open_clip.tokenizer.canonicalize_text(text)).input_ids, pieces.index("</s>")]
    )


def bert_vocabulary() -> dict[str, int]:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *":.,-", "weight", "##ed"]
    return {piece: number for number, piece in enumerate(pieces)}


def biomedclip(folder: Path) -> tuple[Tensors, Reference]:
    """PubMedBERT in open_clip, which has the pooler of BERT that the published file lacks."""
    make = {"config": transformers.BertConfig(), "proj_type": "mlp", "pooler_type": "cls_last_hidden_state_pooler"}
    model = filled(lambda: HFTextEncoder("bert", 512, **make))
    state = {f"text.{name}": tensor for name, tensor in model.state_dict().items() if ".pooler." not in name}
    tokenizer = transformers.BertTokenizer(vocab=bert_vocabulary())
    tokenizer.save_pretrained(folder)
    others = {
        "visual.trunk.cls_token": torch.zeros(2),
        "text.transformer.embeddings.position_ids": torch.arange(512)[None],
    }

    def reference(text: str) -> torch.Tensor:
        return model(tokenizer(text, padding="max_length", max_length=256, return_tensors="pt").input_ids)

    return state | others, reference


def medclip(folder: Path) -> tuple[Tensors, Reference]:
    """ClinicalBERT in transformers, pooled as MedCLIP's own code does it."""
    config = transformers.BertConfig(vocab_size=28_996)
    model = filled(lambda: transformers.BertModel(config))
    head = filled(lambda: torch.nn.Linear(768, 512, bias=False))
    (folder / "vocab.txt").write_text("\n".join(bert_vocabulary()))
    tokenizer = transformers.BertTokenizer(vocab=bert_vocabulary())
    state = {f"text_model.model.{name}": tensor for name, tensor in model.state_dict().items()}
    others = {
        "text_model.projection_head.weight": head.weight.detach(),
        "vision_model.projection_head.weight": torch.zeros(2, 2),
    }

    def reference(text: str) -> torch.Tensor:
        hidden = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
        return head(torch.stack([hidden[1], hidden[2], hidden[-1]]).permute(1, 0, 2, 3).mean(2).mean(1))

    return state | others, reference


def pe_core(folder: Path) -> tuple[Tensors, Reference]:
    """open_clip's own, as ours is: only the names in the file and the tokens' way are shown."""
    config = open_clip.get_model_config("PE-Core-B-16")
    words = {**config["text_cfg"], "layers": LAYERS}
    nothing = {"image_size": 1, "patch_size": 1, "width": 64, "layers": 1}
    model = filled(lambda: open_clip.CustomTextCLIP(config["embed_dim"], nothing, words))
    tokenizer = open_clip.get_tokenizer("PE-Core-B-16")
    return model.state_dict(), lambda text: model.encode_text(tokenizer(text))


TOWERS = {
    "clip": clip,
    "medclip": medclip,
    "biomedclip": biomedclip,
    "medsiglip": medsiglip,
    "siglip2": siglip2,
    "pe_core": pe_core,
}


def test_every_text_tower_is_tested_here():
    assert set(TOWERS) == {name for name, spec in SPECS.items() if spec.text is not None}


def spec_as_tested(name: str) -> EncoderSpec:
    spec = SPECS[name]
    if name in {"medsiglip", "pe_core"}:
        shallow = dataclasses.replace(spec.text, options={**spec.text.options, "layers": LAYERS})
        spec = dataclasses.replace(spec, text=shallow)
    return spec


@pytest.mark.parametrize("name", TOWERS)
def test_words_get_the_unit_vectors_of_the_publishers_model(name, tmp_path):
    spec = spec_as_tested(name)
    file = tmp_path / spec.checkpoint.file
    file.parent.mkdir()
    state, reference = TOWERS[name](file.parent)
    with torch.inference_mode():
        rows = torch.cat([reference(text) for text in TEXTS]).double().numpy()
    if file.suffix == ".safetensors":
        safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    else:
        torch.save(state, file)
    del state, reference

    encoder = load_text_encoder(spec, weights_dir=tmp_path, device="cpu")
    file.unlink()  # pytest keeps what is left: gigabytes
    vectors = encoder.encode(TEXTS)

    assert vectors.shape == (len(TEXTS), spec.dim)
    assert vectors.dtype == np.float32
    expected = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-6)
    for ours, theirs in ((vectors, expected), (vectors - expected.mean(axis=0), expected - expected.mean(axis=0))):
        lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        assert (np.einsum("nd,nd->n", ours, theirs) / lengths).min() >= 0.9999
    np.testing.assert_array_equal(encoder.encode(TEXTS[:1])[0], vectors[0])
    with pytest.raises(InputError, match="needs words"):
        encoder.encode([" "])
    with pytest.raises(InputError, match=rf"tokens, .*reads {spec.text.tokenizer.length}: give a shorter one"):
        encoder.encode(["mr brain " * 300])
