"""
Records test/golden/<family> for Qwen2.5-VL and Qwen3-VL: a tiny random model, what transformers makes of items of all kinds,
and six steps of LoRA and of full training. Pictures are those of test/golden/pictures.

    python scripts/golden-families.py [--family qwen3_vl] [--output test/golden]
"""

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from golden import checkpoint, families, qwen, recording
from golden.items import CORPUS, TEXTS
from golden.recording import replaced

BOUND = 5e-5
ITEMS = qwen.ITEMS + [
    {"id": "slow", "text": "Seen slowly:", "videos": [{"frames": [f"frame{i}.png" for i in range(5)], "fps": 0.7}]},
    {"id": "quick", "text": "<|vision_start|><|video_pad|><|vision_end|> quick <|video_pad|>.",
     "videos": [{"frames": [f"frame{i}.png" for i in range(8)], "fps": 5},
                {"frames": ["scene2.png", "scene2.png"], "fps": 1}]},
]  # fmt: skip
DEEP_ITEMS = [
    TEXTS[0],
    {"id": "image", "text": "Before text:", "images": ["scene0.png"]},
    {"id": "ending", "text": "Ends with <|image_pad|>", "images": ["scene1.png"]},
    {"id": "bare", "text": "<|image_pad|>", "images": ["portrait.png"]},
    {"id": "two", "text": "Then <|image_pad|> and <|image_pad|>", "images": ["dot.png", "scene3.png"]},
    {"id": "video", "text": "<|video_pad|>, then <|image_pad|>", "images": ["scene2.png"],
     "videos": [{"frames": ["frame0.png", "frame4.png"], "fps": 2}]},
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent.parent / "test" / "golden")
    parser.add_argument("--family", choices=list(families.SIZES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in [options.family] if options.family else families.SIZES:
        record(name, options.output / name, options.output / "pictures")


def record(name: str, directory: Path, pictures: Path) -> None:
    family = families.family_of(name)
    items = DEEP_ITEMS if name == "qwen3_vl_deep" else ITEMS
    shutil.rmtree(directory, ignore_errors=True)
    tokenizer = checkpoint.train_tokenizer(CORPUS, families.TEXT["vocab_size"])
    ids = {token: tokenizer.token_to_id(token) for token in checkpoint.SPECIAL_TOKENS}
    config = families.config_of(family, families.SIZES[name], ids)
    vision = config["vision_config"]
    unit = (2 * vision["patch_size"]) ** 2
    preprocessor = {**checkpoint.preprocessor_config(4 * unit, 20 * unit), "patch_size": vision["patch_size"]}
    if family == "qwen3_vl":
        preprocessor |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    checkpoint.write_checkpoint(
        directory / "model", config, families.random_weights(family, config, seed=2, scale=8), tokenizer, preprocessor
    )
    if family == "qwen3_vl":
        least, most = families.Qwen3Reference.video_pixels
        size = {"size": {"shortest_edge": least, "longest_edge": most}, "patch_size": 16}
        checkpoint.write_json(directory / "model" / "video_preprocessor_config.json", size)
    make = families.REFERENCES[family]
    with torch.no_grad():
        reference = make(directory / "model", tokenizer)
        inputs = [reference.prepare(item, pictures) for item in items]
        right = torch.stack([reference.embed(given) for given in inputs])
        for error, broken in errors(family, reference).items():
            with broken:
                check_moved(error, right, torch.stack([reference.embed(given) for given in inputs]), inputs)
        if name == "qwen3_vl_deep":
            check_levels(reference, right, inputs)
    save_file({"mrope": right.contiguous()}, directory / "embeddings.safetensors")
    recording.write_lines(directory / "items.jsonl", items)
    records = [qwen.input_record(reference, item["id"], given) for item, given in zip(items, inputs)]
    recording.write_lines(directory / "inputs.jsonl", records, ascii=True)
    for mode, case in training_cases(name).items():
        recording.record_training(
            directory, pictures, mode, case, lambda model, dtype: make(model, tokenizer, dtype=dtype), noise=2e-5
        )


def errors(family: str, reference) -> dict:
    """What the family has that Qwen2-VL has not, left out."""
    visual = reference.backbone.visual
    if family == "qwen2_5_vl":
        return {"windows": replaced(visual, "fullatt_block_indexes", list(range(len(visual.blocks))))}
    zero = torch.nn.Parameter(torch.zeros_like(visual.pos_embed.weight))
    return {
        "learned positions": replaced(visual.pos_embed, "weight", zero),
        "deepstack": replaced(visual, "deepstack_visual_indexes", []),
    }


def check_moved(name: str, right: torch.Tensor, wrong: torch.Tensor, inputs: list) -> None:
    moved = [(r - w).abs().max().item() for r, w, given in zip(right, wrong, inputs) if given.grids]
    print(f"without {name}: embeddings of pictures move by {min(moved):.1e} to {max(moved):.1e}")
    if sorted(moved)[len(moved) // 2] < 50 * BOUND:
        raise SystemExit(f"{name} hardly matters")


def check_levels(reference, right: torch.Tensor, inputs: list) -> None:
    """The level behind the last layer shows where an item ends with a picture, and only there; the next one nowhere."""
    ends = [given.ids[-1].item() == reference.model.config.image_token_id for given in inputs]
    for levels, shows in (([0], ends), ([0, 1], [False] * len(inputs))):
        with replaced(reference.backbone.visual, "deepstack_visual_indexes", levels):
            moved = [(reference.embed(given) - r).abs().max().item() for given, r in zip(inputs, right)]
        if any((each > 50 * BOUND) != expected for each, expected in zip(moved, shows)):
            raise SystemExit(f"levels {levels}: embeddings move by {moved}")


def training_cases(name: str) -> dict[str, dict]:
    everywhere = r".*(\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj|qkv|linear_fc1)|merger\.mlp\.0)"
    deep = name == "qwen3_vl_deep"
    cases = recording.training_cases(everywhere, [], deep_rows if deep else rows)
    return {mode: {**cases[mode], "rank": 4} for mode in (["lora"] if deep else ["lora", "full"])}


def rows() -> list[dict]:
    result = qwen.plain_rows()
    frames = [f"frame{i}.png" for i in range(3)]
    result[1]["query"] = {"text": "What moves?", "videos": [{"frames": frames, "fps": 1}], "images": ["scene1.png"]}
    return result


def deep_rows() -> list[dict]:
    """Some end with a picture."""
    result = rows()
    for i in (0, 3, 5):
        result[i]["query"]["text"] = f"Number {i}: <|image_pad|>"
    return result


if __name__ == "__main__":
    main()
