"""
Records test/golden/llava_next: a tiny random LLaVA-NeXT, what transformers and peft make of it, and what they would make of it
with an error.

    pip install -r scripts/golden/requirements.txt && python scripts/golden_llava.py [--output test/golden/llava_next]
"""

import argparse
import json
import shutil
from pathlib import Path

from golden import llava, training
from golden.checkpoint import write_json
from golden.llava import LlavaReference

import torch
from peft import LoraConfig, PeftModel, get_peft_model
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
    parser.add_argument("--output", type=Path, default=here / "llava_next")
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
        stack[0] = Skip()
        tensors[f"without_{kind}_layer"] = torch.stack([reference.embed(given) for given in inputs])
        stack[0] = left_out
    check_sensitivity(tensors, inputs)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, output / "embeddings.safetensors")
    (output / "items.jsonl").write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in ITEMS))
    (output / "inputs.jsonl").write_text("".join(json.dumps(input_record(item["id"], given)) + "\n" for item, given in zip(ITEMS, inputs)))


class Skip(torch.nn.Module):
    """A layer left out."""

    def forward(self, hidden_states, *_, **__):
        return hidden_states


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
    base = {"batch_size": 4, "max_steps": 6, "learning_rate": 3e-4, "schedule": "linear", "warmup_steps": 2,
            "weight_decay": 0.0, "max_grad_norm": 1.0, "temperature": 0.05, "duplicates": "mask"}  # fmt: skip
    vlm2vec = ["q_proj", "k_proj", "v_proj", "o_proj", "out_proj", "gate_proj", "up_proj", "down_proj"]
    everywhere = r".*language_model\.layers\..*_proj|.*vision_tower\..*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)|.*projector\.linear_[12]"
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
        write_adapter(LlavaReference(output / "model"), directory / "adapter", case["adapter"])

    def run(dtype: torch.dtype) -> tuple[LlavaReference, dict]:
        reference = LlavaReference(output / "model", dtype)
        if "adapter" in case:
            reference.model = PeftModel.from_pretrained(
                reference.model, directory / "adapter", is_trainable=True, autocast_adapter_dtype=False
            ).to(dtype)
        return reference, training.train(reference, rows(), pictures, case["options"])

    reference, result = run(torch.float32)
    double = run(torch.float64)[1]["losses"]
    worst = max(abs(a - b) / b for a, b in zip(result["losses"], double))
    print(f"{name}: rounding moves a loss by {worst:.1e} of it")
    if worst > 4e-5:
        raise SystemExit(f"{name}: losses that hang on rounding")
    gradients = {training.adapter_name(n): g.contiguous() for n, g in result.pop("gradients").items()}
    save_file(gradients, directory / "gradients.safetensors")
    (directory / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    write_json(directory / "expected.json", {"options": case["options"], **result})
    print(f"{name}: loss {result['losses'][0]:.4f} to {result['losses'][-1]:.4f}, {len(gradients)} gradients")


def write_adapter(reference: LlavaReference, directory: Path, settings: dict) -> None:
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
