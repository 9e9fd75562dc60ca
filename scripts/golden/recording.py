"""What the recordings of all families share: items, errors that must show in them, rows of training, and some steps of it."""

import argparse
import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file

from . import training
from .checkpoint import write_json
from .items import IMAGE, MIDDLE, PICTURES, TEXTS, numbered_rows, pictured_query

GOLDEN = Path(__file__).parent.parent.parent / "test" / "golden"
OPTIONS = {
    "batch_size": 4, "max_steps": 6, "learning_rate": 3e-4, "schedule": "linear", "warmup_steps": 2, "weight_decay": 0.0,
    "max_grad_norm": 1.0, "temperature": 0.05, "duplicates": "mask",
}  # fmt: skip
ITEMS = [
    *TEXTS, IMAGE,
    {"id": "both", "instruction": "Represent the given image with the following question:", "text": "What is red?",
     "images": ["scene1.png"]},
    {"id": "several", "text": "Which one is larger?", "images": ["scene0.png", "portrait.png", "scene3.png"]},
    MIDDLE, *PICTURES,
]  # fmt: skip


# ---- errors ----------------------------------------------------------------------------------------------------------


class Skip(torch.nn.Module):
    """A layer left out."""

    def forward(self, hidden_states, *_, **__):
        return hidden_states


@contextlib.contextmanager
def swapped(container, key, value):
    """An entry of a list or mapping is another one for a while."""
    before = container[key]
    container[key] = value
    yield
    container[key] = before


@contextlib.contextmanager
def replaced(target, name: str, value):
    """An attribute is another one for a while."""
    before = getattr(target, name)
    setattr(target, name, value)
    yield
    setattr(target, name, before)


def without_layers(**stacks) -> dict:
    """The first layer of each stack left out."""
    return {f"without_{kind}_layer": swapped(stack, 0, Skip()) for kind, stack in stacks.items()}


# ---- embeddings ------------------------------------------------------------------------------------------------------


def write_lines(path: Path, records: list[dict], ascii: bool = False) -> None:
    path.write_text("".join(json.dumps(record, ensure_ascii=ascii) + "\n" for record in records))


@dataclass
class Recording:
    """A family with small files: its model, what it makes of items, and what it would make of them with an error."""

    name: str  # of its folder in test/golden
    bound: float  # of an embedding's numbers, in the parity tests
    write_model: Callable[[Path], None]
    reference_of: Callable  # (directory, dtype): has `model`, `prepare` and `embed`, as golden.reference.Reference
    errors: Callable  # (reference): names of errors and contexts in which the reference makes them
    touched: Callable  # (input): of each error, whether it changes an input's embedding
    input_record: Callable  # (input): what inputs.jsonl holds of it besides prompt and ids
    cases: dict[str, dict]  # of training
    items: list[dict] = None
    turned: Callable | None = None  # (input): the input with an error that is none of the model's

    def main(self, description: str) -> None:
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--output", type=Path, default=GOLDEN / self.name)
        parser.add_argument("--pictures", type=Path, default=GOLDEN / "pictures")
        options = parser.parse_args()
        self.record(options.output, options.pictures)

    def record(self, output: Path, pictures: Path) -> None:
        torch.set_num_threads(1)  # fixed order of sums
        shutil.rmtree(output, ignore_errors=True)
        self.write_model(output / "model")
        self.record_embeddings(output, pictures)
        for name, case in self.cases.items():
            record_training(output, pictures, name, case, self.reference_of)

    @torch.no_grad()
    def record_embeddings(self, output: Path, pictures: Path) -> None:
        items = self.items or ITEMS
        reference = self.reference_of(output / "model")
        inputs = [reference.prepare(item, pictures) for item in items]
        embed_all = lambda given: torch.stack([reference.embed(each) for each in given])
        tensors = {"embeddings": embed_all(inputs)}
        if self.turned:
            tensors["turned"] = embed_all([self.turned(given) for given in inputs])
        for name, error in self.errors(reference).items():
            with error:
                tensors[name] = embed_all(inputs)
        self.check_sensitivity(tensors, items, inputs)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, output / "embeddings.safetensors")
        write_lines(output / "items.jsonl", items)
        ids = [{"id": item["id"], "prompt": given.prompt, "input_ids": given.ids.tolist()} for item, given in zip(items, inputs)]
        write_lines(output / "inputs.jsonl", [{**own, **self.input_record(given)} for own, given in zip(ids, inputs)])

    def check_sensitivity(self, tensors: dict[str, torch.Tensor], items: list[dict], inputs: list) -> None:
        """An error must move every embedding that it touches far beyond the bound, and no other."""
        right = tensors["embeddings"]
        for index, given in enumerate(inputs):
            for error, expected in self.touched(given).items():
                moved = (tensors[error][index] - right[index]).abs().max().item()
                if (moved >= 50 * self.bound) != expected:
                    raise SystemExit(f"{items[index]['id']}: {error} moves the embedding by {moved:.1e}")
        print(f"embeddings: {len(inputs)} items, nearest two have cosine {(right @ right.T).fill_diagonal_(-1).max():.4f}")


