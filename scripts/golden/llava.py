"""LLaVA-NeXT: tiny random checkpoints in the naming of the hub, and items as transformers sees them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from . import torchvision_shim  # noqa: F401  (before transformers)

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors, trainers
from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration, LlavaNextProcessor, PreTrainedTokenizerFast
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from .checkpoint import scaled_weights, write_json

IMAGE = "<image>"


def train_tokenizer(corpus: list[str], vocab_size: int) -> Tokenizer:
    """SentencePiece-style BPE with byte fallback, as Llama and Mistral have it; <image> and <pad> have the last ids."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=vocab_size - 2, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([word for text in corpus for word in text.split(" ")], trainer)
    saved = json.loads(tokenizer.to_str())
    saved["added_tokens"] = saved["added_tokens"][:3]  # the bytes are ordinary pieces
    tokenizer = Tokenizer.from_str(json.dumps(saved))
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in (IMAGE, "<pad>")])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def random_weights(config: dict, seed: int, scale: float) -> dict[str, torch.Tensor]:
    """As checkpoint.scaled_weights."""
    return scaled_weights(LlavaNextForConditionalGeneration(LlavaNextConfig(**config, dtype="float32")), seed, scale)


def hub_name(name: str) -> str:
    """The name that published checkpoints have for a tensor of transformers 5."""
    for ours, hub in [
        ("model.vision_tower.", "vision_tower.vision_model."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
        ("model.image_newline", "image_newline"),
        ("model.language_model.", "language_model.model."),
        ("lm_head.", "language_model.lm_head."),
    ]:
        if name.startswith(ours):
            return hub + name.removeprefix(ours)
    raise KeyError(name)


def write_checkpoint(directory: Path, config: dict, weights: dict, tokenizer: Tokenizer, dtype=torch.bfloat16) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    stored = {hub_name(name): value.to(dtype) for name, value in weights.items()}
    save_file(stored, directory / "model.safetensors", metadata={"format": "pt"})
    side = config["vision_config"]["image_size"]
    write_json(directory / "config.json", config)
    write_json(
        directory / "preprocessor_config.json",
        {
            "image_processor_type": "LlavaNextImageProcessor", "crop_size": {"height": side, "width": side},
            "size": {"shortest_edge": side}, "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True,
            "do_pad": True, "do_rescale": True, "do_resize": True, "resample": 3, "rescale_factor": 1 / 255,
            "image_grid_pinpoints": config["image_grid_pinpoints"],
            "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
        },
    )  # fmt: skip
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    write_json(
        directory / "tokenizer_config.json",
        {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
         "pad_token": "<pad>", "padding_side": "left", "add_bos_token": True, "model_max_length": 1000000000},
    )  # fmt: skip


@dataclass
class Input:
    prompt: str
    ids: torch.Tensor  # (T)
    pixels: torch.Tensor | None  # (I, tiles, 3, side, side), the fewer tiles filled up
    sizes: torch.Tensor | None  # (I, 2) height, width

    def copy(self, **changes) -> "Input":
        return Input(**{**self.__dict__, **changes})


class LlavaReference:
    def __init__(self, directory: Path, dtype=torch.float32):
        config = json.loads((directory / "config.json").read_text())
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_file(str(directory / "tokenizer.json")), pad_token="<pad>"
        )
        self.processor = LlavaNextProcessor(
            LlavaNextImageProcessorPil.from_pretrained(directory), tokenizer,
            patch_size=config["vision_config"]["patch_size"], vision_feature_select_strategy="default",
            num_additional_image_tokens=1, image_token=IMAGE,
        )  # fmt: skip
        self.model = LlavaNextForConditionalGeneration.from_pretrained(directory, dtype=dtype, attn_implementation="eager")
        self.model.eval()

    @property
    def backbone(self):
        """The model below `lm_head`, with or without adapters around it."""
        model = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        return model.model

    def prepare(self, item: dict, root: Path) -> Input:
        text = " ".join(part for part in (item.get("instruction"), item.get("text")) if part)
        text = re.sub(r"<\|image_\d+\|>", IMAGE, text)
        images = [Image.open(root / path).convert("RGB") for path in item.get("images", [])]
        if images and IMAGE not in text:
            text = f"{IMAGE} " * len(images) + text
        given = self.processor(images=images or None, text=text, return_tensors="pt")
        sizes = given.get("image_sizes")
        return Input(text, given["input_ids"][0], given.get("pixel_values"), sizes)

    def hidden(self, given: Input) -> torch.Tensor:
        """(T, C) output of the final norm."""
        dtype = next(self.model.parameters()).dtype
        outputs = self.backbone(
            input_ids=given.ids[None],
            attention_mask=torch.ones_like(given.ids)[None],
            pixel_values=None if given.pixels is None else given.pixels.to(dtype),
            image_sizes=given.sizes,
            use_cache=False,
        )
        return outputs.last_hidden_state[0]

    def embed(self, given: Input, rule: str = "") -> torch.Tensor:
        return torch.nn.functional.normalize(self.hidden(given)[-1], dim=-1)


def turned(given: Input) -> Input:
    """The same item with the tiles of each picture in the opposite order."""
    return given if given.pixels is None else given.copy(pixels=given.pixels.flip(1))


def first_tile(given: Input) -> np.ndarray:
    return given.pixels[0, 0].numpy()
