"""The same training in PyTorch and transformers, to compare losses: same first weights, order, flips and crops, prompts and optimizer.

    python scripts/cifar10-pytorch.py RUN [--steps N] [--output pytorch.jsonl] [--threads N]

RUN is a run directory of `vlm2vec-native train` in mode full with one source of rows {query: {instruction, images: [one]}, target: {text}},
such as runs/cifar10/run. Its config.resolved.yaml says what to do. Ends with how far the losses are apart from those in its metrics.jsonl.
"""

import argparse
import json
import math
import os
import time

import torch
import yaml
from PIL import Image
from transformers import AutoModel, AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
SHUFFLE_STREAM = 0x73687566666C6521
AUGMENT_STREAM = 0x61756721 << 32
ROUNDS = 8


# ---- order and augmentation: src/data/random.ts, src/preprocess/augment.ts ------------------------------------------------


def mix64(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def random_bits(seed, stream, counter):
    return mix64((mix64((seed * GOLDEN + stream) & MASK) + counter * GOLDEN) & MASK)


def uniform(seed, stream, counter):
    return (random_bits(seed, stream, counter) >> 40) / 2**24


class Permutation:
    """Of 0 ... length - 1, with random access: a Feistel network, walked until the value is in range."""

    def __init__(self, length, seed, index):
        self.length = length
        self.half = max(1, math.ceil(math.log2(max(2, length)) / 2))
        self.keys = [random_bits(seed, SHUFFLE_STREAM, index * ROUNDS + r) for r in range(ROUNDS)]

    def at(self, position):
        value = position
        while True:
            left, right = divmod(value, 1 << self.half)
            for key in self.keys:
                left, right = right, left ^ (mix64((key + right * GOLDEN) & MASK) % (1 << self.half))
            value = (left << self.half) + right
            if value < self.length:
                return value


def augmented(image, flip, crop, seed, epoch, row):
    if flip == 0 and crop == 1:
        return image
    draw = [uniform(seed, AUGMENT_STREAM | epoch, (row << 32) + i) for i in range(4)]
    side = math.sqrt(crop + (1 - crop) * draw[0])
    width = max(1, math.floor(image.width * side + 0.5))
    height = max(1, math.floor(image.height * side + 0.5))
    left = math.floor(draw[1] * (image.width - width + 1))
    top = math.floor(draw[2] * (image.height - height + 1))
    image = image.crop((left, top, left + width, top + height))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draw[3] < flip else image


# ---- inputs --------------------------------------------------------------------------------------------------------------


class Rows:
    def __init__(self, config):
        (self.source,) = config["data"]
        self.seed = config["train"]["seed"]
        self.shuffle = config["train"]["shuffle"]
        with open(self.source["path"], encoding="utf-8") as file:
            self.rows = [json.loads(line) for line in file]
        if self.source["limit"]:
            self.rows = self.rows[: self.source["limit"]]
        self.root = self.source["image_root"] or os.path.dirname(self.source["path"])

    def at(self, position):
        epoch, row = divmod(position, len(self.rows))
        if self.shuffle:
            row = Permutation(len(self.rows), self.seed, epoch).at(row)
        data = self.rows[row]
        image = Image.open(os.path.join(self.root, data["query"]["images"][0])).convert("RGB")
        image = augmented(image, self.source["flip"], self.source["crop"], self.seed, epoch, row)
        return data["query"].get("instruction", ""), image, data["target"]["text"]


def collate(tokenizer, texts):
    """Right padding: last-token pooling then takes the last real token, and a causal model does not see the padding."""
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    length = max(map(len, ids))
    pad = tokenizer.pad_token_id
    tokens = torch.tensor([each + [pad] * (length - len(each)) for each in ids])
    mask = torch.tensor([[1] * len(each) + [0] * (length - len(each)) for each in ids])
    return tokens, mask


# ---- model ---------------------------------------------------------------------------------------------------------------


def embed(model, tokens, mask, **images):
    hidden = model(input_ids=tokens, attention_mask=mask, **images).last_hidden_state
    last = hidden[torch.arange(len(tokens)), mask.sum(1) - 1]
    return torch.nn.functional.normalize(last, dim=-1)


def loss_of(model, tokenizer, processor, batch, temperature):
    instructions, images, names = zip(*batch)
    inputs = processor(images=list(images), return_tensors="pt")
    counts = (inputs["image_grid_thw"].prod(1) // processor.merge_size**2).tolist()
    tokens, mask = collate(tokenizer, ["<|image_pad|>" * n + " " + text for n, text in zip(counts, instructions)])
    kinds = (tokens == model.config.image_token_id).int()
    queries = embed(model, tokens, mask, mm_token_type_ids=kinds, **inputs)
    distinct = sorted(set(names))
    target_of = torch.tensor([distinct.index(name) for name in names])
    targets = embed(model, *collate(tokenizer, distinct))[target_of]
    scores = queries @ targets.T / temperature
    # Other rows with the same target are no negatives.
    same = (target_of[:, None] == target_of[None, :]) & ~torch.eye(len(names), dtype=torch.bool)
    return torch.nn.functional.cross_entropy(scores.masked_fill(same, -math.inf), torch.arange(len(names)))


def optimizer_of(model, decay):
    decayed = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": decay}, {"params": rest, "weight_decay": 0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)


def learning_rate_at(step, steps, options):
    done, warmup = step - 1, options["warmup_steps"]
    peak, least = options["learning_rate"], options["min_learning_rate"]
    if done < warmup:
        return peak * done / warmup
    progress = (done - warmup) / max(1, steps - warmup)
    factor = {"constant": 1, "linear": max(0, 1 - progress), "cosine": 0.5 * (1 + math.cos(math.pi * progress))}
    return least + (peak - least) * factor[options["schedule"]]


# ---- training ------------------------------------------------------------------------------------------------------------


def train(config, steps, output):
    options = config["train"]
    path = config["model"]["path"]
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModel.from_pretrained(path, dtype=torch.float32, attn_implementation="sdpa")
    model.train()
    processor = Qwen2VLImageProcessorPil.from_pretrained(path)
    optimizer = optimizer_of(model, options["weight_decay"])
    rows = Rows(config)
    size, losses = options["batch_size"], []
    with open(output, "w", encoding="utf-8") as file:
        for step in range(1, steps + 1):
            started = time.time()
            batch = [rows.at(position) for position in range((step - 1) * size, step * size)]
            loss = loss_of(model, tokenizer, processor, batch, options["temperature"])
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), options["max_grad_norm"] or math.inf)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, options["max_steps"], options)
            optimizer.step()
            losses.append(loss.item())
            line = {"step": step, "loss": losses[-1], "grad_norm": norm.item(), "seconds": time.time() - started}
            print(json.dumps(line), file=file, flush=True)
            if step % 50 == 0:
                print(f"step {step}: loss {losses[-1]:.4f}, {line['seconds']:.2f} s", flush=True)
    return losses


def compare(losses, ours):
    count = min(len(losses), len(ours))
    first = min(100, count)
    worst = max(abs(a - b) for a, b in zip(losses[:first], ours[:first]))
    print(f"first {first} losses: largest difference {worst:.2e}")
    mean = lambda values: sum(values) / len(values)
    apart = [
        abs(mean(losses[i : i + 50]) / mean(ours[i : i + 50]) - 1) for i in range(first, count - 49, 50)
    ]
    if apart:
        print(f"means of 50 steps after that: largest relative difference {max(apart):.2%}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--output", default="pytorch.jsonl")
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with open(os.path.join(arguments.run, "config.resolved.yaml"), encoding="utf-8") as file:
        config = yaml.safe_load(file)
    losses = train(config, arguments.steps, arguments.output)
    with open(os.path.join(arguments.run, "metrics.jsonl"), encoding="utf-8") as file:
        compare(losses, [json.loads(line)["loss"] for line in file])


if __name__ == "__main__":
    main()
