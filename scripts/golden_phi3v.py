"""
Records test/golden/phi3_v: a tiny random Phi-3.5-V, what its parts in transformers and peft make of it, and what they would make
of it with an error.

    pip install -r scripts/golden/requirements.txt && python scripts/golden_phi3v.py [--output test/golden/phi3_v]
"""

import argparse
import shutil
from pathlib import Path

from golden import llava, phi3v, recording
from golden.phi3v import Phi3V, Phi3VReference

import torch
from safetensors.torch import save_file

BOUND = 7e-5  # of an embedding's numbers, in the parity tests
CLIP = {
    "hidden_size": 32, "image_size": 28, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 3, "patch_size": 7,
}  # fmt: skip
CONFIG = {
    "architectures": ["Phi3VForCausalLM"], "model_type": "phi3_v", "torch_dtype": "bfloat16", "tie_word_embeddings": False,
    "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
    "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "max_position_embeddings": 4096, "original_max_position_embeddings": 24,
    "sliding_window": 262144, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    "rope_scaling": {
        "type": "su", "short_factor": [1.08, 1.1, 1.13, 1.28, 1.31, 1.45], "long_factor": [1.1, 1.34, 2.62, 7.4, 17.67, 30.84],
    },
    "embd_layer": {
        "embedding_cls": "image", "hd_transform_order": "sub_glb", "projection_cls": "mlp", "use_hd_transform": True,
        "with_learnable_separator": True,
    },
    "img_processor": {
        "image_dim_out": CLIP["hidden_size"], "model_name": "openai/clip-vit-large-patch14-336", "name": "clip_vision_model",
        "num_img_tokens": 4, "num_attention_heads": CLIP["num_attention_heads"],
    },
}  # fmt: skip
ITEMS = [
    {"id": "text", "text": "A red circle left of a blue square."},
    {"id": "unicode", "text": "Ein grünes Dreieck 🙂 über 日本語\r\n\n  cafe\u0301 don't 12345\t"},
    {"id": "image", "images": ["scene0.png"]},
    {"id": "both", "instruction": "Represent the given image with the following question:", "text": "What is red?",
     "images": ["scene1.png"]},
    {"id": "several", "text": "Which one is larger?", "images": ["scene0.png", "portrait.png", "scene3.png"]},
    {"id": "middle", "text": "The picture <|image_1|> shows a circle.", "images": ["scene2.png"]},
    {"id": "portrait", "text": "A tall picture.", "images": ["portrait.png"]},
    {"id": "dot", "text": "One pixel.", "images": ["dot.png"]},
    {"id": "large", "text": "A large picture.", "images": ["large.png"]},
    {"id": "gray", "text": "Gray.", "images": ["gray.png"]},
    {"id": "rgba", "text": "Transparent.", "images": ["rgba.png"]},
]  # fmt: skip


def main() -> None:
    here = Path(__file__).parent.parent / "test" / "golden"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=here / "phi3_v")
    parser.add_argument("--pictures", type=Path, default=here / "pictures")
    options = parser.parse_args()
    torch.set_num_threads(1)  # fixed order of sums
    shutil.rmtree(options.output, ignore_errors=True)
    write_model(options.output / "model")
    record_embeddings(options.output, options.pictures)
    for name, case in training_cases().items():
        recording.record_training(options.output, options.pictures, name, case, Phi3VReference)


def write_model(directory: Path) -> None:
    tokenizer = llava.train_tokenizer(recording.CORPUS, 330)
    config = {**CONFIG, "vocab_size": tokenizer.get_vocab_size() + 2}
    weights = llava.scaled_weights(Phi3V({**config, "clip": CLIP}), seed=1, scale=8)
    phi3v.write_checkpoint(directory, config, weights, tokenizer, crops=4)


@torch.no_grad()
def record_embeddings(output: Path, pictures: Path) -> None:
    reference = Phi3VReference(output / "model")
    inputs = [reference.prepare(item, pictures) for item in ITEMS]
    embed_all = lambda: torch.stack([reference.embed(given) for given in inputs])
    tensors = {"embeddings": embed_all()}
    tensors["turned"] = torch.stack([reference.embed(phi3v.turned(given)) for given in inputs])
    clip = reference.backbone.vision_embed_tokens.img_processor.vision_model
    for stack, kind in ((reference.backbone.layers, "text"), (clip.encoder.layers, "vision")):
        left_out = stack[0]
        stack[0] = recording.Skip()
        tensors[f"without_{kind}_layer"] = embed_all()
        stack[0] = left_out
    rope = reference.backbone.config.rope_parameters
    long = rope["long_factor"]
    rope["long_factor"] = rope["short_factor"]
    tensors["short_factors"] = embed_all()
    rope["long_factor"] = long
    check_sensitivity(tensors, inputs)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, output / "embeddings.safetensors")
    recording.write_lines(output / "items.jsonl", ITEMS)
    recording.write_lines(output / "inputs.jsonl", [input_record(item["id"], given) for item, given in zip(ITEMS, inputs)])


def check_sensitivity(tensors: dict[str, torch.Tensor], inputs: list[phi3v.Input]) -> None:
    """Every error must move every embedding that it touches far beyond the bound."""
    right = tensors["embeddings"]
    for index, given in enumerate(inputs):
        pictured = len(given.pictures) > 0
        plain = pictured and all((p[0] == p[0][0, :, :1, :1]).all() for p in given.pictures)  # all tiles are alike
        long = len(given.ids) > CONFIG["original_max_position_embeddings"]
        touched = {"without_text_layer": True, "without_vision_layer": pictured, "turned": pictured and not plain, "short_factors": long}
        for error, expected in touched.items():
            moved = (tensors[error][index] - right[index]).abs().max().item()
            if (moved >= 50 * BOUND) != expected:
                raise SystemExit(f"{ITEMS[index]['id']}: {error} moves the embedding by {moved:.1e}")
    print(f"embeddings: {len(inputs)} items, nearest two have cosine {(right @ right.T).fill_diagonal_(-1).max():.4f}")


def input_record(item_id: str, given: phi3v.Input) -> dict:
    return {
        "id": item_id,
        "prompt": given.prompt,
        "input_ids": given.ids.tolist(),
        "image_sizes": [[CLIP["image_size"] * tiles for tiles in shape] for _, shape in given.pictures],
        "tiles": [len(tiles) for tiles, _ in given.pictures],
    }


def training_cases() -> dict[str, dict]:
    vlm2vec = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj", "k_proj", "q_proj", "out_proj", "v_proj"]
    everywhere = r".*\.layers\..*(_proj|fc1|fc2)|.*img_projection\.[02]"
    return recording.training_cases(everywhere, vlm2vec)


if __name__ == "__main__":
    main()
