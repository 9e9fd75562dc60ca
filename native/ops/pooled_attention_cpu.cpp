// One row of scores a head: products of vectors, bound by reading keys and values once.
#include "core/parallel.h"
#include "ops/pooled_attention_kernels.h"
#include "ops/vector_math.h"

namespace vlm2vec::VLM2VEC_ISA {

template <typename T>
static inline float dot(const T* a, const T* b, int64_t size) {
  Floats total = {};
  for (int64_t c = 0; c < size; c += kLanes) {
    const int n = lanes(size - c);
    total += load(a + c, n) * load(b + c, n);
  }
  return sum(total);
}

// f(sequence, key-value head, its first row, its number of rows, its scores)
template <typename F>
static void each_pair(const PooledAttention& a, const F& f) {
  parallel_for_dynamic(a.threads, a.B * a.NKV, [&](int64_t pair) {
    const int64_t b = pair / a.NKV, head = pair % a.NKV, first = a.starts[b], length = a.starts[b + 1] - first;
    f(b, head, first, length, a.scratch + pair * a.group * a.longest);
  });
}

template <typename T>
static T* at(const PooledRows& rows, int64_t row, int64_t head, int64_t HS) {
  return static_cast<T*>(rows.data) + row * rows.stride + head * HS;
}

template <typename T>
static void forward_as(const PooledAttention& a) {
  each_pair(a, [&](int64_t b, int64_t head, int64_t first, int64_t length, float* scores) {
    for (int64_t j = 0; j < length; ++j) {
      const T* key = at<T>(a.k, first + j, head, a.HS);
      for (int64_t g = 0; g < a.group; ++g)
        scores[g * length + j] = a.scale * dot(at<T>(a.q, b, head * a.group + g, a.HS), key, a.HS);
    }
    for (int64_t g = 0; g < a.group; ++g) {
      float* const row = scores + g * length;
      Floats highest = splat(-__builtin_inff()), total = {};
      for (int64_t j = 0; j < length; j += kLanes) {
        const int n = lanes(length - j);
        Floats x = splat(row[j]);  // in place of lanes that do not exist
        std::memcpy(&x, row + j, size_t(n) * sizeof(float));
        highest = max(highest, x);
      }
      const float top = largest(highest);
      for (int64_t j = 0; j < length; j += kLanes) {
        const int n = lanes(length - j);
        const Floats p = exp(load(row + j, n) - top);
        store(row + j, p, n);
        total += load(row + j, n);
      }
      const float whole = sum(total), inverse = 1 / whole;
      a.lse[(head * a.group + g) * a.B + b] = top + __builtin_logf(whole);
      T* const out = at<T>(a.out, b, head * a.group + g, a.HS);
      for (int64_t c = 0; c < a.HS; c += kLanes) {
        const int n = lanes(a.HS - c);
        Floats result = {};
        for (int64_t j = 0; j < length; ++j) result += row[j] * load(at<T>(a.v, first + j, head, a.HS) + c, n);
        store(out + c, result * inverse, n);
      }
    }
  });
}

template <typename T>
static void backward_as(const PooledAttention& a) {
  each_pair(a, [&](int64_t b, int64_t head, int64_t first, int64_t length, float* scores) {
    const int64_t query = head * a.group;
    // scores become ds; what dv needs of p is used before
    float delta[64];
    const int64_t kAtOnce = int64_t(sizeof delta / sizeof *delta);
    for (int64_t from = 0; from < a.group; from += kAtOnce) {
      const int64_t count = a.group - from < kAtOnce ? a.group - from : kAtOnce;
      for (int64_t g = 0; g < count; ++g)
        delta[g] = dot(at<T>(a.dout, b, query + from + g, a.HS), at<T>(a.out, b, query + from + g, a.HS), a.HS);
      for (int64_t j = 0; j < length; ++j) {
        const T *key = at<T>(a.k, first + j, head, a.HS), *value = at<T>(a.v, first + j, head, a.HS);
        T *dkey = at<T>(a.dk, first + j, head, a.HS), *dvalue = at<T>(a.dv, first + j, head, a.HS);
        float p[64];
        for (int64_t g = 0; g < count; ++g) {
          const int64_t h = query + from + g;
          const float s = a.scale * dot(at<T>(a.q, b, h, a.HS), key, a.HS) - a.lse[h * a.B + b];
          p[g] = __builtin_expf(s);
          scores[(from + g) * length + j] = p[g] * (dot(at<T>(a.dout, b, h, a.HS), value, a.HS) - delta[g]) * a.scale;
        }
        for (int64_t c = 0; c < a.HS; c += kLanes) {
          const int n = lanes(a.HS - c);
          Floats k_sum = {}, v_sum = {};
          if (from > 0) {
            k_sum = load(dkey + c, n);
            v_sum = load(dvalue + c, n);
          }
          for (int64_t g = 0; g < count; ++g) {
            v_sum += p[g] * load(at<T>(a.dout, b, query + from + g, a.HS) + c, n);
            k_sum += scores[(from + g) * length + j] * load(at<T>(a.q, b, query + from + g, a.HS) + c, n);
          }
          store(dkey + c, k_sum, n);
          store(dvalue + c, v_sum, n);
        }
      }
    }
    for (int64_t g = 0; g < a.group; ++g)
      for (int64_t c = 0; c < a.HS; c += kLanes) {
        const int n = lanes(a.HS - c);
        Floats total = {};
        for (int64_t j = 0; j < length; ++j)
          total += scores[g * length + j] * load(at<T>(a.k, first + j, head, a.HS) + c, n);
        store(at<T>(a.dq, b, query + g, a.HS) + c, total, n);
      }
  });
}

static void forward(const PooledAttention& a) { a.type == DType::F32 ? forward_as<float>(a) : forward_as<bf16>(a); }
static void backward(const PooledAttention& a) { a.type == DType::F32 ? backward_as<float>(a) : backward_as<bf16>(a); }

const PooledAttentionKernels pooled_attention_kernels = {forward, backward};

}  // namespace vlm2vec::VLM2VEC_ISA
