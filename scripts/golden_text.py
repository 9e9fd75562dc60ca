"""
Records test/golden/qwen2, qwen3, mistral and phi3: tiny random text decoders, what transformers and peft make of texts with
them, and what they would make of them with an error.

    pip install -r scripts/golden/requirements.txt && python scripts/golden_text.py [--family qwen3] [--output test/golden]
"""

import argparse
from pathlib import Path

from golden import recording, text
from golden.items import CORPUS, SHAPES, TEXTS, numbered_rows
from golden.text import TextReference

import torch

ITEMS = [
    *TEXTS,
    {"id": "instruction", "instruction": "Represent the given image for classification:", "text": "What is red?"},
    {"id": "word", "text": "circle"},
    {"id": "placeholder", "text": "<|image_1|> <|image_pad|> are no pictures here."},
    {"id": "long", "text": "A small green triangle above a large yellow circle. " * 3},
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=recording.GOLDEN)
    parser.add_argument("--family", choices=list(text.CONFIGS))
    options = parser.parse_args()
    for family in [options.family] if options.family else text.CONFIGS:
        recording_of(family).record(options.output / family, options.output / "pictures")


def recording_of(family: str) -> recording.Recording:
    everywhere = r".*\.layers\..*_proj"
    vlm2vec = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj", "q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"]
    cases = recording.training_cases(everywhere, vlm2vec, rows)
    return recording.Recording(
        family, 5e-5, write_model(family), TextReference, errors, touched(family), lambda given: {}, cases, items=ITEMS
    )


def write_model(family: str):
    def write(directory: Path) -> None:
        tokenizer = text.tokenizer_of(family, CORPUS)
        longest = max(len(tokenizer.encode(" ".join(i[k] for k in ("instruction", "text") if k in i)).ids) for i in ITEMS)
        # a window that the longest item just fits into
        text.write_checkpoint(directory, family, CORPUS, window=longest if family == "mistral" else None)

    return write


def errors(reference: TextReference) -> dict:
    backbone = reference.backbone
    first = backbone.layers[0].self_attn
    found = recording.without_layers(text=backbone.layers)
    found["without_turning"] = recording.replaced(backbone.rotary_emb, "forward", unturned(backbone.rotary_emb))
    match reference.model.config.model_type:
        case "qwen2":
            found["without_bias"] = recording.replaced(first.k_proj, "bias", None)
            backbone.config.is_causal = True
            found["bidirectional"] = recording.replaced(backbone.config, "is_causal", False)
        case "qwen3":
            found["without_head_norms"] = recording.replaced(first, "q_norm", torch.nn.Identity())
        case "mistral":
            found["narrow_window"] = recording.replaced(backbone.config, "sliding_window", 8)
        case "phi3":
            rope = backbone.config.rope_parameters
            found["short_factors"] = recording.swapped(rope, "long_factor", rope["short_factor"])
    return found


def unturned(rotary):
    """As if every token stood at position 0."""
    forward = rotary.forward
    return lambda x, position_ids: forward(x, torch.zeros_like(position_ids))


def touched(family: str):
    def of(given: text.Input) -> dict[str, bool]:
        length = len(given.ids)
        own = {
            "qwen2": {"without_bias": length > 1, "bidirectional": length > 1},
            "qwen3": {"without_head_norms": length > 1},
            "mistral": {"narrow_window": length > 8},
            "phi3": {"short_factors": length > text.CONFIGS["phi3"]["original_max_position_embeddings"]},
        }
        return {"without_text_layer": True, "without_turning": length > 1, **own[family]}

    return of


def rows() -> list[dict]:
    query = lambda i: {"instruction": "Represent the given image.", "text": f"Number {i}: {SHAPES[(i * 3) % 5]}"}
    result = numbered_rows(8, query)
    result[4] = {"query": {"text": "Find a green triangle."}, "target": {"text": "It is green."}, "negatives": [{"text": "Red."}]}
    return result


if __name__ == "__main__":
    main()
