"""
Phi-3.5-V composed of parts of transformers, since the model itself is remote code: CLIP's vision model, the projection with its
learned separators, and Phi-3's decoder; with tiny random checkpoints in the naming of the hub.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from . import torchvision_shim  # noqa: F401  (before transformers)

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import CLIPVisionConfig, CLIPVisionModel, Phi3Config, Phi3Model

from .checkpoint import write_json

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
PICTURE = r"<\|image_\d+\|>"


# ---- pictures --------------------------------------------------------------------------------------------------------


def hd_canvas(image: Image.Image, crops: int, tile: int) -> Image.Image:
    """The longer side a whole number of tiles, the shorter one filled up with white."""
    turned = image.width < image.height
    if turned:
        image = image.transpose(Image.Transpose.TRANSPOSE)
    ratio = image.width / image.height
    across = max(n for n in range(1, crops + 1) if all(m * math.ceil(m / ratio) <= crops for m in range(1, n + 1)))
    width = tile * across
    height = int(width / ratio)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    missing = math.ceil(height / tile) * tile - height
    image = ImageOps.expand(image, (0, missing // 2, 0, missing - missing // 2), (255, 255, 255))
    return image.transpose(Image.Transpose.TRANSPOSE) if turned else image


def hd_tiles(image: Image.Image, crops: int, tile: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """(tiles, 3, tile, tile) f32, the overview first; and tiles down and across."""
    pixels = torch.from_numpy(np.array(hd_canvas(image, crops, tile))).permute(2, 0, 1).contiguous()
    pixels = pixels.float().div(255).sub(MEAN).div(STD)
    overview = F.interpolate(pixels[None], size=(tile, tile), mode="bicubic")
    tiles = pixels.unfold(1, tile, tile).unfold(2, tile, tile).permute(1, 2, 0, 3, 4)
    return torch.cat([overview, tiles.flatten(0, 1)]), tuple(tiles.shape[:2])


# ---- the model -------------------------------------------------------------------------------------------------------


class Tower(torch.nn.Module):
    """Gives CLIP's modules the names that they have in the checkpoint: img_processor.vision_model.*"""

    def __init__(self, config: CLIPVisionConfig):
        super().__init__()
        self.vision_model = CLIPVisionModel(config)


