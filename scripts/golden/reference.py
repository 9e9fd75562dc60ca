"""Items as transformers sees them: prompt, token ids, positions, pixels, embedding. One item at a time, f32, eager."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers import AutoModelForImageTextToText
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

IMAGE, VIDEO = "<|image_pad|>", "<|video_pad|>"


@dataclass
class Input:
    prompt: str
    ids: torch.Tensor  # (T)
    kinds: torch.Tensor  # (T) 0 text, 1 image, 2 video
    grids: list[tuple[str, list[int]]]  # in order of the placeholders: kind; patches in time, height, width
    seconds: list[float]  # that a patch in time lasts, of each video
    pixels: list[torch.Tensor]  # (P, PD) each
    resized: list[np.ndarray]  # (height, width, 3) each frame

    def copy(self, **changes) -> "Input":
        return Input(**{**self.__dict__, **changes})


def raw_prompt(item: dict) -> str:
    text = " ".join(part for part in (item.get("instruction"), item.get("text")) if part)
    text = re.sub(r"<\|image_\d+\|>", IMAGE, text)
    if item.get("videos") and VIDEO not in text:
        text = f"{VIDEO} " * len(item["videos"]) + text
    if item.get("images") and IMAGE not in text:
        text = f"{IMAGE} " * len(item["images"]) + text
    return text


class Reference:
    def __init__(self, directory: Path, tokenizer: Tokenizer, model=None, dtype=torch.float32):
        self.processor = Qwen2VLImageProcessorPil.from_pretrained(directory)
        self.tokenizer = tokenizer
        self.model = model or AutoModelForImageTextToText.from_pretrained(
            directory, dtype=dtype, attn_implementation="eager"
        )
        self.model.eval()
        self.root = directory

    @property
    def backbone(self):
        """The model below `lm_head`, with or without adapters around it."""
        model = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        return model.model

    def pixels_of(self, frames: list[Path]) -> tuple[torch.Tensor, list[int], list[np.ndarray]]:
        """Patches of an image (one frame) or video: two frames in time make a patch, the last one twice where odd."""
        pictures = [Image.open(frame).convert("RGB") for frame in frames]
        side = self.processor.patch_size
        prepared = [self.processed(picture, pictures) for picture in pictures]
        values = [one["pixel_values"].reshape(-1, 3, 2, side * side)[:, :, 0] for one in prepared]
        grid = prepared[0]["image_grid_thw"][0].tolist()
        if len(values) == 1 or len(values) % 2:
            values.append(values[-1])
        slices = [np.stack(values[t : t + 2], axis=2).reshape(-1, 3 * 2 * side * side) for t in range(0, len(values), 2)]
        resized = [self.resize(picture, grid[2] * side, grid[1] * side) for picture in pictures]
        return torch.from_numpy(np.concatenate(slices)).float(), [len(slices), grid[1], grid[2]], resized

    def processed(self, picture: Image.Image, frames: list[Image.Image]) -> dict:
        return self.processor(images=picture, return_tensors="np")

    def written(self, prompt: str, videos: list[dict]) -> str:
        """The prompt as it is tokenized, before placeholders become many."""
        return prompt

    def placeholders(self, kind: str, grid: list[int]) -> int:
        """How many of the prompt stand for one picture or video."""
        return 1

    @staticmethod
    def resize(picture: Image.Image, width: int, height: int) -> np.ndarray:
        return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))

    def prepare(self, item: dict, root: Path, prompt: str | None = None) -> Input:
        prompt = self.written(raw_prompt(item) if prompt is None else prompt, item.get("videos", []))
        images = iter([[root / path] for path in item.get("images", [])])
        videos = iter([[root / path for path in video["frames"]] for video in item.get("videos", [])])
        ids, kinds, grids, pixels, resized = [], [], [], [], []
        left, count = 0, 0
        image_id, video_id = (self.tokenizer.token_to_id(token) for token in (IMAGE, VIDEO))
        for token in self.tokenizer.encode(prompt, add_special_tokens=True).ids:
            if token not in (image_id, video_id):
                ids.append(token)
                kinds.append(0)
                continue
            if left > 0:  # a later part of the same video
                left -= 1
                ids += [token] * count
                kinds += [2] * count
                continue
            patches, grid, frames = self.pixels_of(next(images if token == image_id else videos))
            parts = self.placeholders("image" if token == image_id else "video", grid)
            left, count = parts - 1, grid[0] * grid[1] * grid[2] // 4 // parts
            ids += [token] * count
            kinds += [1 if token == image_id else 2] * count
            grids.append(("image" if token == image_id else "video", grid))
            pixels.append(patches)
            resized += frames
        seconds = [2 / video.get("fps", 2) for video in item.get("videos", [])]
        return Input(prompt, torch.tensor(ids), torch.tensor(kinds), grids, seconds, pixels, resized)

    def positions(self, given: Input, rule: str) -> torch.Tensor:
        """(3, T). 'sequential': pictures that no <|vision_start|> precedes count as text."""
        kinds = given.kinds.clone()
        grids = list(given.grids)
        if rule == "sequential":
            start = self.tokenizer.token_to_id("<|vision_start|>")
            kept, at = [], 0
            for grid in grids:
                while kinds[at] == 0:
                    at += 1
                count = int(np.prod(grid[1])) // 4
                if at and given.ids[at - 1] == start:
                    kept.append(grid)
                else:
                    kinds[at : at + count] = 0
                at += count
            grids = kept
        return self.rope_index(given, kinds, grids)

    def rope_index(self, given: Input, kinds: torch.Tensor, grids: list[tuple[str, list[int]]]) -> torch.Tensor:
        position_ids, _ = self.backbone.get_rope_index(
            given.ids[None], kinds[None], self.grid_tensor(grids, "image"), self.grid_tensor(grids, "video")
        )
        return position_ids[:, 0]

    @staticmethod
    def grid_tensor(grids: list[tuple[str, list[int]]], kind: str) -> torch.Tensor | None:
        rows = [grid for name, grid in grids if name == kind]
        return torch.tensor(rows) if rows else None

    def hidden(self, given: Input, rule: str = "mrope") -> torch.Tensor:
        """(T, C) output of the final norm."""
        image = [p for p, (kind, _) in zip(given.pixels, given.grids) if kind == "image"]
        video = [p for p, (kind, _) in zip(given.pixels, given.grids) if kind == "video"]
        outputs = self.backbone(
            input_ids=given.ids[None],
            position_ids=self.positions(given, rule)[:, None],
            pixel_values=torch.cat(image) if image else None,
            pixel_values_videos=torch.cat(video) if video else None,
            image_grid_thw=self.grid_tensor(given.grids, "image"),
            video_grid_thw=self.grid_tensor(given.grids, "video"),
            mm_token_type_ids=given.kinds[None],
            use_cache=False,
        )
        return outputs.last_hidden_state[0]

    def embed(self, given: Input, rule: str = "mrope") -> torch.Tensor:
        return torch.nn.functional.normalize(self.hidden(given, rule)[-1], dim=-1)


def shuffled(given: Input, seed: int = 7) -> Input:
    """The same item with the patches of each picture in another order."""
    generator = torch.Generator().manual_seed(seed)
    return given.copy(pixels=[p[torch.randperm(len(p), generator=generator)] for p in given.pixels])
