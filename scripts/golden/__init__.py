"""The reference side of the parity tests: Qwen2-VL as transformers and peft compute it."""
