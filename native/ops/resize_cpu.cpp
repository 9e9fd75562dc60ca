// Both passes are sums of weighted lines of bytes. The horizontal one gets its lines by transposing 16 rows, so that a
// line holds one pixel of each.
#include "ops/resize_kernels.h"
#include "ops/vector_math.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace vlm2vec::VLM2VEC_ISA {

typedef uint8_t Bytes16 __attribute__((vector_size(16)));

static inline uint8_t clip(int32_t x) { return x < 0 ? 0 : x > 255 ? 255 : uint8_t(x); }

// The compiler takes these conversions apart into scalars, so they are spelled out.
#if defined(__AVX512F__)
// masked forms: g++ 12 takes the undefined operand of the plain ones for an uninitialised variable
static inline Ints widen(const uint8_t* from) {
  return (Ints)_mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

static inline void store_clipped(uint8_t* to, Ints x) {
  const Ints positive = x > 0 ? x : Ints{};
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_maskz_cvtusepi32_epi8(0xffff, (__m512i)positive));
}
#elif defined(__AVX2__)
static inline Ints widen(const uint8_t* from) {
  return (Ints)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
}

static inline void store_clipped(uint8_t* to, Ints x) {
  const __m256i y = (__m256i)x;
  const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(halves, halves));
}
#else
static inline Ints widen(const uint8_t* from) { return Ints{from[0], from[1], from[2], from[3]}; }

static inline void store_clipped(uint8_t* to, Ints x) {
  for (int i = 0; i < kLanes; ++i) to[i] = clip(x[i]);
}
#endif

// to[i] = sum over k of weights[k] * from[k * stride + i], rounded.
static inline void combine(uint8_t* to, const uint8_t* from, int64_t stride, const int32_t* weights, int count,
                           int64_t length) {
  constexpr int32_t kHalf = 1 << (kResizeBits - 1);
  int64_t i = 0;
  for (; i + kLanes <= length; i += kLanes) {
    Ints sum = Ints{} + kHalf;
    for (int k = 0; k < count; ++k) sum += widen(from + k * stride + i) * weights[k];
    store_clipped(to + i, sum >> kResizeBits);
  }
  for (; i < length; ++i) {
    int32_t sum = kHalf;
    for (int k = 0; k < count; ++k) sum += from[k * stride + i] * weights[k];
    to[i] = clip(sum >> kResizeBits);
  }
}

static void lines(uint8_t* to, const uint8_t* from, const ResizeAxis& axis, int64_t length) {
  for (int i = 0; i < axis.size; ++i)
    combine(to + i * length, from + axis.first[i] * length, length, axis.weights + int64_t(i) * axis.taps,
            axis.count[i], length);
}

// to[column][row] = from[row][column] of 16 x 16 bytes: four rounds of interleaving row i with row i + 8.
static inline void transpose_tile(uint8_t* to, int64_t to_stride, const uint8_t* from, int64_t from_stride) {
  const Bytes16 low = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23};
  const Bytes16 high = {8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  Bytes16 a[16], b[16];
  for (int i = 0; i < 16; ++i) std::memcpy(&a[i], from + i * from_stride, 16);
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 8; ++i) {
      b[2 * i] = __builtin_shuffle(a[i], a[i + 8], low);
      b[2 * i + 1] = __builtin_shuffle(a[i], a[i + 8], high);
    }
    for (int i = 0; i < 8; ++i) {
      a[2 * i] = __builtin_shuffle(b[i], b[i + 8], low);
      a[2 * i + 1] = __builtin_shuffle(b[i], b[i + 8], high);
    }
  }
  for (int i = 0; i < 16; ++i) std::memcpy(to + i * to_stride, &a[i], 16);
}

// to (columns, rows) = from (rows, columns), both dense in their last dimension.
static void transpose(uint8_t* to, int64_t to_stride, const uint8_t* from, int64_t from_stride, int64_t rows,
                      int64_t columns) {
  const int64_t whole_rows = rows / 16 * 16, whole_columns = columns / 16 * 16;
  for (int64_t r = 0; r < whole_rows; r += 16)
    for (int64_t c = 0; c < whole_columns; c += 16)
      transpose_tile(to + c * to_stride + r, to_stride, from + r * from_stride + c, from_stride);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c)
      to[c * to_stride + r] = from[r * from_stride + c];
}

static void columns(uint8_t* to, const uint8_t* from, const ResizeAxis& axis, int64_t width, int64_t height,
                    uint8_t* scratch) {
  constexpr int64_t kLine = 3 * kResizeBlock;  // one pixel of each row
  uint8_t *const pixels = scratch, *const results = scratch + width * kLine;
  const int64_t from_stride = width * 3, to_stride = int64_t(axis.size) * 3;
  for (int64_t y = 0; y < height; y += kResizeBlock) {
    const int64_t rows = height - y < kResizeBlock ? height - y : kResizeBlock;
    transpose(pixels, kResizeBlock, from + y * from_stride, from_stride, rows, from_stride);
    for (int i = 0; i < axis.size; ++i)
      combine(results + i * kLine, pixels + axis.first[i] * kLine, kLine, axis.weights + int64_t(i) * axis.taps,
              axis.count[i], kLine);
    transpose(to + y * to_stride, to_stride, results, kResizeBlock, to_stride, rows);
  }
}

const ResizeKernels resize_kernels = {lines, columns};

}  // namespace vlm2vec::VLM2VEC_ISA
