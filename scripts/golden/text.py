"""Text decoders by themselves: tiny random checkpoints, and texts as transformers sees them."""

import json
from dataclasses import dataclass
from pathlib import Path

from . import torchvision_shim  # noqa: F401  (before transformers)

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, processors
from transformers import AutoConfig, AutoModelForCausalLM

from . import checkpoint, llava
from .checkpoint import scaled_weights, write_json

SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}  # fmt: skip
# What each has that others have not: biases; norms of heads, whose size is not hidden_size / heads; a window, and heads of a
# size of their own; fused layers and LongRoPE.
CONFIGS = {
    "qwen2": {"rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "use_sliding_window": False, "tie_word_embeddings": True},
    "qwen3": {"rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "head_dim": 10, "attention_bias": False, "tie_word_embeddings": True},
    "mistral": {"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "head_dim": 12, "sliding_window": None, "tie_word_embeddings": False},
    "phi3": {
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "num_key_value_heads": 4, "original_max_position_embeddings": 24,
        "sliding_window": 262144, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
        "rope_scaling": {"type": "longrope", "short_factor": [1.08, 1.1, 1.28, 1.45], "long_factor": [1.1, 2.62, 7.4, 30.84]},
    },
}  # fmt: skip
CLASSES = {"qwen2": "Qwen2", "qwen3": "Qwen3", "mistral": "Mistral", "phi3": "Phi3"}


def tokenizer_of(family: str, corpus: list[str]) -> Tokenizer:
    """Qwen's byte-level BPE, for Qwen3 with an end behind every text, as its embedding models have it; or Llama's form."""
    if not family.startswith("qwen"):
        return llava.train_tokenizer(corpus, 330)
    tokenizer = checkpoint.train_tokenizer(corpus, 300)
    if family == "qwen3":
        end = "<|endoftext|>"
        tokenizer.post_processor = processors.TemplateProcessing(f"$A {end}", special_tokens=[(end, tokenizer.token_to_id(end))])
    return tokenizer


def write_checkpoint(directory: Path, family: str, corpus: list[str], window: int | None = None) -> None:
    """`window`: of attention, where the family has one."""
    tokenizer = tokenizer_of(family, corpus)
    config = {
        "architectures": [f"{CLASSES[family]}ForCausalLM"], "model_type": family, "torch_dtype": "bfloat16", **SIZES,
        "vocab_size": tokenizer.get_vocab_size() + 2, "hidden_act": "silu", **CONFIGS[family],
    }  # fmt: skip
    if window is not None:
        config["sliding_window"] = window
    directory.mkdir(parents=True)
    write_json(directory / "config.json", config)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(directory), dtype=torch.float32)
    weights = {name: value.bfloat16() for name, value in scaled_weights(model, seed=1, scale=8).items()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    qwen = {"tokenizer_class": "Qwen2Tokenizer", "pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
    llama = {
        "tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>",
        "add_bos_token": True,
    }  # fmt: skip
    own = qwen if family.startswith("qwen") else llama
    write_json(directory / "tokenizer_config.json", {**own, "padding_side": "left", "model_max_length": 4096})


@dataclass
class Input:
    prompt: str
    ids: torch.Tensor  # (T)


class TextReference:
    def __init__(self, directory: Path, dtype=torch.float32, **config):
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation="eager", **config)
        self.model.eval()

    @property
    def backbone(self):
        """The model below `lm_head`, with or without adapters around it."""
        return (self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model).model

    def prepare(self, item: dict, root: Path) -> Input:
        text = " ".join(part for part in (item.get("instruction"), item.get("text")) if part)
        return Input(text, torch.tensor(self.tokenizer.encode(text).ids))

    def embed(self, given: Input, rule: str = "") -> torch.Tensor:
        ids = given.ids[None]
        states = self.backbone(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).last_hidden_state[0]
        return torch.nn.functional.normalize(states[-1], dim=-1)
