"""Encoders that a user or a package describes: used like medcbir's, and every mistake told by file and key.

Weights are random: what is shown is the plumbing, against timm and open_clip themselves.
"""

import importlib
import json
import socket

import numpy as np
import open_clip
import pytest
import safetensors.torch
import timm
import tiny_clip
import torch
from PIL import Image
from random_weights import filled

from medcbir.encoders import SPECS, all_specs, find_spec, get_spec, load_encoder, load_text_encoder, prepare
from medcbir.errors import EncoderError, InputError

MINE = """
architecture = "test_vit"
dim = 64
checkpoint = "mine.safetensors"
output = "class_token"
licence = "CC0"

[pixels]
size = 160
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.25, 0.5]
"""


def test_vit() -> torch.nn.Module:
    return timm.create_model("test_vit", num_classes=0, global_pool="token")


test_vit.__test__ = False


@pytest.fixture
def folder(tmp_path):
    """A user's folder of encoders with `mine.toml`, whose weights lie in the folder `weights` beside it."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "encoders").mkdir()
    (tmp_path / "encoders" / "mine.toml").write_text(MINE)
    safetensors.torch.save_file(filled(test_vit).state_dict(), tmp_path / "weights" / "mine.safetensors")
    return tmp_path / "encoders"


def batch(size=160, n=2):
    return np.random.default_rng(7).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def test_a_file_makes_an_encoder_of_its_name(folder):
    spec = get_spec("mine", folder)
    assert (spec.name, spec.title, spec.dim, spec.licence) == ("mine", "mine", 64, "CC0")
    assert list(all_specs(folder)) == [*SPECS, "mine"]
    vectors = load_encoder(spec, weights_dir=folder.parent / "weights", device="cpu").encode(batch())
    pixels = (torch.tensor(batch()) / 255 - 0.5) / torch.tensor([0.5, 0.25, 0.5])
    with torch.inference_mode():
        expected = filled(test_vit)(pixels.permute(0, 3, 1, 2)).double().numpy()
    np.testing.assert_allclose(vectors, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=2e-6)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("dim = 64", "", r"dim: field required"),
        ("dim = 64", "dim = 0", r"dim: input should be greater than 0"),
        ("dim = 64", "dim = 64\nlicense = 'x'", r"license: no such key; there are architecture, title, .*licence, .*"),
        ("size = 160", "size = 160\ncropped = 1", r"pixels.cropped: no such key; there are size, mean, std, .*crop,"),
        ('"class_token"', '"cls"', r"output: input should be 'pooled', 'class_token', .* or 'projected'"),
        ('"class_token"', "{inputs = 64, outputs = 32}", r"output.outputs is 32 and dim 64: they must be the same"),
        ('"class_token"', "{inputs = 64}", r"output.outputs: field required"),
        ("[0.5, 0.25, 0.5]", "[0.5, 0, 0.5]", r"pixels.std.1: input should be greater than 0"),
        ("dim = 64", "dim = 64\nkeys = 'same'", r"keys: must be one of dinov2, .*, same_names, .*xrv_densenet"),
        ("dim = 64", "dim = 64\nlibrary = 'open_clip'", r'output must be "projected" where library is "open_clip"'),
        ("dim = 64", "dim = 64\nlibrary = 'keras'", r"library: input should be 'timm' or 'open_clip'"),
        ("test_vit", "hf-hub:someone/model", r"architecture: string should match pattern"),
        ("dim = 64", "dim = 64\noptions = {pretrained = true}", r"options: pretrained is not allowed here"),
        ("dim = 64", "dim = 64\noptions = {checkpoint_path = 'x'}", r"options: checkpoint_path is not allowed here"),
        ("dim = 64", "dim = 64\nsha256 = 'abc'", r"sha256: string should match pattern"),
        ("dim = 64", "dim = ", r"cannot read the encoder .*: Invalid value \(at line 3"),
        ('"test_vit"', '"local-dir:nowhere"', r"dim: no such key; there are architecture, title, .*note"),
    ],
)
def test_a_mistake_names_the_file_the_key_and_what_is_allowed(folder, old, new, error):
    (folder / "mine.toml").write_text(MINE.replace(old, new))
    with pytest.raises(EncoderError, match=error) as raised:
        get_spec("mine", folder)
    assert str(folder / "mine.toml") in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("test_vit", "test_vat", r"timm cannot build test_vat: it has none of that name; near are .*test_vit"),
        ("dim = 64", "dim = 64\noptions = {dept = 3}", r"cannot build test_vit with {'dept': 3}: .*'dept'"),
        ("size = 160", "size = 150", r"pixels: the model cannot take images of 150 x 150, .*`options`: "),
        ("dim = 64", "dim = 65", r"dim: the model gives 64 numbers for an image, not 65"),
        ('"class_token"', '"pooled"\noptions = {global_pool = "", num_patches = 1}', r"cannot build test_vit"),
        (
            'test_vit"',
            'test_vit"\noptions = {depth = 3}',
            r"does not fit: .* against mine \(test_vit\): \d+ unexpected",
        ),
        ("mine.saf", "theirs.saf", r"checkpoint not found: mine expects theirs.safetensors in"),
        ("dim = 64", f"dim = 64\nsha256 = '{'ab' * 32}'", r"checkpoint differs: .* mine expects abab"),
    ],
)
def test_what_the_library_or_the_checkpoint_does_not_have_is_one_line(folder, old, new, error):
    (folder / "mine.toml").write_text(MINE.replace(old, new))
    with pytest.raises(EncoderError, match=error) as raised:
        load_encoder(get_spec("mine", folder), weights_dir=folder.parent / "weights", device="cpu")
    assert "\n" not in str(raised.value)


def test_a_name_that_is_taken_or_impossible_is_refused(folder):
    (folder / "vit.toml").write_text(MINE)
    with pytest.raises(EncoderError, match=r"vit.toml: vit is an encoder of medcbir's own"):
        get_spec("vit", folder)
    with pytest.raises(EncoderError, match=r"vit.toml"):
        all_specs(folder)
    (folder / "vit.toml").rename(folder / "My Own.toml")
    with pytest.raises(EncoderError, match=r"My Own.toml: the file's name becomes the encoder's"):
        all_specs(folder)
    assert get_spec("mine", folder).name == "mine", "others go on"
    assert find_spec("../encoders/mine", folder) is None
    with pytest.raises(EncoderError, match=r"unknown encoder 'mone': did you mean mine"):
        get_spec("mone", folder)


@pytest.fixture
def clip(folder):
    """`tiny.toml`, which names a folder as open_clip publishes a model, relative to itself."""
    tiny_clip.write(folder.parent / "published")
    (folder / "tiny.toml").write_text('architecture = "local-dir:../published"\ntitle = "Tiny CLIP"\nlicence = "CC0"')
    return folder.parent / "published"


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("something asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_a_folder_of_open_clips_gives_what_open_clip_gives_of_it(folder, clip, no_network, tmp_path):
    spec = get_spec("tiny", folder)
    assert (spec.title, spec.dim, spec.licence) == ("Tiny CLIP", 32, "CC0")
    model, processor = open_clip.create_model_from_pretrained(f"local-dir:{clip}")
    model.eval()
    picture = np.random.default_rng(8).integers(0, 256, (200, 333, 3), dtype=np.uint8)
    words = ["pleural effusion", "a chest radiograph"]
    with torch.inference_mode():
        image = model.encode_image(processor(Image.fromarray(picture))[None], normalize=True).numpy()
        text = model.encode_text(open_clip.SimpleTokenizer(context_length=16)(words), normalize=True).numpy()
    ours = load_encoder(spec, weights_dir=tmp_path, device="cpu").encode(prepare(picture, spec.pixels)[None])
    np.testing.assert_allclose(ours, image, atol=1e-6)
    np.testing.assert_allclose(
        load_text_encoder(spec, weights_dir=tmp_path, device="cpu").encode(words), text, atol=1e-6
    )


BIOMEDCLIP = {
    "model_cfg": {
        "embed_dim": 512,
        "vision_cfg": {
            "timm_model_name": "vit_base_patch16_224",
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": 224,
        },
        "text_cfg": {
            "hf_model_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
            "hf_tokenizer_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
            "hf_proj_type": "mlp",
            "hf_pooler_type": "cls_last_hidden_state_pooler",
            "context_length": 256,
        },
    },
    "preprocess_cfg": {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]},
}
"""As published; see docs/encoders.md for where it was read."""


def test_biomedclips_folder_is_the_encoder_that_medcbir_brings_along(folder, clip, no_network):
    (clip / "open_clip_config.json").write_text(json.dumps(BIOMEDCLIP))
    found, ours = get_spec("tiny", folder), get_spec("biomedclip")
    assert (found.dim, found.pixels) == (ours.dim, ours.pixels)
    assert (found.text.pooling, found.text.projection) == (ours.text.pooling, ours.text.projection)
    assert found.text.tokenizer.file == str(clip / "tokenizer.json")
    for name in ("length", "clean", "begin", "end", "pad"):
        assert getattr(found.text.tokenizer, name) == getattr(ours.text.tokenizer, name)
    with pytest.raises(EncoderError, match=r"tokenizer not found: to read words, Tiny CLIP expects .*tokenizer.json"):
        load_text_encoder(found, weights_dir=clip, device="cpu")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda config: config.pop("model_cfg"), r"open_clip_config.json has no model_cfg"),
        (lambda config: config["model_cfg"].pop("vision_cfg"), r"has no vision_cfg"),
        (lambda config: config["model_cfg"].update(embed_dim="x"), r"model_cfg.embed_dim must be a number"),
        (lambda config: config["preprocess_cfg"].update(resize_mode="longest"), r"resized by 'longest'"),
        (lambda config: config["preprocess_cfg"].update(mean=[1]), r"must have three numbers each"),
        (
            lambda config: config["model_cfg"]["vision_cfg"].update(timm_model_name="hf-hub:x/y"),
            r"timm_model_name is no architecture of timm",
        ),
    ],
)
def test_a_folder_that_is_not_open_clips_says_what_is_wrong(folder, clip, change, error):
    config = json.loads((clip / "open_clip_config.json").read_text())
    change(config)
    (clip / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderError, match=error):
        get_spec("tiny", folder)


def test_an_empty_folder_and_what_is_no_json_are_told(folder, clip):
    (clip / "open_clip_config.json").write_text("{")
    with pytest.raises(EncoderError, match=r"open_clip_config.json is no JSON"):
        get_spec("tiny", folder)
    (clip / "open_clip_config.json").unlink()
    with pytest.raises(EncoderError, match=r"tiny.toml: architecture: cannot read .*: No such file"):
        get_spec("tiny", folder)


def test_words_have_their_errors(folder, clip, tmp_path):
    with pytest.raises(EncoderError, match=r"mine has no text tower, .* encoders that can: clip, medclip, biomedclip"):
        load_text_encoder(get_spec("mine", folder), weights_dir=tmp_path, device="cpu")
    spec = get_spec("tiny", folder)
    encoder = load_text_encoder(spec, weights_dir=tmp_path, device="cpu")
    with pytest.raises(InputError, match="needs words"):
        encoder.encode(["lung", " "])
    with pytest.raises(InputError, match=r"has 22 tokens, .* reads 16"):
        encoder.encode(["lung " * 20])
    state = torch.load(clip / "open_clip_pytorch_model.bin")
    images = {name: tensor for name, tensor in state.items() if name.startswith("visual.")}
    torch.save(images, clip / "open_clip_pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"checkpoint does not fit: .* missing \(positional_embedding"):
        load_text_encoder(spec, weights_dir=tmp_path, device="cpu")


@pytest.mark.parametrize("content", [b"", b"{}", b'{"model": 3}', b"\xff\xfe"])
def test_a_file_that_is_no_tokenizer_is_one_line(folder, clip, content, tmp_path):
    (clip / "open_clip_config.json").write_text(json.dumps(BIOMEDCLIP))
    (clip / "tokenizer.json").write_bytes(content)
    from medcbir.encoders.tokens import tokenize

    with pytest.raises(EncoderError, match=r"tokenizer unreadable: .*tokenizer.json: \S") as raised:
        tokenize("lung", get_spec("tiny", folder).text.tokenizer, clip / "tokenizer.json")
    assert "\n" not in str(raised.value)


def test_a_tokenizer_of_another_model_is_told(folder, clip):
    from medcbir.encoders.tokens import tokenize

    (clip / "open_clip_config.json").write_text(json.dumps(BIOMEDCLIP))
    (clip / "vocab.txt").write_text("lung\n[UNK]\n")
    with pytest.raises(EncoderError, match=r"tokenizer (unreadable|does not fit): .*vocab.txt"):
        tokenize("lung", get_spec("tiny", folder).text.tokenizer, clip / "vocab.txt")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package that offers encoders: one that works and three that do not."""
    (tmp_path / "offering.py").write_text(
        "import dataclasses\n"
        "from medcbir.encoders import SPECS\n"
        "good = dataclasses.replace(SPECS['vit'], name='good', title='Good', origin='offering')\n"
        "nothing = 3\n"
    )
    info = tmp_path / "offering-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: offering\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[medcbir.encoders]\ngood = offering:good\nother = offering:good\n"
        "nothing = offering:nothing\ngone = offering:gone\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()


def test_a_package_offers_encoders_by_entry_points(package):
    assert get_spec("good").title == "Good"
    for name, error in (
        ("other", r"entry point other of package offering must give an EncoderSpec of the name other"),
        ("nothing", r"must give an EncoderSpec of the name nothing, not 3"),
        ("gone", r"entry point gone of package offering cannot be imported: AttributeError"),
    ):
        with pytest.raises(EncoderError, match=error):
            get_spec(name)
    assert get_spec("vit") is SPECS["vit"], "the others are not in the way"


def test_weights_that_give_no_vector_are_named(folder):
    file = folder.parent / "weights" / "mine.safetensors"
    state = safetensors.torch.load_file(file)
    safetensors.torch.save_file(state | {"norm.weight": torch.full_like(state["norm.weight"], float("nan"))}, file)
    with pytest.raises(EncoderError, match=r"mine.safetensors fills mine, whose vectors are zero or not finite"):
        load_encoder(get_spec("mine", folder), weights_dir=folder.parent / "weights", device="cpu")
