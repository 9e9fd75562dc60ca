"""
Records test/golden: a tiny random Qwen2-VL, what transformers and peft make of it, and what they would make of it with an
error in positions, in the order of patches, or with a layer left out.

    pip install -r scripts/golden/requirements.txt && python scripts/golden.py [--output test/golden]
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from golden import checkpoint, items, recording
from golden.pictures import write_pictures
from golden.qwen import ITEMS, input_record, plain_rows
from golden.reference import Input, Reference, shuffled

BOUND = 2e-5  # of an embedding's numbers, in the parity tests
SIZES = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "vocab_size": 400, "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
    "vision_config": {"depth": 2, "embed_dim": 32, "mlp_ratio": 4, "num_heads": 2, "in_chans": 3, "hidden_size": 64,
                      "patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14, "temporal_patch_size": 2},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent.parent / "test" / "golden")
    output = parser.parse_args().output
    torch.set_num_threads(1)  # fixed order of sums
    for part in ("model", "pictures", "training"):
        shutil.rmtree(output / part, ignore_errors=True)
    write_pictures(output / "pictures")
    tokenizer = write_model(output / "model")
    record_embeddings(output, tokenizer)

    def reference_of(directory: Path, dtype: torch.dtype) -> Reference:
        return Reference(directory, tokenizer, dtype=dtype)

    for name, case in training_cases().items():
        recording.record_training(output, output / "pictures", name, case, reference_of, noise=2e-5, final=True)


def write_model(directory: Path) -> Tokenizer:
    tokenizer = checkpoint.train_tokenizer(items.CORPUS, SIZES["vocab_size"])
    ids = {token: tokenizer.token_to_id(token) for token in checkpoint.SPECIAL_TOKENS}
    config = checkpoint.hub_config(SIZES, ids)
    weights = checkpoint.random_weights(config, seed=1, scale=8)
    preprocessor = checkpoint.preprocessor_config(min_pixels=3136, max_pixels=28 * 28 * 20)
    checkpoint.write_checkpoint(directory, config, weights, tokenizer, preprocessor)
    return tokenizer


@torch.no_grad()
def record_embeddings(output: Path, tokenizer: Tokenizer) -> None:
    reference = Reference(output / "model", tokenizer)
    inputs = [reference.prepare(item, output / "pictures") for item in ITEMS]
    tensors = {rule: torch.stack([reference.embed(given, rule) for given in inputs]) for rule in ("mrope", "sequential")}
    tensors["shuffled"] = torch.stack([reference.embed(shuffled(given)) for given in inputs])
    tensors |= layer_states(reference, inputs[[item["id"] for item in ITEMS].index("wrapped")])
    backbone = reference.backbone
    for name, error in recording.without_layers(text=backbone.language_model.layers, vision=backbone.visual.blocks).items():
        with error:
            tensors[name] = torch.stack([reference.embed(given) for given in inputs])
    check_sensitivity(tensors, inputs)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, output / "embeddings.safetensors")
    recording.write_lines(output / "items.jsonl", ITEMS)
    records = [input_record(reference, item["id"], given) for item, given in zip(ITEMS, inputs)]
    recording.write_lines(output / "inputs.jsonl", records, ascii=True)


def layer_states(reference: Reference, given: Input) -> dict[str, torch.Tensor]:
    """Last hidden states (T, C) of the models that have only the first 1, 2, ... of the text layers."""
    layers = reference.backbone.language_model.layers
    states = {}
    for kept in range(1, len(layers) + 1):
        reference.backbone.language_model.layers = layers[:kept]
        states[f"hidden_{kept}"] = reference.hidden(given)
    reference.backbone.language_model.layers = layers
    return states


def check_sensitivity(tensors: dict[str, torch.Tensor], inputs: list[Input]) -> None:
    """Every error must move every embedding that it touches far beyond the bound."""
    right = tensors["mrope"]
    for index, given in enumerate(inputs):
        touched = {"without_text_layer": True, "without_vision_layer": bool(given.grids)}
        touched["sequential"] = any(np.prod(grid) > 4 for _, grid in given.grids)  # one token has one position
        touched["shuffled"] = any((p != p[0]).any() for p in given.pixels)  # equal patches have no order
        for error, expected in touched.items():
            moved = (tensors[error][index] - right[index]).abs().max().item()
            if expected and moved < 50 * BOUND:
                raise SystemExit(f"{ITEMS[index]['id']}: {error} moves the embedding by {moved:.1e} only")
    distances = (right @ right.T).fill_diagonal_(-1).max().item()
    print(f"embeddings: {len(inputs)} items, nearest two have cosine {distances:.4f}")


def training_cases() -> dict[str, dict]:
    text = r".*language_model\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    everywhere = rf"{text}|.*visual\.blocks\..*\.(qkv|proj|fc1|fc2)|.*visual\.merger\.mlp\.(0|2)"
    base = {"batch_size": 4, "max_steps": 10, "learning_rate": 3e-4, "schedule": "linear", "warmup_steps": 2,
            "weight_decay": 0.0, "max_grad_norm": 1.0, "temperature": 0.02, "duplicates": "mask"}  # fmt: skip
    cases = {
        "lora": {"options": base, "adapter": {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}},
        "dora": {
            "options": {**base, "schedule": "cosine", "positions": "sequential", "temperature": 0.05},
            "adapter": {"target_modules": everywhere, "use_dora": True, "rank_pattern": {"down_proj": 2},
                        "alpha_pattern": {"qkv": 4}},
        },
        "negatives": {
            "options": {**base, "schedule": "constant", "warmup_steps": 0, "max_grad_norm": 0.0, "temperature": 0.1},
            "adapter": {"target_modules": everywhere, "use_rslora": True},
            "rows": negative_rows,
        },
        "full": {"options": {**base, "learning_rate": 1e-4, "weight_decay": 0.05, "temperature": 0.05}},
    }  # fmt: skip
    return {name: {"rows": plain_rows, "rank": 4, **case} for name, case in cases.items()}


def negative_rows() -> list[dict]:
    """Rows with none, one or several hard negatives and positives, some of them equal to another row's positive."""
    rows = plain_rows()
    rows[0]["negatives"] = [{"text": "A blue square."}, {"text": "x", "images": ["scene3.png"]}]
    first = rows[1].pop("target")
    rows[1]["positives"] = [first, {"text": "Another name."}, {"images": ["scene1.png"]}]
    rows[2]["negatives"] = [rows[3]["target"], {"text": "A green cross."}]
    rows[5] = {"query": rows[5]["query"], "positives": [{"text": "Yes."}, {"text": "No."}]}
    rows[5]["negatives"] = [{"text": "Another name."}]
    rows[6]["negatives"] = [rows[4]["target"], {"text": "Yes."}]
    return rows


if __name__ == "__main__":
    main()
