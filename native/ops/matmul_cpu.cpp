#include <omp.h>

#include "core/parallel.h"
#include "ops/matmul_kernels.h"
#include "ops/microkernel.h"

namespace vlm2vec::VLM2VEC_ISA {

// Rows of x, or of the sum over rows, that are packed at a time: a multiple of every kRows, and of kDepth for the
// second.
constexpr int64_t kRowBlock = 240, kSumBlock = 2 * kDepth;
constexpr int64_t kTile = kRows * kColumns;

static size_t bytes_of(DType type) { return type == DType::BF16 ? 2 : 4; }

static size_t packed_bytes(int64_t columns, int64_t depth, DType type) {
  return size_t(round_up(columns, kColumns) * depth) * bytes_of(type);
}

template <typename Number>
static void pack_weight(Number* packed, const Number* weight, int64_t n, int64_t k, bool transposed, int threads) {
  const int64_t columns = transposed ? n : k, depth = transposed ? k : n;
  parallel_for(threads, round_up(columns, kColumns) / kColumns, [=](int64_t p) {
    const int64_t first = p * kColumns, width = smaller(kColumns, columns - first);
    Number* panel = packed + first * depth;
    if (transposed)
      pack_transposed<kColumns>(panel, weight + first * k, k, width, depth);
    else
      pack_columns<kColumns>(panel, weight + first, k, width, depth);
  });
}

static void pack(void* packed, const void* weight, int64_t n, int64_t k, DType type, bool transposed, int threads) {
  if (type == DType::BF16)
    pack_weight(static_cast<bf16*>(packed), static_cast<const bf16*>(weight), n, k, transposed, threads);
  else
    pack_weight(static_cast<float*>(packed), static_cast<const float*>(weight), n, k, transposed, threads);
}

// ---------------------------------------------------------------------------------------------------------------------
// out = x · packed

// Each thread: kRowBlock rows of one panel of out, and one widened block of a panel.
constexpr int64_t kThreadScratch = kRowBlock * kColumns + kDepth * kColumns;

static size_t scratch_bytes(const PackedProduct& product) {
  const int64_t rows = smaller(kRowBlock, round_up(product.rows, kRows));
  return size_t(rows * product.depth + product.threads * kThreadScratch + kLanes) * sizeof(float);
}

static inline const float* widen(const float* from, float*, int64_t) { return from; }
static inline const float* widen(const bf16* from, float* to, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) store(to + i, load(from + i));
  return to;
}

template <typename Out>
static void write_panel(const PackedProduct& product, const float* c, int64_t row, int64_t rows, int64_t column) {
  const int64_t width = smaller(kColumns, product.columns - column);
  for (int64_t i = 0; i < rows; ++i) {
    Out* out = static_cast<Out*>(product.out) + (row + i) * product.columns + column;
    const float* c_i = c + i * kColumns;
    for (int64_t j = 0; j < width; ++j) {
      float value = product.bias ? c_i[j] + product.bias[column + j] : c_i[j];
      if (product.accumulate) value += read_number(out + j);
      write_number(out + j, value);
    }
  }
}

template <typename Number>
static void multiply_panel(const PackedProduct& product, const float* a, int64_t row, int64_t rows, int64_t panel) {
  const int64_t depth = product.depth, tiles = round_up(rows, kRows) / kRows;
  float* c = product.scratch + round_up(smaller(kRowBlock, round_up(product.rows, kRows)) * depth, kLanes) +
             omp_get_thread_num() * kThreadScratch;
  float* widened = c + kRowBlock * kColumns;
  const Number* b = static_cast<const Number*>(product.packed) + panel * kColumns * depth;
  for (int64_t k = 0; k < depth; k += kDepth) {
    const int64_t block = smaller(kDepth, depth - k);
    const float* b_k = widen(b + k * kColumns, widened, block * kColumns);
    for (int64_t t = 0; t < tiles; ++t)
      multiply_tile<1, kRows>(c + t * kTile, kColumns, a + (t * depth + k) * kRows, b_k, block, k > 0);
  }
  if (product.out_type == DType::BF16)
    write_panel<bf16>(product, c, row, rows, panel * kColumns);
  else
    write_panel<float>(product, c, row, rows, panel * kColumns);
}

template <typename Number>
static void multiply_typed(const PackedProduct& product) {
  const int64_t depth = product.depth;
  for (int64_t row = 0; row < product.rows; row += kRowBlock) {
    const int64_t rows = smaller(kRowBlock, product.rows - row);
    const Number* x = static_cast<const Number*>(product.x) + row * depth;
    float* a = product.scratch;
    parallel_for(product.threads, round_up(rows, kRows) / kRows, [=](int64_t t) {
      pack_transposed<kRows>(a + t * kRows * depth, x + t * kRows * depth, depth, smaller(kRows, rows - t * kRows),
                             depth);
    });
    parallel_for(product.threads, round_up(product.columns, kColumns) / kColumns,
                 [&](int64_t p) { multiply_panel<Number>(product, a, row, rows, p); });
  }
}

