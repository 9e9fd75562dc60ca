"""
Compares sentence-transformers' vectors with ours, item by item: the largest difference of a number, and exit code 1 above 1e-4.

    vlm2vec-native embed --model DIR --input items.jsonl --output vectors.npy
    python scripts/compare-sentence-transformers.py DIR items.jsonl vectors.npy    (sentence-transformers 6.0, transformers 5.18)

Items have "text", "instruction" and "images" (absolute paths).
"""

import json
import sys

from golden import sentences

import numpy as np

directory, items, vectors = sys.argv[1:]
with open(items) as file:
    theirs = sentences.encode(sentences.load(directory), [json.loads(line) for line in file])
differences = np.abs(theirs - np.load(vectors)).max(axis=1)
for row, difference in enumerate(differences):
    print(f"{row}: {difference:.1e}")
print(f"largest difference: {differences.max():.1e}")
sys.exit(int(differences.max() > 1e-4))
