// Matrices turned in registers, kLanes x kLanes numbers at a time. For use in `*_cpu.cpp` only.
#pragma once
#include "ops/microkernel.h"

namespace vlm2vec::VLM2VEC_ISA {

// to[k * width + i] = row(i)[k] for k in [0, depth), i in [0, width): `load_row(i, k, n)` gives n numbers of row i from
// k on. width is a multiple of kLanes; To is f32 or bf16.
template <int64_t width, typename To, typename F>
static inline void write_transposed(To* to, int64_t depth, const F& load_row) {
  for (int64_t k = 0; k < depth; k += kLanes) {
    const int n = lanes(depth - k);
    for (int64_t i = 0; i < width; i += kLanes) {
      Floats rows[kLanes];
#pragma GCC unroll 16
      for (int j = 0; j < kLanes; ++j) rows[j] = load_row(i + j, k, n);
      transpose(rows);
      if (n == kLanes) {
#pragma GCC unroll 16
        for (int j = 0; j < kLanes; ++j) store(to + (k + j) * width + i, rows[j], kLanes);
      } else {
        for (int j = 0; j < n; ++j) store(to + (k + j) * width + i, rows[j], kLanes);
      }
    }
  }
}

}  // namespace vlm2vec::VLM2VEC_ISA