static void multiply(const PackedProduct& product) {
  if (product.type == DType::BF16)
    multiply_typed<bf16>(product);
  else
    multiply_typed<float>(product);
}

// ---------------------------------------------------------------------------------------------------------------------
// dweight += doutᵀ · x: the sum runs over rows, packed kSumBlock at a time

static size_t weight_scratch_bytes(const WeightProduct& product) {
  const int64_t depth = smaller(kSumBlock, product.m);
  return size_t((round_up(product.n, kRows) + round_up(product.k, kColumns) + kLanes) * depth) * sizeof(float);
}

// dweight[tile of rows][panel] += one block of the sum.
static void add_tile(const WeightProduct& product, const float* a, const float* b, int64_t depth, int64_t row,
                     int64_t column) {
  const int64_t rows = smaller(kRows, product.n - row), width = smaller(kColumns, product.k - column);
  float* to = product.dweight + row * product.k + column;
  if (rows == kRows && width == kColumns) return multiply_tile<1, kRows>(to, product.k, a, b, depth, true);
  float c[kTile];
  multiply_tile<1, kRows>(c, kColumns, a, b, depth, false);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < width; ++j) to[i * product.k + j] += c[i * kColumns + j];
}

template <typename Number>
static void multiply_weight_typed(const WeightProduct& product) {
  constexpr int64_t kGroup = 8;  // tiles of rows that share a block of a panel
  const int64_t n = product.n, k = product.k;
  const int64_t row_tiles = round_up(n, kRows) / kRows, panels = round_up(k, kColumns) / kColumns;
  for (int64_t m = 0; m < product.m; m += kSumBlock) {
    const int64_t depth = smaller(kSumBlock, product.m - m);
    const Number* dout = static_cast<const Number*>(product.dout) + m * n;
    const Number* x = static_cast<const Number*>(product.x) + m * k;
    float* a = product.scratch;
    float* b = a + round_up(row_tiles * kRows * depth, kLanes);
    parallel_for(product.threads, row_tiles + panels, [=](int64_t i) {
      if (i < row_tiles)
        pack_columns<kRows>(a + i * kRows * depth, dout + i * kRows, n, smaller(kRows, n - i * kRows), depth);
      else
        pack_columns<kColumns>(b + (i - row_tiles) * kColumns * depth, x + (i - row_tiles) * kColumns, k,
                               smaller(kColumns, k - (i - row_tiles) * kColumns), depth);
    });
    parallel_for(product.threads, round_up(row_tiles, kGroup) / kGroup, [&](int64_t group) {
      const int64_t last = smaller(row_tiles, (group + 1) * kGroup);
      for (int64_t d = 0; d < depth; d += kDepth)
        for (int64_t p = 0; p < panels; ++p)
          for (int64_t t = group * kGroup; t < last; ++t)
            add_tile(product, a + (t * depth + d) * kRows, b + (p * depth + d) * kColumns, smaller(kDepth, depth - d),
                     t * kRows, p * kColumns);
    });
  }
}

static void multiply_weight(const WeightProduct& product) {
  if (product.type == DType::BF16)
    multiply_weight_typed<bf16>(product);
  else
    multiply_weight_typed<float>(product);
}

// ---------------------------------------------------------------------------------------------------------------------

template <typename Number>
static void add_column_sums_typed(float* sums, const Number* x, int64_t rows, int64_t columns, int threads) {
  constexpr int64_t kBlock = 256;
  parallel_for(threads, round_up(columns, kBlock) / kBlock, [=](int64_t block) {
    const int64_t first = block * kBlock, width = smaller(kBlock, columns - first);
    double total[kBlock] = {};
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < width; ++j) total[j] += double(read_number(x + i * columns + first + j));
    for (int64_t j = 0; j < width; ++j) sums[first + j] += float(total[j]);
  });
}

static void add_column_sums(float* sums, const void* x, int64_t rows, int64_t columns, DType type, int threads) {
  if (type == DType::BF16)
    add_column_sums_typed(sums, static_cast<const bf16*>(x), rows, columns, threads);
  else
    add_column_sums_typed(sums, static_cast<const float*>(x), rows, columns, threads);
}

extern const MatmulKernels matmul_kernels = {
    packed_bytes, pack, scratch_bytes, multiply, weight_scratch_bytes, multiply_weight, add_column_sums};

}  // namespace vlm2vec::VLM2VEC_ISA
