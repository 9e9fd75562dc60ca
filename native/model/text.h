// Text decoders: which blocks they are made of, and how tokens turn by position.
#pragma once
#include "model/block.h"

namespace vlm2vec {

// Layer `index` of a decoder whose parameters begin with `prefix`.
BlockSpec text_block(const TextConfig& config, const std::string& prefix, int64_t index);

// cos and sin (T, HS/2) for positions (3, T) of the sequences `starts` (B + 1).
void text_rope(const TextConfig& config, Tensor cos, Tensor sin, Tensor positions, Tensor starts, Arena& scratch);

PassBytes text_bytes(const TextConfig& config, DType compute, int64_t tokens);

}  // namespace vlm2vec
