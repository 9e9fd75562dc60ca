"""
Records test/golden/llava_next: a tiny random LLaVA-NeXT, what transformers and peft make of it, and what they would make of it
with an error.

    pip install -r scripts/golden/requirements.txt && python scripts/golden_llava.py [--output test/golden/llava_next]
"""

import argparse
import shutil
from pathlib import Path

from golden import llava, recording
from golden.llava import LlavaReference

import torch
from safetensors.torch import save_file

BOUND = 5e-5  # of an embedding's numbers, in the parity tests
PINPOINTS = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]
CONFIG = {
    "architectures": ["LlavaNextForConditionalGeneration"],
    "model_type": "llava_next",
    "image_grid_pinpoints": PINPOINTS,
    "projector_hidden_act": "gelu",
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "use_image_newline_parameter": True,
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
    "text_config": {
        "model_type": "mistral", "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12, "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "sliding_window": None,
    },
    "vision_config": {
        "model_type": "clip_vision_model", "hidden_size": 32, "image_size": 28, "intermediate_size": 64,
        "num_attention_heads": 2, "num_hidden_layers": 3, "patch_size": 7, "projection_dim": 16, "vocab_size": 32000,
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
    parser.add_argument("--output", type=Path, default=here / "llava_next")
    parser.add_argument("--pictures", type=Path, default=here / "pictures")
    options = parser.parse_args()
    torch.set_num_threads(1)  # fixed order of sums
    shutil.rmtree(options.output, ignore_errors=True)
    write_model(options.output / "model")
    record_embeddings(options.output, options.pictures)
    for name, case in training_cases().items():
        recording.record_training(options.output, options.pictures, name, case, LlavaReference)


def write_model(directory: Path) -> None:
    tokenizer = llava.train_tokenizer(recording.CORPUS, 330)
    size = tokenizer.get_vocab_size()
    config = {**CONFIG, "image_token_index": tokenizer.token_to_id(llava.IMAGE)}
    config["text_config"] = {**CONFIG["text_config"], "vocab_size": size + 2}
    llava.write_checkpoint(directory, config, llava.random_weights(config, seed=1, scale=8), tokenizer)


@torch.no_grad()
def record_embeddings(output: Path, pictures: Path) -> None:
    reference = LlavaReference(output / "model")
    inputs = [reference.prepare(item, pictures) for item in ITEMS]
    tensors = {"embeddings": torch.stack([reference.embed(given) for given in inputs])}
    tensors["turned"] = torch.stack([reference.embed(llava.turned(given)) for given in inputs])
    for stack, kind in ((reference.backbone.language_model.layers, "text"), (reference.backbone.vision_tower.encoder.layers, "vision")):
        left_out = stack[0]
        stack[0] = recording.Skip()
        tensors[f"without_{kind}_layer"] = torch.stack([reference.embed(given) for given in inputs])
        stack[0] = left_out
    check_sensitivity(tensors, inputs)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, output / "embeddings.safetensors")
    recording.write_lines(output / "items.jsonl", ITEMS)
    recording.write_lines(output / "inputs.jsonl", [input_record(item["id"], given) for item, given in zip(ITEMS, inputs)])


def check_sensitivity(tensors: dict[str, torch.Tensor], inputs: list[llava.Input]) -> None:
    """Every error must move every embedding that it touches far beyond the bound."""
    right = tensors["embeddings"]
    for index, given in enumerate(inputs):
        pictured = given.pixels is not None
        plain = pictured and all((p == p[0, :, :1, :1]).all() for p in given.pixels)  # one colour: all tiles are alike
        touched = {"without_text_layer": True, "without_vision_layer": pictured, "turned": pictured and not plain}
        for error, expected in touched.items():
            moved = (tensors[error][index] - right[index]).abs().max().item()
            if expected and moved < 50 * BOUND:
                raise SystemExit(f"{ITEMS[index]['id']}: {error} moves the embedding by {moved:.1e} only")
    print(f"embeddings: {len(inputs)} items, nearest two have cosine {(right @ right.T).fill_diagonal_(-1).max():.4f}")


def input_record(item_id: str, given: llava.Input) -> dict:
    pixels = [] if given.pixels is None else list(given.pixels)
    return {
        "id": item_id,
        "prompt": given.prompt,
        "input_ids": given.ids.tolist(),
        "image_sizes": [] if given.sizes is None else given.sizes.tolist(),
        # of each picture's overview, (3, side, side)
        "overview": [p[0].flatten()[:: p[0].numel() // 12].tolist() for p in pixels],
    }


def training_cases() -> dict[str, dict]:
    vlm2vec = ["q_proj", "k_proj", "v_proj", "o_proj", "out_proj", "gate_proj", "up_proj", "down_proj"]
    everywhere = r".*language_model\.layers\..*_proj|.*vision_tower\..*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)|.*projector\.linear_[12]"
    return recording.training_cases(everywhere, vlm2vec)


if __name__ == "__main__":
    main()
