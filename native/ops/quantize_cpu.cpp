#include "core/parallel.h"
#include "ops/quantize_kernels.h"
#include "ops/unpack.h"

namespace vlm2vec::VLM2VEC_ISA {

// f(i, n) for vectors of n numbers; n is known when compiling but for the last.
template <typename F>
VLM2VEC_INLINE void by_vectors(int64_t count, const F& f) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) f(i, kLanes);
  if (i < count) f(i, int(count - i));
}

template <typename Number>
static float largest_of(const Number* from, int64_t count) {
  Floats most = {};
  by_vectors(count, [&](int64_t i, int n) { most = max(most, absolute(load(from + i, n))); });
  return largest(most);
}

template <typename Number>
static void quantize_int8(const QuantizedMatrix& to, const Number* values, int threads) {
  parallel_for(threads, to.n, [&](int64_t row) {
    const Number* from = values + row * to.k;
    int8_t* codes = static_cast<int8_t*>(to.codes) + row * to.k;
    const float most = largest_of(from, to.k), factor = most > 0 ? 127 / most : 0;
    to.scales[row] = most / 127;
    by_vectors(to.k, [&](int64_t i, int n) {
      const Bytes bytes = __builtin_convertvector(rounded_product(load(from + i, n), factor), Bytes);
      __builtin_memcpy(codes + i, &bytes, size_t(n));
    });
  });
}

// The limits between levels; the last is above everything.
struct Nf4Limits {
  float values[16];
  Nf4Limits() {
    for (int i = 0; i < 15; ++i) values[i] = 0.5f * kNf4Levels[i] + 0.5f * kNf4Levels[i + 1];
    values[15] = __builtin_inff();
  }
};

// How many of the limits lie below x: the code.
VLM2VEC_INLINE Ints nf4_codes(Floats x, const Nf4Limits& limits) {
  Ints code = {};
#if defined(__AVX512F__)  // one register holds them all: four halvings
  const Floats all = load(limits.values);
  for (int step = 8; step > 0; step /= 2) code -= step * (Ints)(x > __builtin_shuffle(all, code + (step - 1)));
#else
  for (int i = 0; i < 15; ++i) code -= (Ints)(x > limits.values[i]);
#endif
  return code;
}

// codes[i] = each[2 i], each[2 i + 1]: a full block of them.
VLM2VEC_INLINE void join_nibbles(uint8_t* codes, const uint8_t* each) {
  typedef uint16_t Both __attribute__((vector_size(kNf4Block)));
  typedef uint8_t Joined __attribute__((vector_size(kNf4Block / 2)));
  Both both;
  __builtin_memcpy(&both, each, sizeof both);
  const Joined joined = __builtin_convertvector(both << 4 | both >> 8, Joined);
  __builtin_memcpy(codes, &joined, sizeof joined);
}

template <typename Number>
static void quantize_nf4(const QuantizedMatrix& to, const Number* values, int threads) {
  const int64_t size = to.n * to.k;
  const Nf4Limits limits;
  parallel_blocks(threads, to.scale_count(), 64, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kNf4Block, count = smaller(kNf4Block, size - first);
      const float most = largest_of(values + first, count), factor = most > 0 ? 1 / most : 0;
      to.scales[block] = most;
      uint8_t each[kNf4Block];
      by_vectors(count, [&](int64_t i, int n) {
        const Bytes bytes = __builtin_convertvector(nf4_codes(load(values + first + i, n) * factor, limits), Bytes);
        __builtin_memcpy(each + i, &bytes, sizeof bytes);
      });
      uint8_t* codes = static_cast<uint8_t*>(to.codes) + first / 2;
      if (count == kNf4Block)
        join_nibbles(codes, each);
      else
        for (int64_t i = 0; i < count; i += 2) codes[i / 2] = uint8_t(each[i] << 4 | (i + 1 < count ? each[i + 1] : 0));
    }
  });
}

static void quantize(const QuantizedMatrix& to, const void* values, DType type, int threads) {
  if (type == DType::BF16) {
    const bf16* numbers = static_cast<const bf16*>(values);
    to.kind == Quantization::Int8 ? quantize_int8(to, numbers, threads) : quantize_nf4(to, numbers, threads);
  } else {
    const float* numbers = static_cast<const float*>(values);
    to.kind == Quantization::Int8 ? quantize_int8(to, numbers, threads) : quantize_nf4(to, numbers, threads);
  }
}

static void dequantize(void* to, DType type, const QuantizedMatrix& from, int64_t first_row, int64_t rows,
                       int threads) {
  constexpr int64_t kRun = 256;
  const int64_t k = from.k;
  parallel_for(threads, rows, [&](int64_t i) {
    const int64_t row = first_row + i;
    for (int64_t first = 0; first < k; first += kRun) {
      const int64_t count = smaller(kRun, k - first);
      float numbers[kRun];
      if (from.kind == Quantization::Int8)
        read_int8(numbers, static_cast<const int8_t*>(from.codes) + row * k + first, from.scales[row], count);
      else
        read_nf4(numbers, static_cast<const uint8_t*>(from.codes), from.scales, row * k + first, count);
      if (type == DType::BF16)
        for (int64_t j = 0; j < count; ++j) static_cast<bf16*>(to)[i * k + first + j] = to_bf16(numbers[j]);
      else
        __builtin_memcpy(static_cast<float*>(to) + i * k + first, numbers, size_t(count) * sizeof(float));
    }
  });
}

extern const QuantizeKernels quantize_kernels = {quantize, dequantize};

}  // namespace vlm2vec::VLM2VEC_ISA
