"""
Records what a transformers model makes of an input, for `vlm2vec-native inspect --input items.jsonl --compare states.safetensors`:

    from record_states import record          # this file, beside your script
    record("states.safetensors", model, inputs, prompt, id="1")     # inputs: what the processor gave, for one item

The item of that "id" in items.jsonl is compared. Several calls with one file add to it. Embeddings are the last token's, normalised.
"""

import os

import torch
from safetensors.torch import load_file, save_file


def record(path, model, inputs, prompt, id="0"):
    states, hooks = {}, []
    layers = next(m for name, m in model.named_modules() if name.endswith("layers") and "vis" not in name)

    def keep(n, value):
        states[f"layer.{n}"] = (value[0] if isinstance(value, tuple) else value)[0]

    text = next(m for name, m in model.named_modules() if getattr(m, "layers", None) is layers)
    hooks.append(text.register_forward_pre_hook(
        lambda m, args, kwargs: states.update(positions=p) if (p := kwargs.get("position_ids")) is not None else None, with_kwargs=True))
    hooks.append(layers[0].register_forward_pre_hook(
        lambda m, args, kwargs: keep(0, args[0] if args else kwargs["hidden_states"]), with_kwargs=True))
    hooks += [layer.register_forward_hook(lambda m, args, value, n=n: keep(n, value)) for n, layer in enumerate(layers, 1)]
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True)
    for hook in hooks:
        hook.remove()
    if "positions" in states:
        states["positions"] = states["positions"].reshape(-1, states["positions"].shape[-1])[-3:]
    last = getattr(output, "last_hidden_state", None)
    states["last_hidden"] = (output.hidden_states[-1] if last is None else last)[0]
    states["embedding"] = torch.nn.functional.normalize(states["last_hidden"][-1].float(), dim=-1)
    states["input_ids"] = inputs["input_ids"][0]
    if inputs.get("pixel_values") is not None:
        states["pixel_values"] = inputs["pixel_values"].float()
    states["prompt"] = torch.tensor(list(prompt.encode()), dtype=torch.uint8)
    recorded = load_file(path) if os.path.exists(path) else {}
    save_file({**recorded, **{f"{id}.{name}": value.contiguous().clone() for name, value in states.items()}}, path)
