"""Files as torch.save writes them, for test/unit/data/torch-file.test.ts: python scripts/record-torch-files.py (torch 2.13)."""

import os
from collections import OrderedDict
from pathlib import Path

import torch

folder = Path(__file__).parent.parent / "test/unit/data/torch"
folder.mkdir(exist_ok=True)

base = torch.arange(12, dtype=torch.float32).reshape(3, 4) / 4
plain = OrderedDict(
    f32=base.clone(),
    f16=base.half(),
    bf16=base.bfloat16(),
    i64=torch.arange(3),
    scalar=torch.tensor(2.5),
    empty=torch.zeros(0, 4),
    transposed=base.t(),
    part=base[1:, 1:3],
    parameter=torch.nn.Parameter(base.clone()),
)
plain["shared"] = plain["f32"]
plain._metadata = {"": {"version": 1}}
torch.save(plain, folder / "plain.bin")
torch.save(plain, folder / "protocol-4.bin", pickle_protocol=4)
torch.save({"f32": base}, folder / "before-1.6.bin", _use_new_zipfile_serialization=False)
torch.save({"model": {"f32": base}, "step": 3}, folder / "nested.bin")


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/vlm2vec-pickle-ran",)


torch.save({"f32": base, "evil": Evil()}, folder / "evil.bin")