class ImageEmbedding(torch.nn.Module):
    def __init__(self, clip: CLIPVisionConfig, hidden_size: int):
        super().__init__()
        width = 4 * clip.hidden_size
        self.img_processor = Tower(clip)
        self.glb_GN = torch.nn.Parameter(torch.zeros(1, 1, width))
        self.sub_GN = torch.nn.Parameter(torch.zeros(1, 1, 1, width))
        self.img_projection = torch.nn.Sequential(
            torch.nn.Linear(width, hidden_size), torch.nn.GELU(), torch.nn.Linear(hidden_size, hidden_size)
        )

    def features(self, tiles: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        """(N, C) of one picture: the map of all tiles, row by row, a separator, the overview."""
        states = self.img_processor.vision_model(pixel_values=tiles, output_hidden_states=True).hidden_states[-2][:, 1:]
        side = math.isqrt(states.shape[1]) // 2
        merged = states.reshape(len(tiles), side, 2, side, 2, -1).transpose(2, 3).reshape(len(tiles), side, side, -1)
        down, across = shape
        whole = merged[1:].reshape(down, across, side, side, -1).transpose(1, 2).reshape(down * side, across * side, -1)
        rows = [self.ended(whole), self.glb_GN[0], self.ended(merged[0])]
        return self.img_projection(torch.cat(rows))

    def ended(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.cat([rows, self.sub_GN[0].expand(len(rows), 1, -1)], dim=1).flatten(0, 1)


class Phi3V(torch.nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        text = {key: value for key, value in config.items() if key not in ("model_type", "img_processor", "embd_layer")}
        original = {key: text[key] for key in ("original_max_position_embeddings",)}
        text["rope_scaling"] = {**original, **text["rope_scaling"]}
        self.model = Phi3Model(Phi3Config(**text, attn_implementation="eager", dtype="float32"))
        clip = CLIPVisionConfig(**config["clip"], hidden_act="quick_gelu", attn_implementation="eager")
        self.model.vision_embed_tokens = ImageEmbedding(clip, config["hidden_size"])
        self.lm_head = torch.nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)

    def forward(self, ids: torch.Tensor, pictures: list) -> torch.Tensor:
        """(T, C) output of the final norm; -k in ids stands for a feature of picture k."""
        model = self.model
        states = model.embed_tokens(ids.clamp_min(0))
        for number, (tiles, shape) in enumerate(pictures, 1):
            features = model.vision_embed_tokens.features(tiles.to(states.dtype), shape)
            states = states.index_put(((ids == -number).nonzero(as_tuple=True)[0],), features)
        mask = torch.ones(1, len(ids), dtype=torch.long)
        return model(inputs_embeds=states[None], attention_mask=mask, use_cache=False).last_hidden_state[0]


def clip_sizes(config: dict, weights: dict[str, torch.Tensor]) -> dict:
    """The tower's sizes: config.json does not hold them."""
    prefix = "model.vision_embed_tokens.img_processor.vision_model."
    width, _, side, _ = weights[f"{prefix}embeddings.patch_embedding.weight"].shape
    positions = len(weights[f"{prefix}embeddings.position_embedding.weight"]) - 1
    layers = {name.split(".")[6] for name in weights if name.startswith(f"{prefix}encoder.layers.")}
    return {
        "hidden_size": width, "patch_size": side, "image_size": math.isqrt(positions) * side,
        "intermediate_size": len(weights[f"{prefix}encoder.layers.0.mlp.fc1.weight"]), "num_hidden_layers": len(layers),
        "num_attention_heads": config["img_processor"].get("num_attention_heads", max(1, round(width / 64))),
    }  # fmt: skip


# ---- items -----------------------------------------------------------------------------------------------------------


@dataclass
class Input:
    prompt: str
    ids: torch.Tensor  # (T)
    pictures: list  # of tiles (n, 3, side, side) and their shape (down, across)

    def copy(self, **changes) -> "Input":
        return Input(**{**self.__dict__, **changes})


class Phi3VReference:
    def __init__(self, directory: Path, dtype=torch.float32):
        config = json.loads((directory / "config.json").read_text())
        weights = load_file(directory / "model.safetensors")
        clip = clip_sizes(config, weights)
        self.model = Phi3V({**config, "clip": clip})
        self.model.load_state_dict(weights)
        self.model.to(dtype).eval()
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tile, self.patch = clip["image_size"], clip["patch_size"]
        self.crops = json.loads((directory / "preprocessor_config.json").read_text())["num_crops"]

    @property
    def backbone(self):
        return (self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model).model

    def prepare(self, item: dict, root: Path) -> Input:
        text = " ".join(part for part in (item.get("instruction"), item.get("text")) if part)
        paths = item.get("images", [])
        if paths and not re.search(PICTURE, text):
            text = "".join(f"<|image_{k}|> " for k in range(1, len(paths) + 1)) + text
        pictures = [hd_tiles(Image.open(root / path).convert("RGB"), self.crops, self.tile) for path in paths]
        numbers = [int(tag.split("_")[1][:-2]) for tag in re.findall(PICTURE, text)]
        ids = []
        for chunk, number in zip(re.split(PICTURE, text), [*numbers, 0]):
            ids += self.tokenizer.encode(chunk).ids
            if number:
                ids += [-number] * self.token_count(pictures[number - 1][1])
        return Input(text, torch.tensor(ids), pictures)

    def token_count(self, shape: tuple[int, int]) -> int:
        side = self.tile // self.patch // 2
        return (shape[0] * shape[1] + 1) * side**2 + 1 + (shape[0] + 1) * side

    def embed(self, given: Input, rule: str = "") -> torch.Tensor:
        return F.normalize(self.model(given.ids, given.pictures)[-1], dim=-1)


def turned(given: Input) -> Input:
    """The same item with the tiles of each picture in the opposite order."""
    return given.copy(pictures=[(tiles.flip(0), shape) for tiles, shape in given.pictures])


def write_checkpoint(directory: Path, config: dict, weights: dict, tokenizer: Tokenizer, crops: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    stored = {name: value.to(torch.bfloat16) for name, value in weights.items()}
    save_file(stored, directory / "model.safetensors", metadata={"format": "pt"})
    write_json(directory / "config.json", config)
    write_json(
        directory / "preprocessor_config.json",
        {
            "image_processor_type": "Phi3VImageProcessor", "do_convert_rgb": True, "num_crops": crops,
            "image_mean": MEAN.flatten().tolist(), "image_std": STD.flatten().tolist(),
        },
    )  # fmt: skip
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
