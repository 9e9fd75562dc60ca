// Frozen matrices in few bits: made once, when a model is loaded; products read the codes panel by panel
// (ops/matmul.h).
//   int8  code (N, K) signed, a scale a row:  scale_n = max_k |W_nk| / 127,  code = round(W / scale), halves away from
//         zero,  W ~ scale code
//   nf4   code of 4 bits, a scale for every 64 consecutive numbers of the flattened matrix:  scale = max |W|,
//         code = the nearest of 16 levels (quantiles of the normal distribution) to W / scale,  W ~ scale level(code)
// NF4 is that of Dettmers et al. 2023 as bitsandbytes stores it: two codes a byte, the first in the upper half, blocks
// running on over the ends of rows, scales in f32 (not quantized a second time).
#pragma once
#include <cstddef>

#include "core/tensor.h"

namespace vlm2vec {

enum class Quantization { None, Int8, Nf4 };
const char* name_of(Quantization kind);
// E_OPTION for anything but none, int8 and nf4.
Quantization parse_quantization(const std::string& name);

constexpr int64_t kNf4Block = 64;
extern const float kNf4Levels[16];

// A quantized matrix (N, K) in host memory that it does not own.
struct QuantizedMatrix {
  Quantization kind = Quantization::None;
  int64_t n = 0, k = 0;
  void* codes = nullptr;
  float* scales = nullptr;

  size_t code_bytes() const { return size_t(kind == Quantization::Nf4 ? (n * k + 1) / 2 : n * k); }
  int64_t scale_count() const { return kind == Quantization::Nf4 ? (n * k + kNf4Block - 1) / kNf4Block : n; }
};

// values (N, K) f32 or bf16, dense, at any address.
void quantize(const QuantizedMatrix& to, Tensor values);
// to (rows, K) f32 or bf16, dense: rows [first_row, first_row + rows) of the matrix.
void dequantize(Tensor to, const QuantizedMatrix& from, int64_t first_row);

}  // namespace vlm2vec
