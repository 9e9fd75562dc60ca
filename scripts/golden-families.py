"""
Records test/golden/<family> for Qwen2.5-VL and Qwen3-VL: a tiny random model, what transformers makes of items of all kinds,
and six steps of LoRA and of full training. Pictures are those of test/golden/pictures.

    python scripts/golden-families.py [--family qwen3_vl] [--output test/golden]
"""

import argparse
import contextlib
import importlib.util
import json
import shutil
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import save_file

from golden import checkpoint, families, training

# scripts/golden.py: the package of that name hides it
spec = importlib.util.spec_from_file_location("golden_script", Path(__file__).with_name("golden.py"))
base = importlib.util.module_from_spec(spec)
spec.loader.exec_module(base)

BOUND = 5e-5
OPTIONS = {"batch_size": 4, "max_steps": 6, "learning_rate": 3e-4, "schedule": "linear", "warmup_steps": 2,
           "weight_decay": 0.0, "max_grad_norm": 1.0, "temperature": 0.05, "duplicates": "mask"}  # fmt: skip
ITEMS = base.ITEMS + [
    {"id": "slow", "text": "Seen slowly:", "videos": [{"frames": [f"frame{i}.png" for i in range(5)], "fps": 0.7}]},
    {"id": "quick", "text": "<|vision_start|><|video_pad|><|vision_end|> quick <|video_pad|>.",
     "videos": [{"frames": [f"frame{i}.png" for i in range(8)], "fps": 5},
                {"frames": ["scene2.png", "scene2.png"], "fps": 1}]},
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent.parent / "test" / "golden")
    parser.add_argument("--family", choices=list(families.SIZES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for family in [options.family] if options.family else families.SIZES:
        record(family, options.output / family, options.output / "pictures")


def record(family: str, directory: Path, pictures: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    tokenizer = checkpoint.train_tokenizer(base.CORPUS, families.TEXT["vocab_size"])
    ids = {token: tokenizer.token_to_id(token) for token in checkpoint.SPECIAL_TOKENS}
    config = families.config_of(family, families.SIZES[family], ids)
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
        inputs = [reference.prepare(item, pictures) for item in ITEMS]
        right = torch.stack([reference.embed(given) for given in inputs])
        for name, broken in errors(family, reference).items():
            with broken:
                check_moved(name, right, torch.stack([reference.embed(given) for given in inputs]), inputs)
    save_file({"mrope": right.contiguous()}, directory / "embeddings.safetensors")
    (directory / "items.jsonl").write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in ITEMS))
    lines = (json.dumps(base.input_record(reference, item["id"], given)) for item, given in zip(ITEMS, inputs))
    (directory / "inputs.jsonl").write_text("".join(line + "\n" for line in lines))
    for name in ("lora", "full"):
        record_training(name, directory, pictures, lambda dtype: make(directory / "model", tokenizer, dtype=dtype))


@contextlib.contextmanager
def replaced(target, name: str, value):
    before = getattr(target, name)
    setattr(target, name, value)
    yield
    setattr(target, name, before)


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


def record_training(name: str, directory: Path, pictures: Path, make) -> None:
    case = directory / "training" / name
    case.mkdir(parents=True)
    targets = r".*(\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj|qkv|linear_fc1)|merger\.mlp\.0)"
    options = OPTIONS if name == "lora" else {**OPTIONS, "learning_rate": 1e-4, "weight_decay": 0.05}
    if name == "lora":
        base.write_adapter(make(torch.float32), case / "adapter", {"target_modules": targets})
    rows = base.plain_rows()
    frames = [f"frame{i}.png" for i in range(3)]
    rows[1]["query"] = {"text": "What moves?", "videos": [{"frames": frames, "fps": 1}], "images": ["scene1.png"]}

    def run(dtype: torch.dtype) -> dict:
        reference = make(dtype)
        if name == "lora":
            reference.model = PeftModel.from_pretrained(
                reference.model, case / "adapter", is_trainable=True, autocast_adapter_dtype=False
            ).to(dtype)
        return training.train(reference, rows, pictures, options)

    result = run(torch.float32)
    base.check_noise(name, result["losses"], run(torch.float64)["losses"])
    gradients = {training.adapter_name(n): g.contiguous() for n, g in result.pop("gradients").items()}
    save_file(gradients, case / "gradients.safetensors")
    (case / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    checkpoint.write_json(case / "expected.json", {"options": options, **result})
    print(f"{name}: loss {result['losses'][0]:.4f} to {result['losses'][-1]:.4f}, {len(gradients)} gradients")


if __name__ == "__main__":
    main()
