"""What the recordings of all families with small checkpoints share: rows of training, and six steps of it."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file

from . import training
from .checkpoint import write_json

OPTIONS = {
    "batch_size": 4, "max_steps": 6, "learning_rate": 3e-4, "schedule": "linear", "warmup_steps": 2, "weight_decay": 0.0,
    "max_grad_norm": 1.0, "temperature": 0.05, "duplicates": "mask",
}  # fmt: skip
CORPUS = [
    "Represent the given image with the following question: is the red circle left of the blue square?",
    "Find a picture that shows a small green triangle above a large yellow circle.",
    "Represent the given image for classification. The picture shows a circle, a square and a triangle.",
]


class Skip(torch.nn.Module):
    """A layer left out."""

    def forward(self, hidden_states, *_, **__):
        return hidden_states


def write_lines(path: Path, records: list[dict]) -> None:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def training_cases(everywhere: str, vlm2vec: list[str]) -> dict[str, dict]:
    """LoRA on the modules that a pattern finds, DoRA on those that VLM2Vec names, and everything."""
    return {
        "lora": {"options": OPTIONS, "adapter": {"target_modules": everywhere}},
        "dora": {"options": OPTIONS, "adapter": {"target_modules": vlm2vec, "use_dora": True}},
        "full": {"options": {**OPTIONS, "learning_rate": 1e-4, "weight_decay": 0.05}},
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


def record_training(output: Path, pictures: Path, name: str, case: dict, reference_of: Callable) -> None:
    """`reference_of(directory, dtype)` has `model`, `prepare` and `embed`, as golden.reference.Reference."""
    directory = output / "training" / name
    directory.mkdir(parents=True)
    if "adapter" in case:
        write_adapter(reference_of(output / "model", torch.float32), directory / "adapter", case["adapter"])

    def run(dtype: torch.dtype) -> dict:
        reference = reference_of(output / "model", dtype)
        if "adapter" in case:
            reference.model = PeftModel.from_pretrained(
                reference.model, directory / "adapter", is_trainable=True, autocast_adapter_dtype=False
            ).to(dtype)
        return training.train(reference, rows(), pictures, case["options"])

    result = run(torch.float32)
    double = run(torch.float64)["losses"]
    worst = max(abs(a - b) / b for a, b in zip(result["losses"], double))
    print(f"{name}: rounding moves a loss by {worst:.1e} of it")
    if worst > 4e-5:
        raise SystemExit(f"{name}: losses that hang on rounding")
    gradients = {training.adapter_name(n): g.contiguous() for n, g in result.pop("gradients").items()}
    save_file(gradients, directory / "gradients.safetensors")
    write_lines(directory / "rows.jsonl", rows())
    write_json(directory / "expected.json", {"options": case["options"], **result})
    print(f"{name}: loss {result['losses'][0]:.4f} to {result['losses'][-1]:.4f}, {len(gradients)} gradients")


def write_adapter(reference, directory: Path, settings: dict) -> None:
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
