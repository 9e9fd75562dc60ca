#include <omp.h>

#include "core/parallel.h"
#include "ops/matmul_int8_kernels.h"
#include "ops/transpose.h"
#include "ops/unpack.h"

namespace vlm2vec::VLM2VEC_ISA {

// A tile of the output: rows of x by columns of a panel. Four neighbours in depth lie together: in a panel
// [depth / 4][kPanel][4] codes + 128, unsigned, in a tile of x [depth / 4][kTileRows][4] codes.
constexpr int64_t kTileRows = 12, kPanel = 32, kBlockRows = 240;

static int64_t quads(int64_t k) { return (k + 3) / 4; }
static int64_t runs(int64_t k) { return (k + kInt8Run - 1) / kInt8Run; }

static size_t packed_bytes(int64_t n, int64_t k) { return size_t(round_up(n, kPanel) * quads(k) * 4); }

// Four codes are one word of a row: a panel is its rows turned. Rows beyond the last are codes of 0.
static void pack_panel(uint8_t* panel, const int8_t* codes, int64_t rows, int64_t k) {
  constexpr uint32_t kZeros = 0x80808080u;
  const int64_t whole = k / 4;
  write_transposed<kPanel>(reinterpret_cast<float*>(panel), whole, [=](int64_t row, int64_t quad, int n) {
    const Words words =
        row < rows ? (Words)load(reinterpret_cast<const float*>(codes + row * k + 4 * quad), n) : Words{};
    return (Floats)(words ^ kZeros);
  });
  for (int64_t j = 0; 4 * whole < k && j < kPanel; ++j) {
    uint32_t word = 0;
    if (j < rows) __builtin_memcpy(&word, codes + j * k + 4 * whole, size_t(k - 4 * whole));
    word ^= kZeros;
    __builtin_memcpy(panel + (whole * kPanel + j) * 4, &word, 4);
  }
}

static void pack(void* packed, const QuantizedMatrix& matrix, int threads) {
  const int64_t k = matrix.k, n = matrix.n;
  parallel_for(threads, round_up(n, kPanel) / kPanel, [=](int64_t p) {
    pack_panel(static_cast<uint8_t*>(packed) + p * kPanel * quads(k) * 4,
               static_cast<const int8_t*>(matrix.codes) + p * kPanel * k, smaller(kPanel, n - p * kPanel), k);
  });
}

// What a block of rows of x becomes.
struct Rows {
  int8_t* codes;         // tiles
  float* scales;         // (runs, kBlockRows)
  int32_t* corrections;  // the same: -128 times the sum of the codes, since the panel's are 128 too large
};

static Rows rows_of(const Int8Product& product) {
  Rows rows;
  rows.scales = static_cast<float*>(product.scratch) + product.threads * kBlockRows * kPanel;
  rows.corrections = reinterpret_cast<int32_t*>(rows.scales + runs(product.k) * kBlockRows);
  rows.codes = reinterpret_cast<int8_t*>(rows.corrections + runs(product.k) * kBlockRows);
  return rows;
}

static size_t scratch_bytes(const Int8Product& product) {
  return size_t(product.threads * kBlockRows * kPanel + 2 * runs(product.k) * kBlockRows) * sizeof(float) +
         size_t(kBlockRows * quads(product.k) * 4);
}

// One run of a row: `count` codes, and zeros up to a whole vector.
template <typename Number>
static void quantize_run(const Number* x, int64_t count, int8_t* codes, float& scale, int32_t& correction) {
  Floats most = {};
  for (int64_t at = 0; at < count; at += kLanes) most = max(most, absolute(load(x + at, lanes(count - at))));
  const float top = largest(most), factor = top > 0 ? 127 / top : 0;
  Ints sums = {};
  for (int64_t at = 0; at < count; at += kLanes) {
    const Ints rounded = rounded_product(load(x + at, lanes(count - at)), factor);
    const Bytes bytes = __builtin_convertvector(rounded, Bytes);
    __builtin_memcpy(codes + at, &bytes, sizeof bytes);
    sums += rounded;
  }
  int32_t sum = 0;
  for (int lane = 0; lane < kLanes; ++lane) sum += sums[lane];
  scale = top / 127;
  correction = -128 * sum;
}

// The codes of a tile's rows, four at a time as one word, in the order in which multiply_tile reads them.
static void turn_run(const int8_t (*codes)[kInt8Run], int64_t words, float* tile) {
  for (int64_t q = 0; q < words; q += kLanes)
    for (int64_t i = 0; i < kTileRows; i += kLanes) {
      Floats rows[kLanes];
      for (int j = 0; j < kLanes; ++j) rows[j] = load(reinterpret_cast<const float*>(codes[i + j] + 4 * q));
      transpose(rows);
      for (int j = 0; j < smaller(kLanes, words - q); ++j)
        store(tile + (q + j) * kTileRows + i, rows[j], lanes(kTileRows - i));
    }
}

template <typename Number>
static void quantize_rows(const Int8Product& product, int64_t row, int64_t count) {
  const Rows rows = rows_of(product);
  const int64_t k = product.k;
  const Number* x = static_cast<const Number*>(product.x) + row * k;
  parallel_for(product.threads, round_up(count, kTileRows) / kTileRows, [=](int64_t t) {
    float* tile = reinterpret_cast<float*>(rows.codes) + t * kTileRows * quads(k);
    const int64_t first = t * kTileRows, here = smaller(kTileRows, count - first);
    alignas(64) int8_t codes[(kTileRows + kLanes - 1) / kLanes * kLanes][kInt8Run] = {};
    for (int64_t run = 0; run < runs(k); ++run) {
      const int64_t start = run * kInt8Run, width = smaller(kInt8Run, k - start);
      float* scales = rows.scales + run * kBlockRows + first;
      int32_t* corrections = rows.corrections + run * kBlockRows + first;
      for (int64_t i = 0; i < kTileRows; ++i) {
        scales[i] = float(corrections[i] = 0);
        if (i < here) quantize_run(x + (first + i) * k + start, width, codes[i], scales[i], corrections[i]);
      }
      turn_run(codes, quads(width), tile + start / 4 * kTileRows);
    }
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// c (kTileRows, kPanel) = or += scale_i (x . panel) over one run

struct Tile {
  float* c;
  const int8_t* a;
  const uint8_t* b;
  int64_t quads;
  const float* scales;
  const int32_t* corrections;
  bool add;
};

static void multiply_plain(const Tile& tile) {
  for (int64_t i = 0; i < kTileRows; ++i) {
    int32_t sums[kPanel];
    for (int64_t j = 0; j < kPanel; ++j) sums[j] = tile.corrections[i];
    for (int64_t q = 0; q < tile.quads; ++q) {
      const int8_t* a = tile.a + (q * kTileRows + i) * 4;
      const uint8_t* b = tile.b + q * kPanel * 4;
      for (int64_t j = 0; j < kPanel; ++j)
        sums[j] += a[0] * b[4 * j] + a[1] * b[4 * j + 1] + a[2] * b[4 * j + 2] + a[3] * b[4 * j + 3];
    }
    for (int64_t j = 0; j < kPanel; j += kLanes) {
      Ints whole;
      __builtin_memcpy(&whole, sums + j, sizeof whole);
      float* c = tile.c + i * kPanel + j;
      store(c,
            multiply_add(__builtin_convertvector(whole, Floats), splat(tile.scales[i]), tile.add ? load(c) : Floats{}));
    }
  }
}

#if defined(__AVX512F__)

// sums += four products of an unsigned and a signed number. The compiler's own (GCC 12) copies every sum and keeps most
// of them in memory.
VLM2VEC_INLINE void add_products(__m512i& sums, __m512i unsigned_numbers, __m512i signed_numbers) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(unsigned_numbers), "v"(signed_numbers));
}

__attribute__((target("avx512vnni"))) static void multiply_vnni(const Tile& tile) {
  __m512i sums[kTileRows][2];
#pragma GCC unroll 12
  for (int i = 0; i < kTileRows; ++i) sums[i][0] = sums[i][1] = _mm512_set1_epi32(tile.corrections[i]);
  const int8_t* a = tile.a;
  const uint8_t* b = tile.b;
  for (int64_t q = 0; q < tile.quads; ++q) {
    const __m512i b0 = _mm512_loadu_si512(b), b1 = _mm512_loadu_si512(b + 64);
#pragma GCC unroll 12
    for (int i = 0; i < kTileRows; ++i) {
      int32_t four;
      __builtin_memcpy(&four, a + 4 * i, 4);
      const __m512i a_i = _mm512_set1_epi32(four);
      add_products(sums[i][0], b0, a_i);
      add_products(sums[i][1], b1, a_i);
    }
    a += 4 * kTileRows;
    b += 4 * kPanel;
  }
#pragma GCC unroll 12
  for (int i = 0; i < kTileRows; ++i)
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      float* c = tile.c + i * kPanel + half * kLanes;
      const Floats whole = __builtin_convertvector((Ints)sums[i][half], Floats);
      store(c, multiply_add(whole, splat(tile.scales[i]), tile.add ? load(c) : Floats{}));
    }
}

static bool fast() { return __builtin_cpu_supports("avx512vnni"); }
static void multiply_tile(const Tile& tile) {
  static const bool vnni = fast();
  vnni ? multiply_vnni(tile) : multiply_plain(tile);
}

#else

static bool fast() { return false; }
static void multiply_tile(const Tile& tile) { multiply_plain(tile); }

#endif

// ---------------------------------------------------------------------------------------------------------------------

template <typename Out>
static void write_panel(const Int8Product& product, const float* c, int64_t row, int64_t rows, int64_t column) {
  const int64_t width = smaller(kPanel, product.n - column);
  for (int64_t i = 0; i < rows; ++i) {
    Out* out = static_cast<Out*>(product.out) + (row + i) * product.n + column;
    for (int64_t j = 0; j < width; j += kLanes) {
      const int n = lanes(width - j);
      const Floats bias = product.bias ? load(product.bias + column + j, n) : Floats{};
      Floats value = multiply_add(load(c + i * kPanel + j), load(product.scales + column + j, n), bias);
      if (product.accumulate) value += load(out + j, n);
      store(out + j, value, n);
    }
  }
}

static void multiply_panel(const Int8Product& product, int64_t row, int64_t rows, int64_t panel) {
  const Rows left = rows_of(product);
  const int64_t k = product.k, tiles = round_up(rows, kTileRows) / kTileRows;
  float* c = static_cast<float*>(product.scratch) + omp_get_thread_num() * kBlockRows * kPanel;
  const uint8_t* b = static_cast<const uint8_t*>(product.packed) + panel * kPanel * quads(k) * 4;
  for (int64_t run = 0; run < runs(k); ++run) {
    const int64_t first = run * kInt8Run / 4, count = smaller(kInt8Run / 4, quads(k) - first);
    for (int64_t t = 0; t < tiles; ++t)
      multiply_tile({c + t * kTileRows * kPanel, left.codes + (t * quads(k) + first) * kTileRows * 4,
                     b + first * kPanel * 4, count, left.scales + run * kBlockRows + t * kTileRows,
                     left.corrections + run * kBlockRows + t * kTileRows, run > 0});
  }
  if (product.out_type == DType::BF16)
    write_panel<bf16>(product, c, row, rows, panel * kPanel);
  else
    write_panel<float>(product, c, row, rows, panel * kPanel);
}

static void multiply(const Int8Product& product) {
  for (int64_t row = 0; row < product.rows; row += kBlockRows) {
    const int64_t rows = smaller(kBlockRows, product.rows - row);
    if (product.x_type == DType::BF16)
      quantize_rows<bf16>(product, row, rows);
    else
      quantize_rows<float>(product, row, rows);
    parallel_for(product.threads, round_up(product.n, kPanel) / kPanel,
                 [&](int64_t p) { multiply_panel(product, row, rows, p); });
  }
}

extern const Int8Kernels int8_kernels = {fast, packed_bytes, pack, scratch_bytes, multiply};

}  // namespace vlm2vec::VLM2VEC_ISA
