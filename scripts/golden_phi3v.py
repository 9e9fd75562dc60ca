"""
Records test/golden/phi3_v: a tiny random Phi-3.5-V, what its parts in transformers and peft make of it, and what they would make
of it with an error.

    pip install -r scripts/golden/requirements.txt && python scripts/golden_phi3v.py [--output test/golden/phi3_v]
"""

import argparse
import json
import shutil
from pathlib import Path

from golden import llava, phi3v, training
from golden.checkpoint import write_json
from golden.phi3v import Phi3V, Phi3VReference

import torch
from peft import LoraConfig, PeftModel, get_peft_model
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
CORPUS = [
    "Represent the given image with the following question: is the red circle left of the blue square?",
    "Find a picture that shows a small green triangle above a large yellow circle.",
    "Represent the given image for classification. The picture shows a circle, a square and a triangle.",
]
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
        record_training(options.output, options.pictures, name, case)


def write_model(directory: Path) -> None:
    tokenizer = llava.train_tokenizer(CORPUS, 330)
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
        stack[0] = Skip()
        tensors[f"without_{kind}_layer"] = embed_all()
        stack[0] = left_out
    rope = reference.backbone.config.rope_parameters
    long = rope["long_factor"]
    rope["long_factor"] = rope["short_factor"]
    tensors["short_factors"] = embed_all()
    rope["long_factor"] = long
    check_sensitivity(tensors, inputs)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, output / "embeddings.safetensors")
    write_lines(output / "items.jsonl", ITEMS)
    write_lines(output / "inputs.jsonl", [input_record(item["id"], given) for item, given in zip(ITEMS, inputs)])


def write_lines(path: Path, records: list[dict]) -> None:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


class Skip(torch.nn.Module):
    """A layer left out."""

    def forward(self, hidden_states, *_, **__):
        return hidden_states


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
    base = {"batch_size": 4, "max_steps": 6, "learning_rate": 3e-4, "schedule": "linear", "warmup_steps": 2,
            "weight_decay": 0.0, "max_grad_norm": 1.0, "temperature": 0.05, "duplicates": "mask"}  # fmt: skip
    vlm2vec = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj", "k_proj", "q_proj", "out_proj", "v_proj"]
    everywhere = r".*\.layers\..*(_proj|fc1|fc2)|.*img_projection\.[02]"
    return {
        "lora": {"options": base, "adapter": {"target_modules": everywhere}},
        "dora": {"options": base, "adapter": {"target_modules": vlm2vec, "use_dora": True}},
        "full": {"options": {**base, "learning_rate": 1e-4, "weight_decay": 0.05}},
    }


def rows() -> list[dict]:
    shape = ["circle", "square", "triangle", "circle", "cross"]
    result = []
    for i in range(8):
        query = {"instruction": "Represent the given image.", "text": f"Number {i}:", "images": [f"scene{i % 4}.png" if i % 2 else f"frame{i}.png"]}
        result.append({"query": query, "target": {"text": f"A {shape[max(i - 1, 0) // 2]} shape."}})
    result[4] = {"query": {"text": "Find a green triangle."}, "target": {"images": ["portrait.png"]}}
    result[5] = {"query": {"text": "Compare:", "images": ["scene0.png", "frame2.png"]}, "target": {"images": ["gray.png"]}}
    return result


def record_training(output: Path, pictures: Path, name: str, case: dict) -> None:
    directory = output / "training" / name
    directory.mkdir(parents=True)
    if "adapter" in case:
        write_adapter(Phi3VReference(output / "model"), directory / "adapter", case["adapter"])

    def run(dtype: torch.dtype) -> tuple[Phi3VReference, dict]:
        reference = Phi3VReference(output / "model", dtype)
        if "adapter" in case:
            reference.model = PeftModel.from_pretrained(
                reference.model, directory / "adapter", is_trainable=True, autocast_adapter_dtype=False
            ).to(dtype)
        return reference, training.train(reference, rows(), pictures, case["options"])

    result = run(torch.float32)[1]
    double = run(torch.float64)[1]["losses"]
    worst = max(abs(a - b) / b for a, b in zip(result["losses"], double))
    print(f"{name}: rounding moves a loss by {worst:.1e} of it")
    if worst > 4e-5:
        raise SystemExit(f"{name}: losses that hang on rounding")
    gradients = {training.adapter_name(n): g.contiguous() for n, g in result.pop("gradients").items()}
    save_file(gradients, directory / "gradients.safetensors")
    write_lines(directory / "rows.jsonl", rows())
    write_json(directory / "expected.json", {"options": case["options"], **result})
    print(f"{name}: loss {result['losses'][0]:.4f} to {result['losses'][-1]:.4f}, {len(gradients)} gradients")


def write_adapter(reference: Phi3VReference, directory: Path, settings: dict) -> None:
    """An adapter as peft writes it, with B of other than zero, so that A has a gradient at the first step."""
    model = get_peft_model(reference.model, LoraConfig(r=2, lora_alpha=4, lora_dropout=0.0, **settings))
    generator = torch.Generator().manual_seed(3)
    for parameter_name, parameter in sorted(model.named_parameters()):
        if "lora_" in parameter_name and "magnitude" not in parameter_name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
        elif "magnitude" in parameter_name:
            parameter.data *= 1 + 0.1 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(directory)
    (directory / "README.md").unlink(missing_ok=True)
    config = json.loads((directory / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = None
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    write_json(directory / "adapter_config.json", config)


if __name__ == "__main__":
    main()
