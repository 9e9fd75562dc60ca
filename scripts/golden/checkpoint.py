"""Random Qwen2-VL checkpoints whose embeddings react to everything, in the naming of the hub."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

SPECIAL_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip

# Qwen's pre-tokenizer.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(corpus: list[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE of the same form as Qwen's; the special tokens have the last ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS])
    return tokenizer


def hub_config(sizes: dict, token_ids: dict[str, int]) -> dict:
    """config.json in the flat form of the hub, from `sizes` in its own names."""
    return {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "model_type": "qwen2_vl",
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_sliding_window": False,
        "bos_token_id": token_ids["<|endoftext|>"],
        "eos_token_id": token_ids["<|im_end|>"],
        "vision_start_token_id": token_ids["<|vision_start|>"],
        "vision_end_token_id": token_ids["<|vision_end|>"],
        "image_token_id": token_ids["<|image_pad|>"],
        "video_token_id": token_ids["<|video_pad|>"],
        **sizes,
    }


def random_weights(config: dict, seed: int, scale: float) -> dict[str, torch.Tensor]:
    """As `scaled_weights`, by hub names."""
    model = Qwen2VLForConditionalGeneration(Qwen2VLConfig(**config, dtype="float32"))
    return {hub_name(name): value for name, value in scaled_weights(model, seed, scale).items()}


def scaled_weights(model: torch.nn.Module, seed: int, scale: float) -> dict[str, torch.Tensor]:
    """
    Weights by transformers' own names, `scale` times as large as at initialisation: with small ones every model is nearly the
    identity, and an error in positions or attention doesn't show. Norms and biases are random as well. Each number is
    exact in bfloat16 and in float16, so that files of every type hold the same model.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, parameter in sorted(model.named_parameters()):
        is_norm = "norm" in name or "ln_q" in name
        noise = torch.randn(parameter.shape, generator=generator) * (0.2 if is_norm else 0.02 * scale)
        weights[name] = exact_in_half(noise + 1 if is_norm and name.endswith("weight") else noise)
    return weights


def exact_in_half(value: torch.Tensor) -> torch.Tensor:
    value = value.bfloat16()
    return torch.where(value.abs() < 2.0**-14, torch.zeros_like(value), value)


def hub_name(name: str) -> str:
    """The name that published checkpoints have for a tensor of transformers 5."""
    if name.startswith("model.visual."):
        return name.removeprefix("model.")
    return name.replace("model.language_model.", "model.")


def write_checkpoint(
    directory: Path, config: dict, weights: dict[str, torch.Tensor], tokenizer: Tokenizer | None, preprocessor: dict
) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    write_json(directory / "config.json", config)
    write_json(directory / "preprocessor_config.json", preprocessor)
    if tokenizer is None:
        return
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    added = {
        str(id): {
            "content": token.content, "lstrip": False, "normalized": False,
            "rstrip": False, "single_word": False, "special": True,
        }
        for id, token in tokenizer.get_added_tokens_decoder().items()
    }  # fmt: skip
    write_json(
        directory / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added, "padding_side": "left",
            "pad_token": "<|endoftext|>", "eos_token": "<|im_end|>", "model_max_length": 32768,
        },
    )  # fmt: skip


def preprocessor_config(min_pixels: int, max_pixels: int) -> dict:
    return {
        "image_processor_type": "Qwen2VLImageProcessor",
        "min_pixels": min_pixels,
        "max_pixels": max_pixels,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
