"""PyTorch's candidate: transformers' Qwen2VLModel (and peft's LoRA in a GradCache step) on the same weights and inputs.

Variants: `sorted`: batches of items of like length, so that less is padded; `compiled`: torch.compile.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import Qwen2VLForConditionalGeneration

BATCH_TOKENS = 4096


def read_items(folder: Path) -> list[dict]:
    data = (folder / "items.bin").read_bytes()

    def array(place, dtype):
        offset, length = place
        return torch.from_numpy(np.frombuffer(data, dtype, length, offset).copy())

    return [
        {
            "tokens": array(item["tokens"], np.int32).long(),
            "positions": array(item["positions"], np.int32).long().reshape(3, -1),
            "grids": [visual["grid"] for visual in item["visuals"]],
            "patches": [array(v["patches"], np.float32).reshape(int(np.prod(v["grid"])), -1) for v in item["visuals"]],
        }
        for item in json.loads((folder / "items.json").read_text())
    ]


def padded(items: list[dict], dtype: torch.dtype) -> tuple[dict, torch.Tensor]:
    """A batch padded on the right, and the place of each last token."""
    longest = max(len(item["tokens"]) for item in items)
    ids = torch.zeros(len(items), longest, dtype=torch.long)
    mask = torch.zeros(len(items), longest, dtype=torch.long)
    positions = torch.zeros(3, len(items), longest, dtype=torch.long)
    for row, item in enumerate(items):
        length = len(item["tokens"])
        ids[row, :length] = item["tokens"]
        mask[row, :length] = 1
        positions[:, row, :length] = item["positions"]
    batch = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    patches = [each for item in items for each in item["patches"]]
    if patches:
        batch["pixel_values"] = torch.cat(patches).to(dtype)
        batch["image_grid_thw"] = torch.tensor([grid for item in items for grid in item["grids"]])
    return batch, torch.tensor([len(item["tokens"]) - 1 for item in items])


def embed(model, items: list[dict], dtype: torch.dtype) -> torch.Tensor:
    batch, last = padded(items, dtype)
    hidden = model(**batch, use_cache=False).last_hidden_state
    return torch.nn.functional.normalize(hidden[torch.arange(len(items)), last].float(), dim=-1)


def batches_of(items: list[dict], variant: str) -> list[list[int]]:
    order = list(range(len(items)))
    if "sorted" in variant:
        order.sort(key=lambda i: len(items[i]["tokens"]))
    batches, longest = [[]], 0
    for i in order:
        longest = max(longest, len(items[i]["tokens"]))
        if batches[-1] and longest * (len(batches[-1]) + 1) > BATCH_TOKENS:
            batches.append([])
            longest = len(items[i]["tokens"])
        batches[-1].append(i)
    return batches


def embed_job(settings: dict, model, dtype: torch.dtype):
    items = read_items(Path(settings["folder"]))
    batches = batches_of(items, settings["variant"])
    if "compiled" in settings["variant"]:
        model = torch.compile(model, dynamic=True)

    @torch.inference_mode()
    def run() -> np.ndarray:
        rows = torch.empty(len(items), model.config.text_config.hidden_size)
        for batch in batches:
            rows[batch] = embed(model, [items[i] for i in batch], dtype)
        return rows.numpy()

    return run


def train_job(settings: dict, model, dtype: torch.dtype):
    from peft import LoraConfig, get_peft_model

    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    rank = int(settings["rank"])
    model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names))
    items = read_items(Path(settings["folder"]))
    ordered = items[0::2] + items[1::2]
    count, size = len(items) // 2, int(settings["chunk"])
    chunks = [ordered[i : i + size] for i in range(0, len(ordered), size)]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, weight_decay=0)

    def run() -> np.ndarray:
        with torch.no_grad():
            rows = torch.cat([embed(model, chunk, dtype) for chunk in chunks])
        rows.requires_grad_(True)
        scores = rows[:count] @ rows[count:].T / 0.02
        loss = torch.nn.functional.cross_entropy(scores, torch.arange(count))
        loss.backward()
        at = 0
        for chunk in chunks:
            embed(model, chunk, dtype).backward(rows.grad[at : at + len(chunk)])
            at += len(chunk)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return np.array([loss.item()], np.float32)

    return run


def main() -> None:
    run = None
    for line in sys.stdin:
        settings = json.loads(line)
        if run is None:
            torch.set_num_threads(int(settings["threads"]))
            dtype = torch.bfloat16 if settings["dtype"] == "bf16" else torch.float32
            path = Path(settings["folder"]) / "model"
            whole = Qwen2VLForConditionalGeneration.from_pretrained(path, dtype=dtype, attn_implementation="sdpa")
            model = whole.model.eval()
            run = (embed_job if settings["job"] == "embed" else train_job)(settings, model, dtype)
            run().astype(np.float32).tofile(settings["outputFile"])
            versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
            print(json.dumps({"ready": True, "versions": versions}), flush=True)
            continue
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak_mib": peak}), flush=True)


main()
