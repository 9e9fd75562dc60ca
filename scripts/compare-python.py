"""
Compares with transformers, peft and sentence-transformers, both ways, on the tiny checkpoint of every family in test/golden: what
this package writes (adapters, merged models, directories of sentence-transformers) is loaded there, what they write is loaded
here, and the vectors of the same items are compared. Prints the largest difference of a number; exit code 1 above 1e-4, or
where a key is missing or unexpected.

    npm run build && python scripts/compare-python.py [--family qwen3_vl ...] [--check LoRA]

Beside scripts/golden/requirements.txt it needs sentence-transformers 6.0 and, for that, torchvision 0.28. DEBUG=1 prints where an
error came from.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from types import SimpleNamespace

from golden import torchvision_shim  # noqa: F401  (before transformers)
from golden import families, llava, phi3v, recording, reference, sentences, text

import numpy as np
import torch
from peft import PeftModel
from tokenizers import Tokenizer
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText

ROOT = Path(__file__).parent.parent
PICTURES = recording.GOLDEN / "pictures"
NO_CLASS = "transformers has no class for it: remote code of the hub"
BOUND = 1e-4
DEBUG = bool(os.environ.get("DEBUG"))
TEXTS = [
    {"text": "A red circle left of a blue square."},
    {"text": "Ein grünes Dreieck 🙂 über 日本語"},
    {"instruction": "Represent the text:", "text": "What is red?"},
]
PICTURED = [
    {"images": ["scene0.png"]},
    {"instruction": "Represent the picture:", "text": "What is red?", "images": ["scene1.png"]},
    {"text": "Which one is larger?", "images": ["scene0.png", "portrait.png"]},
]
PLAIN = r".*\.(q_proj|k_proj|v_proj|o_proj|qkv|qkv_proj|down_proj|linear_fc1|fc1)"


def qwen(make):
    return lambda directory: make(directory, Tokenizer.from_file(str(directory / "tokenizer.json")))


# of each folder of test/golden: how it is loaded for vectors that pictures by Pillow give
FAMILIES = {
    ".": qwen(reference.Reference),
    "qwen2_5_vl": qwen(families.Qwen25Reference),
    "qwen3_vl": qwen(families.Qwen3Reference),
    "llava_next": llava.LlavaReference,
    "phi3_v": phi3v.Phi3VReference,
    **{family: text.TextReference for family in text.CONFIGS},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", nargs="*", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--check", default="", help="only checks whose name contains this")
    parser.add_argument("--keep", type=Path, help="folder for what is written, which then stays")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = []
    for family in options.family:
        with tempfile.TemporaryDirectory() as temporary:
            folder = (options.keep / family).absolute() if options.keep else Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            for check, run in Comparison(family, folder).checks().items():
                if options.check not in check:
                    continue
                name = "qwen2_vl" if family == "." else family
                table.append((name, check, *attempt(run)))
                print(f"{name:12} {check:52} {table[-1][2]:10} {table[-1][3]}", flush=True)
    sys.exit(any(result == "FAILED" for _, _, result, _ in table))


def attempt(run) -> tuple[str, str]:
    """A number or a word, and a reason."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            worst = run()
    except Refused as reason:
        return "-", str(reason)
    except Exception as error:
        if DEBUG:
            traceback.print_exc()
        return "FAILED", f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    return ("FAILED" if worst > BOUND else "ok"), f"{worst:.1e}"


class Refused(Exception):
    """What one of the libraries has no way to do, in words."""


