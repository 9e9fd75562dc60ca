// The plain formulas of attention.h, for any number type; what the kernels are tested against. All tensors are dense.
#pragma once
#include <cmath>
#include <cstdint>

#include "ops/attention.h"

namespace vlm2vec {

struct AttentionShape {
  const int32_t* starts;  // (sequences + 1)
  int64_t sequences, NH, NKV, HS;
  AttentionSizes sizes;
};

// f(i, j0, j1, h, g): row i of query head h reads rows j0 .. j1 - 1 of key-value head g.
template <typename F>
void each_attention_row(const AttentionShape& shape, const F& f) {
  for (int64_t s = 0; s < shape.sequences; ++s)
    for (int64_t h = 0; h < shape.NH; ++h)
      for (int64_t i = shape.starts[s]; i < shape.starts[s + 1]; ++i)
        f(i, shape.starts[s], shape.sizes.causal ? i + 1 : shape.starts[s + 1], h, h / (shape.NH / shape.NKV));
}

template <typename Number>
Number row_dot(const Number* a, const Number* b, int64_t size) {
  Number sum = 0;
  for (int64_t c = 0; c < size; ++c) sum += a[c] * b[c];
  return sum;
}

// out, q (T, NH, HS), k, v (T, NKV, HS), lse (NH, T)
template <typename Number>
void attention_forward_reference(Number* out, Number* lse, const Number* q, const Number* k, const Number* v,
                                 const AttentionShape& shape) {
  const int64_t HS = shape.HS, T = shape.starts[shape.sequences];
  each_attention_row(shape, [&](int64_t i, int64_t j0, int64_t j1, int64_t h, int64_t g) {
    const auto score = [&](int64_t j) {
      return Number(shape.sizes.scale) * row_dot(q + (i * shape.NH + h) * HS, k + (j * shape.NKV + g) * HS, HS);
    };
    Number highest = score(j0), sum = 0;
    for (int64_t j = j0; j < j1; ++j) highest = std::fmax(highest, score(j));
    for (int64_t j = j0; j < j1; ++j) sum += std::exp(score(j) - highest);
    Number* out_i = out + (i * shape.NH + h) * HS;
    for (int64_t c = 0; c < HS; ++c) out_i[c] = 0;
    for (int64_t j = j0; j < j1; ++j) {
      const Number p = std::exp(score(j) - highest) / sum;
      for (int64_t c = 0; c < HS; ++c) out_i[c] += p * v[(j * shape.NKV + g) * HS + c];
    }
    lse[h * T + i] = highest + std::log(sum);
  });
}

// dq, dk, dv are overwritten.
template <typename Number>
void attention_backward_reference(Number* dq, Number* dk, Number* dv, const Number* dout, const Number* q,
                                  const Number* k, const Number* v, const Number* out, const Number* lse,
                                  const AttentionShape& shape) {
  const int64_t HS = shape.HS, T = shape.starts[shape.sequences];
  const Number scale = Number(shape.sizes.scale);
  for (int64_t i = 0; i < T * shape.NH * HS; ++i) dq[i] = 0;
  for (int64_t i = 0; i < T * shape.NKV * HS; ++i) dk[i] = dv[i] = 0;
  each_attention_row(shape, [&](int64_t i, int64_t j0, int64_t j1, int64_t h, int64_t g) {
    const int64_t ih = (i * shape.NH + h) * HS;
    const Number delta = row_dot(dout + ih, out + ih, HS);
    for (int64_t j = j0; j < j1; ++j) {
      const int64_t jg = (j * shape.NKV + g) * HS;
      const Number p = std::exp(scale * row_dot(q + ih, k + jg, HS) - lse[h * T + i]);
      const Number ds = p * (row_dot(dout + ih, v + jg, HS) - delta);
      for (int64_t c = 0; c < HS; ++c) {
        dv[jg + c] += p * dout[ih + c];
        dk[jg + c] += scale * ds * q[ih + c];
        dq[ih + c] += scale * ds * k[jg + c];
      }
    }
  });
}

}  // namespace vlm2vec
