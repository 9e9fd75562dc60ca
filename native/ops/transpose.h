// Squares of kLanes x kLanes numbers, turned in registers. For use in `*_cpu.cpp` only.
#pragma once
#include <utility>

#include "ops/microkernel.h"

namespace vlm2vec::VLM2VEC_ISA {

// Lanes of the pair (a, b) such that the quarters beside the diagonal change places, blocks of `step` lanes at a time.
template <int step, int... I>
VLM2VEC_INLINE void exchange(Floats& a, Floats& b, std::integer_sequence<int, I...>) {
  const Floats first = __builtin_shuffle(a, b, Ints{(I & step ? kLanes + I - step : I)...});
  b = __builtin_shuffle(a, b, Ints{(I & step ? kLanes + I : I + step)...});
  a = first;
}

template <int step>
VLM2VEC_INLINE void transpose_steps(Floats (&rows)[kLanes]) {
  if constexpr (step > 0) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i)
      if (!(i & step)) exchange<step>(rows[i], rows[i + step], std::make_integer_sequence<int, kLanes>());
    transpose_steps<step / 2>(rows);
  }
}

// rows[i][j] becomes rows[j][i].
VLM2VEC_INLINE void transpose(Floats (&rows)[kLanes]) { transpose_steps<kLanes / 2>(rows); }

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
