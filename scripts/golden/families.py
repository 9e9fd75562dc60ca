"""Qwen2.5-VL and Qwen3-VL: tiny random checkpoints in the form of the hub, and how their inputs differ from Qwen2-VL's."""

import math

import torch
from PIL import Image
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from .checkpoint import hub_config, hub_name, scaled_weights
from .reference import VIDEO, Input, Reference

CLASSES = {
    "qwen2_5_vl": (Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration),
    "qwen3_vl": (Qwen3VLConfig, Qwen3VLForConditionalGeneration),
}
TEXT = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "vocab_size": 400}
SIZES = {
    "qwen2_5_vl": {
        **TEXT, "num_attention_heads": 4, "num_key_value_heads": 2,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 2, 2]},
        "vision_config": {"depth": 3, "hidden_size": 32, "intermediate_size": 44, "num_heads": 2, "in_chans": 3,
                          "out_hidden_size": 48, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2,
                          "window_size": 56, "fullatt_block_indexes": [1], "tokens_per_second": 2},
    },
    # heads * head_dim is not hidden_size; more frequencies than sections name turn by time
    "qwen3_vl": {
        "text_config": {**TEXT, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 20, "rms_norm_eps": 1e-6,
                        "rope_theta": 5000000, "max_position_embeddings": 32768, "attention_bias": False,
                        "rope_scaling": {"rope_type": "default", "mrope_interleaved": True, "mrope_section": [4, 3, 3]}},
        "vision_config": {"depth": 4, "hidden_size": 32, "intermediate_size": 44, "num_heads": 2, "in_channels": 3,
                          "out_hidden_size": 48, "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2,
                          "num_position_embeddings": 49, "deepstack_visual_indexes": [0, 2],
                          "hidden_act": "gelu_pytorch_tanh"},
    },
}  # fmt: skip
# More levels of DeepStack than text layers: the second enters behind the last layer, the third nowhere.
SIZES["qwen3_vl_deep"] = {
    "text_config": {**SIZES["qwen3_vl"]["text_config"], "num_hidden_layers": 2},
    "vision_config": {**SIZES["qwen3_vl"]["vision_config"], "depth": 3, "deepstack_visual_indexes": [0, 1, 2]},
}


def config_of(family: str, sizes: dict, ids: dict[str, int]) -> dict:
    """config.json as the hub has it: flat for Qwen2.5-VL, nested for Qwen3-VL."""
    config = {**hub_config(sizes, ids), "model_type": family, "architectures": [CLASSES[family][1].__name__]}
    if family == "qwen3_vl":
        for key in ("hidden_act", "max_position_embeddings", "rms_norm_eps", "rope_theta", "use_sliding_window"):
            config.pop(key)
        config["tie_word_embeddings"] = False
    return config


def random_weights(family: str, config: dict, seed: int, scale: float) -> dict[str, torch.Tensor]:
    """As checkpoint.scaled_weights, by the names that these families have on the hub."""
    config_class, model_class = CLASSES[family]
    weights = scaled_weights(model_class(config_class(**config, dtype="float32")), seed, scale)
    return {hub_name(name): value for name, value in weights.items()} if family == "qwen2_5_vl" else weights


class Qwen25Reference(Reference):
    def rope_index(self, given: Input, kinds, grids) -> torch.Tensor:
        seconds = torch.tensor(given.seconds) if given.seconds else None
        position_ids, _ = self.backbone.get_rope_index(
            given.ids[None], kinds[None], self.grid_tensor(grids, "image"), self.grid_tensor(grids, "video"),
            second_per_grid_ts=seconds,
        )  # fmt: skip
        return position_ids[:, 0]


class Qwen3Reference(Reference):
    """Videos as in transformers 4.57.6: written out in time, sized by all their pixels."""

    video_pixels = (4096, 32 * 32 * 40)

    def written(self, prompt: str, videos: list[dict]) -> str:
        wrapped = f"<|vision_start|>{VIDEO}<|vision_end|>"
        parts = prompt.replace(wrapped, VIDEO).split(VIDEO)
        text = parts[0]
        for video, part in zip(videos, parts[1:]):
            frames, fps = list(range(len(video["frames"]))), video.get("fps", 2)
            frames += frames[-1:] * (len(frames) % 2)
            for first, last in zip(frames[::2], frames[1::2]):
                text += f"<{(first / fps + last / fps) / 2:.1f} seconds>{wrapped}"
            text += part
        return text

    def placeholders(self, kind: str, grid: list[int]) -> int:
        return grid[0] if kind == "video" else 1

    def processed(self, picture: Image.Image, frames: list[Image.Image]) -> dict:
        if len(frames) == 1:
            return super().processed(picture, frames)
        width, height = self.video_size(len(frames), *frames[0].size)
        resized = picture.resize((width, height), Image.Resampling.BICUBIC)
        return self.processor(images=resized, do_resize=False, return_tensors="np")

    def video_size(self, frames: int, width: int, height: int) -> tuple[int, int]:
        unit = 2 * self.processor.patch_size
        least, most = self.video_pixels
        rounded = [round(side / unit) * unit for side in (width, height)]
        total = round(frames / 2) * 2 * rounded[0] * rounded[1]
        if total > most:
            beta = math.sqrt(frames * width * height / most)
            rounded = [max(unit, math.floor(side / beta / unit) * unit) for side in (width, height)]
        elif total < least:
            beta = math.sqrt(least / (frames * width * height))
            rounded = [math.ceil(side * beta / unit) * unit for side in (width, height)]
        return tuple(rounded)


REFERENCES = {"qwen2_5_vl": Qwen25Reference, "qwen3_vl": Qwen3Reference}


def family_of(name: str) -> str:
    """The family of a name in SIZES."""
    return next(family for family in CLASSES if name.startswith(family))
