"""Contrastive training as interfaces.md defines it, written plainly: the whole batch in one graph, items one at a time."""

import hashlib
import json
import math
from pathlib import Path

import torch
from transformers import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from .reference import Input, Reference

SCHEDULES = {
    "linear": get_linear_schedule_with_warmup,
    "cosine": get_cosine_schedule_with_warmup,
    "constant": lambda optimizer, warmup, steps: get_constant_schedule_with_warmup(optimizer, warmup),
}


def positives_of(row: dict) -> list[dict]:
    return row["positives"] if "positives" in row else [row["target"]]


def content_key(item: dict, given: Input, root: Path) -> str:
    """Equal for items of the same prompt and the same picture bytes."""
    paths = [*item.get("images", []), *(path for video in item.get("videos", []) for path in video["frames"])]
    return json.dumps([given.prompt, *(hashlib.sha256((root / path).read_bytes()).hexdigest() for path in paths)])


def contrastive_loss(
    queries: torch.Tensor, candidates: torch.Tensor, positives: list[list[int]], left_out: list[set[int]], temperature: float
) -> torch.Tensor:
    """
    Mean over queries of the cross-entropy of each query against all candidates; of several positives the mean, the
    others left out of each denominator.

    queries (B, D) and candidates (N, D) unit rows; `positives` and `left_out`: candidates of each query.
    """
    scores = queries @ candidates.T / temperature
    losses = []
    for row, own, hidden in zip(scores, positives, left_out):
        terms = []
        for positive in own:
            excluded = (hidden | set(own)) - {positive}
            kept = torch.tensor([j not in excluded for j in range(len(row))])
            terms.append(torch.logsumexp(row[kept], 0) - row[positive])
        losses.append(torch.stack(terms).mean())
    return torch.stack(losses).mean()


def batch_loss(reference: Reference, rows: list[dict], root: Path, options: dict) -> torch.Tensor:
    rule = options.get("positions", "mrope")
    queries, candidates, keys, positives = [], [], [], []
    for row in rows:
        queries.append(reference.embed(prepared(reference, row["query"], root), rule))
        own = []
        for index, item in enumerate([*positives_of(row), *row.get("negatives", [])]):
            given = prepared(reference, item, root)
            if index < len(positives_of(row)):
                own.append(len(candidates))
            candidates.append(reference.embed(given, rule))
            keys.append(content_key(item, given, root))
        positives.append(own)
    left_out = [set() for _ in rows]
    if options.get("duplicates", "mask") == "mask":
        left_out = [{j for j, key in enumerate(keys) if key in {keys[p] for p in own}} for own in positives]
    return contrastive_loss(
        torch.stack(queries), torch.stack(candidates), positives, left_out, options["temperature"]
    )


def prepared(reference: Reference, item: dict, root: Path) -> Input:
    """Decoding and tokenizing an item gives the same at every step."""
    cache = reference.__dict__.setdefault("prepared_items", {})
    key = json.dumps(item)
    if key not in cache:
        cache[key] = reference.prepare(item, root)
    return cache[key]


def train(reference: Reference, rows: list[dict], root: Path, options: dict) -> dict:
    """Losses, gradient norms and learning rates of each step, and the gradients of the first one by parameter name."""
    named = {name: p for name, p in reference.model.named_parameters() if p.requires_grad and "lm_head" not in name}
    decayed = [p for p in named.values() if p.dim() > 1]
    others = [p for p in named.values() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": options["weight_decay"]}, {"params": others, "weight_decay": 0.0}],
        lr=options["learning_rate"], betas=(0.9, 0.999), eps=1e-8,
    )  # fmt: skip
    schedule = SCHEDULES[options["schedule"]](optimizer, options["warmup_steps"], options["max_steps"])
    result = {"losses": [], "grad_norms": [], "learning_rates": [], "gradients": {}}
    size = options["batch_size"]
    for step in range(options["max_steps"]):
        batch = [rows[(step * size + i) % len(rows)] for i in range(size)]
        loss = batch_loss(reference, batch, root, options)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            result["gradients"] = {
                name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in named.items()
            }
        norm = torch.nn.utils.clip_grad_norm_(list(named.values()), options["max_grad_norm"] or math.inf)
        result["losses"].append(loss.item())
        result["grad_norms"].append(norm.item())
        result["learning_rates"].append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return result


def adapter_name(name: str) -> str:
    """The name that a tensor has in adapter_model.safetensors."""
    return name.replace(".lora_magnitude_vector.default.weight", ".lora_magnitude_vector").replace(".default.", ".")