class Comparison:
    def __init__(self, family: str, folder: Path):
        self.family, self.folder = family, folder
        self.golden = recording.GOLDEN / family
        self.model = self.golden / "model"
        self.load = FAMILIES[family]
        self.items = TEXTS if self.is_text else TEXTS + PICTURED

    @property
    def is_text(self) -> bool:
        return self.family in text.CONFIGS

    def checks(self) -> dict:
        found = {"the base: transformers, ours": self.base}
        for dora in (False, True):
            name = "DoRA" if dora else "LoRA"
            found[f"{name}: peft writes, we load"] = lambda dora=dora: self.peft_writes(dora)
            found[f"{name}: we train, peft loads"] = lambda dora=dora: self.we_train(dora)
            found[f"{name}: we merge, transformers loads"] = lambda dora=dora: self.we_merge(dora)
        found["full: we train, transformers loads"] = self.we_train_whole
        found["transformers saves, we load"] = self.transformers_saves
        found["bare model: transformers saves, we load"] = self.bare_saves
        found["bare model, LoRA: peft writes, we load"] = self.bare_peft_writes
        found["sentence-transformers: we write, it loads"] = self.we_write_sentences
        found["sentence-transformers: the same with chat"] = self.we_write_chat
        found["sentence-transformers: it saves that, we load"] = self.sentences_saves
        found["sentence-transformers: it makes one, we load"] = self.sentences_makes
        return found

    # ---- vectors

    def ours(self, model: Path, *flags: str, items: list[dict] | None = None) -> np.ndarray:
        file, output = self.folder / "items.jsonl", self.folder / "vectors.npy"
        recording.write_lines(file, items or self.items)
        cli("embed", "--model", model, "--input", file, "--image-root", PICTURES, "--output", output, *flags)
        return np.load(output)

    @torch.no_grad()
    def theirs(self, loaded) -> np.ndarray:
        return np.stack([loaded.embed(loaded.prepare(item, PICTURES)).numpy() for item in self.items])

    def off(self, a: np.ndarray, b: np.ndarray) -> float:
        return float(np.abs(a - b).max())

    # ---- transformers and peft

    def base(self) -> float:
        return self.off(self.ours(self.model), self.theirs(self.load(self.model)))

    def adapter(self, dora: bool) -> Path:
        """An adapter that peft writes."""
        directory = self.folder / ("dora" if dora else "lora")
        if not directory.exists():
            recording.write_adapter(self.load(self.model), directory, 4, {"target_modules": PLAIN, "use_dora": dora})
        return directory

    def with_adapter(self, directory: Path):
        loaded = self.load(self.model)
        model = PeftModel.from_pretrained(loaded.model, directory, autocast_adapter_dtype=False)
        result = model.load_adapter(directory, "again", autocast_adapter_dtype=False)
        missing = [key for key in result.missing_keys if ".again" in key]
        if missing or result.unexpected_keys:
            raise ValueError(f"keys: missing {missing[:3]}, unexpected {result.unexpected_keys[:3]}")
        loaded.model = model
        return loaded

    def peft_writes(self, dora: bool) -> float:
        directory = self.adapter(dora)
        moved = self.off(self.ours(self.model), self.ours(self.model, "--adapter", directory))
        if moved < 1e-2:
            raise ValueError(f"the adapter moves vectors by {moved:.1e} only")
        return self.off(self.ours(self.model, "--adapter", directory), self.theirs(self.with_adapter(directory)))

    def train(self, name: str, tune: dict, **model) -> Path:
        run = self.folder / name
        config = {
            "model": {"path": str(self.model), "dtype": "f32", "device": "cpu", **model}, "tune": tune,
            "data": [{"name": "rows", "path": str(self.golden / "training" / "lora" / "rows.jsonl"), "image_root": str(PICTURES)}],
            "train": {"batch_size": 4, "chunk_size": 4, "max_steps": 3, "learning_rate": 1e-2, "warmup_steps": 0},
            "prompt": {"style": "raw", "positions": "mrope"}, "output": {"dir": str(run)},
        }  # fmt: skip
        (self.folder / f"{name}.yaml").write_text(json.dumps(config))
        cli("train", "--config", self.folder / f"{name}.yaml")
        return run / "final"

    def trained(self, dora: bool) -> Path:
        name = f"trained-{'dora' if dora else 'lora'}"
        if (self.folder / name / "final").exists():
            return self.folder / name / "final"
        targets = ["q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "qkv", "down_proj", "fc1", "linear_fc1"]
        return self.train(name, {"mode": "lora", "rank": 4, "alpha": 8, "dora": dora, "target_modules": targets})

    def we_train(self, dora: bool) -> float:
        directory = self.trained(dora)
        return self.off(self.ours(self.model, "--adapter", directory), self.theirs(self.with_adapter(directory)))

    def we_merge(self, dora: bool) -> float:
        merged = self.folder / f"merged-{'dora' if dora else 'lora'}"
        directory = self.trained(dora)
        cli("export", "--model", self.model, "--adapter", directory, "--output", merged, "--dtype", "f32")
        self.check_keys(merged)
        return self.off(self.ours(self.model, "--adapter", directory), self.theirs(self.load(merged)))

    def we_train_whole(self) -> float:
        directory = self.train("whole", {"mode": "full"})
        self.check_keys(directory)
        return self.off(self.ours(directory), self.theirs(self.load(directory)))

    @property
    def auto(self):
        return AutoModelForCausalLM if self.is_text else AutoModelForImageTextToText

    def check_keys(self, directory: Path) -> None:
        if self.family == "phi3_v":  # its reference loads strictly
            return
        _, info = self.auto.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
        wrong = {key: list(info[key])[:3] for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[key]}
        if wrong:
            raise ValueError(f"keys: {wrong}")

    def saved(self, name: str, auto) -> Path:
        if self.family == "phi3_v":
            raise Refused(NO_CLASS)
        directory = self.folder / name
        shutil.copytree(self.model, directory, ignore=shutil.ignore_patterns("*.safetensors"))
        auto.from_pretrained(self.model, dtype=torch.float32).save_pretrained(directory)
        return directory

    def transformers_saves(self) -> float:
        return self.off(self.ours(self.saved("saved", self.auto)), self.ours(self.model))

    def bare_saves(self) -> float:
        return self.off(self.ours(self.saved("bare", AutoModel)), self.ours(self.model))

    def bare_peft_writes(self) -> float:
        """An adapter of the model that AutoModel gives, whose modules have other names."""
        if self.family == "phi3_v":
            raise Refused(NO_CLASS)
        directory = self.folder / "bare-lora"
        bare = torch.nn.Module()
        bare.model = AutoModel.from_pretrained(self.model, dtype=torch.float32, attn_implementation="eager").eval()
        recording.write_adapter(SimpleNamespace(model=bare.model), directory, 4, {"target_modules": PLAIN})
        loaded = self.load(self.model)
        loaded.model = bare
        return self.off(self.ours(self.model, "--adapter", directory), self.theirs(loaded))

    # ---- sentence-transformers

    def we_write_chat(self) -> float:
        """The base with a chat template."""
        model = self.folder / "chat"
        shutil.copytree(self.model, model)
        qwen, image = "qwen" in self.family or self.family == ".", "<image>"
        start, end = ("<|im_start|>", "<|im_end|>") if qwen else ("[", "]")
        if qwen:
            image = "<|vision_start|><|image_pad|><|vision_end|>"
        (model / "chat_template.jinja").write_text(
            ("" if qwen else "{{ bos_token }}") + "{% for message in messages %}" + start + "{{ message['role'] }}\n"
            "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
            "{% if part['type'] == 'image' %}" + image + "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
            + end + "\n{% endfor %}{% if add_generation_prompt %}" + start + "assistant\n{% endif %}"
        )
        return self.we_write_sentences(model, "--prompt", "chat")

    def we_write_sentences(self, model: Path | None = None, *flags: str) -> float:
        directory = self.folder / f"sentences{'-chat' if flags else ''}"
        written = ["--format", "sentence-transformers", "--output", directory, "--dtype", "f32"]
        try:
            cli("export", "--model", model or self.model, *written, *flags)
        except subprocess.CalledProcessError as error:
            raise Refused(error.stderr.strip().splitlines()[-1]) from error
        return self.off(self.ours(directory), sentences.encode(sentences.load(directory), self.items, PICTURES, " "))

    def sentences_saves(self) -> float:
        directory = self.folder / "sentences"
        if not directory.exists():
            raise Refused("there is none")
        return self.saved_sentences(directory, self.items)

    def sentences_makes(self) -> float:
        """Of a directory without files of its own; texts only: what it makes of pictures needs a chat template."""
        if self.family == "phi3_v":
            raise Refused(NO_CLASS)
        return self.saved_sentences(self.model, TEXTS)

    def saved_sentences(self, directory: Path, items: list[dict]) -> float:
        model = sentences.load(directory)
        with tempfile.TemporaryDirectory(dir=self.folder) as saved:
            model.save_pretrained(saved)
            if (Path(saved) / "vlm2vec.json").exists():
                raise ValueError("not what sentence-transformers wrote")
            return self.off(self.ours(Path(saved), items=items), sentences.encode(model, items, PICTURES))


def cli(*argv) -> str:
    arguments = ["node", ROOT / "dist" / "cli.js", *argv, "--quiet", "--threads", "1"]
    return subprocess.run([str(a) for a in arguments], check=True, text=True, capture_output=True).stdout


if __name__ == "__main__":
    main()
