"""
Records test/golden/clip and test/golden/siglip: tiny random dual encoders and the vectors that transformers makes of texts, of
pictures, and of both: the two added as they are, then normalised, as VLM2Vec's evaluation of its baselines does.

    pip install -r scripts/golden/requirements.txt && python scripts/golden_dual.py [--output test/golden]
"""

import argparse
import json
import re
import shutil
from pathlib import Path

from golden import torchvision_shim  # noqa: F401  (before transformers)
from golden import recording
from golden.checkpoint import scaled_weights, write_json
from golden.items import IMAGE, TEXTS

import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer, SiglipConfig, SiglipModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

CORPUS = [
    "a photo of a red circle left of the blue square",
    "find a picture that shows a small green triangle above a large yellow circle",
    "represent the given image for classification: the picture shows a circle, a square and a triangle",
]
ITEMS = [
    *TEXTS, IMAGE,
    {"id": "both", "instruction": "A photo of", "text": "What is red?", "images": ["scene1.png"]},
    {"id": "several", "text": "Which one?", "images": ["scene0.png", "portrait.png", "scene3.png"]},
    {"id": "placeholder", "text": "<|image_1|>\nThe picture shows a circle.", "images": ["scene2.png"]},
    {"id": "portrait", "images": ["portrait.png"]},
    {"id": "dot", "images": ["dot.png"]},
    {"id": "large", "text": "A large picture.", "images": ["large.png"]},
    {"id": "gray", "images": ["gray.png"]},
    {"id": "rgba", "images": ["rgba.png"]},
    {"id": "video", "videos": [{"frames": ["frame0.png", "frame1.png"]}]},
]  # fmt: skip
CLIP_PATTERN = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def main() -> None:
    here = Path(__file__).parent.parent / "test" / "golden"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=here)
    parser.add_argument("--pictures", type=Path, default=here / "pictures")
    options = parser.parse_args()
    torch.set_num_threads(1)  # fixed order of sums
    for name, write, load in (("clip", write_clip, load_clip), ("siglip", write_siglip, load_siglip)):
        output = options.output / name
        shutil.rmtree(output, ignore_errors=True)
        write(output / "model")
        record(output, options.pictures, *load(output / "model"))


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def write_clip(directory: Path) -> None:
    """The end token has the highest id, and `eos_token_id` is 2, as in the files of openai."""
    tokenizer = clip_tokenizer(400)
    config = {
        "architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": 24, "torch_dtype": "float32",
        "text_config": {
            "vocab_size": tokenizer.get_vocab_size(), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 77, "eos_token_id": 2,
        },
        "vision_config": {
            "hidden_size": 40, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 30, "patch_size": 8,
        },
    }  # fmt: skip
    preprocessor = {
        "crop_size": 30, "do_center_crop": True, "do_normalize": True, "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "size": 30,
    }  # fmt: skip
    model = CLIPModel(CLIPConfig(**config, dtype="float32"))
    write(directory, config, model, preprocessor, tokenizer, {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77})


def write_siglip(directory: Path) -> None:
    tokenizer = siglip_tokenizer(200)
    config = {
        "architectures": ["SiglipModel"], "model_type": "siglip", "torch_dtype": "float32",
        "text_config": {
            "vocab_size": tokenizer.get_vocab_size(), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 64,
        },
        "vision_config": {
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 30, "patch_size": 8,
        },
    }  # fmt: skip
    preprocessor = {
        "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5], "image_processor_type": "SiglipImageProcessor", "resample": 3,
        "rescale_factor": 1 / 255, "size": {"height": 30, "width": 30},
    }  # fmt: skip
    model = SiglipModel(SiglipConfig(**config, dtype="float32"))
    write(
        directory, config, model, preprocessor, tokenizer,
        {"tokenizer_class": "SiglipTokenizer", "model_max_length": 64, "pad_token": "</s>"},
    )  # fmt: skip


def write(directory: Path, config: dict, model, preprocessor: dict, tokenizer: Tokenizer, tokenizer_config: dict) -> None:
    directory.mkdir(parents=True)
    weights = {name: value.bfloat16() for name, value in scaled_weights(model, seed=1, scale=8).items()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    write_json(directory / "config.json", config)
    write_json(directory / "preprocessor_config.json", preprocessor)
    write_json(directory / "tokenizer_config.json", tokenizer_config)


def clip_tokenizer(vocab_size: int) -> Tokenizer:
    """A vocabulary for transformers' CLIPTokenizer, which puts its stages around it; also as vocab.json and merges.txt."""
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    trained.train_from_iterator(CORPUS, trainer)
    model = json.loads(trained.to_str())["model"]
    # as in CLIP's own vocabulary, each byte also ends a word, and the two special tokens come last
    vocab = {}
    for piece in [*alphabet, *(f"{byte}</w>" for byte in alphabet), *model["vocab"], "<|startoftext|>", "<|endoftext|>"]:
        vocab.setdefault(piece, len(vocab))
    return CLIPTokenizer(vocab=vocab, merges=[tuple(pair) for pair in model["merges"]]).backend_tokenizer


def siglip_tokenizer(vocab_size: int) -> Tokenizer:
    """SentencePiece's Unigram without case and punctuation, `</s>` behind every text, as SigLIP's tokenizer.json has it."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"), ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


# ---- vectors ---------------------------------------------------------------------------------------------------------


def load_clip(directory: Path):
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    model = CLIPModel.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    return model, CLIPImageProcessorPil.from_pretrained(directory), lambda text: tokenizer.encode(text).ids


def load_siglip(directory: Path):
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    model = SiglipModel.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()

    def ids(text: str) -> list[int]:
        own = tokenizer.encode(text).ids
        return own + [1] * (64 - len(own))  # padding="max_length"

    return model, SiglipImageProcessorPil.from_pretrained(directory), ids


@torch.no_grad()
def record(output: Path, pictures: Path, model, processor, ids_of) -> None:
    rows, records = [], []
    for item in ITEMS:
        text = " ".join(part for part in (item.get("instruction"), item.get("text")) if part)
        text = re.sub(r"<\|image_\d+\|>", "", text).strip() if "<|image_" in text else text
        paths = [*item.get("images", []), *(frame for video in item.get("videos", []) for frame in video["frames"])]
        vector = 0
        records.append({"id": item["id"], "input_ids": ids_of(text) if text else [], "pixel_values": []})
        if text:
            vector = model.get_text_features(input_ids=torch.tensor([records[-1]["input_ids"]])).pooler_output[0]
        if paths:
            images = [Image.open(pictures / path).convert("RGB") for path in paths]
            pixels = processor(images=images, return_tensors="pt")["pixel_values"]
            records[-1]["pixel_values"] = [p.flatten()[:: p.numel() // 12].tolist() for p in pixels]
            vector = vector + model.get_image_features(pixel_values=pixels).pooler_output.mean(0)
        rows.append(torch.nn.functional.normalize(vector, dim=0))
    embeddings = torch.stack(rows)
    print(f"{output.name}: nearest two have cosine {(embeddings @ embeddings.T).fill_diagonal_(-1).max():.4f}")
    save_file({"embeddings": embeddings.contiguous()}, output / "embeddings.safetensors")
    recording.write_lines(output / "items.jsonl", ITEMS)
    recording.write_lines(output / "inputs.jsonl", records, ascii=True)


if __name__ == "__main__":
    main()