# ---- training --------------------------------------------------------------------------------------------------------


def training_cases(everywhere: str, vlm2vec: list[str], rows: Callable[[], list[dict]] | None = None) -> dict[str, dict]:
    """LoRA on the modules that a pattern finds, DoRA on those that VLM2Vec names, and everything."""
    shared = {"options": OPTIONS, "rows": rows or picture_rows, "rank": 2}
    return {
        "lora": {**shared, "adapter": {"target_modules": everywhere}},
        "dora": {**shared, "adapter": {"target_modules": vlm2vec, "use_dora": True}},
        "full": {**shared, "options": {**OPTIONS, "learning_rate": 1e-4, "weight_decay": 0.05}},
    }


def picture_rows() -> list[dict]:
    result = numbered_rows(8, pictured_query)
    result[4] = {"query": {"text": "Find a green triangle."}, "target": {"images": ["portrait.png"]}}
    result[5] = {"query": {"text": "Compare:", "images": ["scene0.png", "frame2.png"]}, "target": {"images": ["gray.png"]}}
    return result


def record_training(
    output: Path, pictures: Path, name: str, case: dict, reference_of: Callable, noise: float = 4e-5, final: bool = False
) -> None:
    """`case`: options, rows, and of an adapter its rank and what else PEFT is told. `final`: whether to keep what it becomes."""
    directory = output / "training" / name
    directory.mkdir(parents=True)
    if "adapter" in case:
        write_adapter(reference_of(output / "model", torch.float32), directory / "adapter", case["rank"], case["adapter"])
    rows = case["rows"]()

    def run(dtype: torch.dtype) -> tuple:
        reference = reference_of(output / "model", dtype)
        if "adapter" in case:
            reference.model = PeftModel.from_pretrained(
                reference.model, directory / "adapter", is_trainable=True, autocast_adapter_dtype=False
            ).to(dtype)
        return reference, training.train(reference, rows, pictures, case["options"])

    reference, result = run(torch.float32)
    double = run(torch.float64)[1]["losses"]
    worst = max(abs(a - b) / b for a, b in zip(result["losses"], double))
    print(f"{name}: rounding moves a loss by {worst:.1e} of it")
    if worst > noise:  # a run that the reference itself cannot repeat to a fraction of the bound is of no use
        raise SystemExit(f"{name}: losses that hang on rounding")
    gradients = {training.adapter_name(n): g.contiguous() for n, g in result.pop("gradients").items()}
    save_file(gradients, directory / "gradients.safetensors")
    if final and "adapter" in case:
        trained = reference.model.named_parameters()
        tensors = {training.adapter_name(n): p.detach().contiguous() for n, p in trained if p.requires_grad}
        save_file(tensors, directory / "final.safetensors")
    write_lines(directory / "rows.jsonl", rows)
    write_json(directory / "expected.json", {"options": case["options"], **result})
    print(f"{name}: loss {result['losses'][0]:.4f} to {result['losses'][-1]:.4f}, {len(gradients)} gradients")


def write_adapter(reference, directory: Path, rank: int, settings: dict) -> None:
    """An adapter as peft writes it, with B of other than zero, so that A has a gradient at the first step."""
    model = get_peft_model(reference.model, LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, **settings))
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
