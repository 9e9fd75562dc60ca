#include <omp.h>

#include "core/parallel.h"
#include "ops/matmul_panels.h"

namespace vlm2vec::VLM2VEC_ISA {

// Rows of x, or of the sum over rows, that are packed at a time: a multiple of every kRows, and of kDepth for the
// second.
constexpr int64_t kRowBlock = 240, kSumBlock = 2 * kDepth;
constexpr int64_t kTile = kRows * kColumns;

static size_t packed_bytes(int64_t columns, int64_t depth) {
  return size_t(round_up(columns, kColumns) * depth) * sizeof(float);
}

static void pack(float* packed, const void* weight, int64_t n, int64_t k, bool transposed, int threads) {
  RightFactor plain;
  plain.kind = RightFactor::Kind::Plain;
  plain.data = weight;
  plain.transposed = transposed;
  plain.n = n;
  plain.k = k;
  const int64_t depth = plain.depth();
  parallel_for(threads, round_up(plain.columns(), kColumns) / kColumns,
               [&](int64_t p) { panel_block(plain, p, 0, depth, packed + p * kColumns * depth); });
}

// ---------------------------------------------------------------------------------------------------------------------
// out = x · packed

// Each thread: kRowBlock rows of one panel of out, and one widened block of a panel.
constexpr int64_t kThreadScratch = kRowBlock * kColumns + kDepth * kColumns;

static int64_t depth_of(const Term& term) { return term.x ? term.right.depth() : 0; }

// The left factors of a block of rows, packed one after the other.
static int64_t left_size(const PackedProduct& product) {
  const int64_t rows = smaller(kRowBlock, round_up(product.rows, kRows));
  return round_up(rows * (depth_of(product.terms[0]) + depth_of(product.terms[1])), kLanes);
}

static size_t scratch_bytes(const PackedProduct& product) {
  return size_t(left_size(product) + product.threads * kThreadScratch) * sizeof(float);
}

template <typename Out>
static void write_panel(const PackedProduct& product, const float* c, int64_t row, int64_t rows, int64_t column) {
  const int64_t width = smaller(kColumns, product.columns - column);
  for (int64_t i = 0; i < rows; ++i) {
    Out* out = static_cast<Out*>(product.out) + (row + i) * product.columns + column;
    for (int64_t j = 0; j < width; j += kLanes) {
      const int n = lanes(width - j);
      Floats value = load(c + i * kColumns + j);
      if (product.bias) value += load(product.bias + column + j, n);
      if (product.accumulate) value += load(out + j, n);
      store(out + j, value, n);
    }
  }
}

static void multiply_panel(const PackedProduct& product, int64_t row, int64_t rows, int64_t panel) {
  const int64_t tiles = round_up(rows, kRows) / kRows;
  float* c = product.scratch + left_size(product) + omp_get_thread_num() * kThreadScratch;
  float* widened = c + kRowBlock * kColumns;
  const float* a = product.scratch;
  bool add = false;
  for (const Term& term : product.terms) {
    const int64_t depth = depth_of(term);
    for (int64_t k = 0; k < depth; k += kDepth, add = true) {
      const int64_t block = smaller(kDepth, depth - k);
      const float* b = panel_block(term.right, panel, k, block, widened);
      for (int64_t t = 0; t < tiles; ++t)
        multiply_tile<1, kRows>(c + t * kTile, kColumns, a + (t * depth + k) * kRows, b, block, add);
    }
    a += tiles * kRows * depth;
  }
  if (product.out_type == DType::BF16)
    write_panel<bf16>(product, c, row, rows, panel * kColumns);
  else
    write_panel<float>(product, c, row, rows, panel * kColumns);
}

template <typename Number>
static void multiply_typed(const PackedProduct& product) {
  for (int64_t row = 0; row < product.rows; row += kRowBlock) {
    const int64_t rows = smaller(kRowBlock, product.rows - row), tiles = round_up(rows, kRows) / kRows;
    float* a = product.scratch;
    for (const Term& term : product.terms) {
      const int64_t depth = depth_of(term);
      if (depth == 0) continue;
      const Number* x = static_cast<const Number*>(term.x) + row * depth;
      parallel_for(product.threads, tiles, [=](int64_t t) {
        pack_rows(a + t * kRows * depth, x + t * kRows * depth, smaller(kRows, rows - t * kRows), depth);
      });
      a += tiles * kRows * depth;
    }
    parallel_for(product.threads, round_up(product.columns, kColumns) / kColumns,
                 [&](int64_t p) { multiply_panel(product, row, rows, p); });
  }
}

static void multiply(const PackedProduct& product) {
  if (product.x_type == DType::BF16)
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

// f32: from[n / 64][k][n % 64] to to[k / 64][n][k % 64], a block of 64 x 64 after the other.
static void turn_block(float* to, const float* from) {
  constexpr int64_t side = 64;
  for (int64_t i = 0; i < side; i += kLanes)
    for (int64_t j = 0; j < side; j += kLanes) {
      Floats lines[kLanes];
#pragma GCC unroll 16
      for (int64_t line = 0; line < kLanes; ++line) lines[line] = load(from + (i + line) * side + j);
      transpose(lines);
#pragma GCC unroll 16
      for (int64_t line = 0; line < kLanes; ++line) store(to + (j + line) * side + i, lines[line], kLanes);
    }
}

// bf16: the same of cells of 2 x 2 numbers, which lie as from[..][k / 2][n % 64][k % 2].
static void turn_block(uint64_t* to, const uint64_t* from) {
  constexpr int64_t side = 32;
  for (int64_t i = 0; i < side; ++i)
    for (int64_t j = 0; j < side; ++j) {
      const uint64_t cell = from[i * side + j];
      to[j * side + i] =
          (cell & 0xffff00000000ffffu) | (cell >> 16 & 0x00000000ffff0000u) | (cell & 0x00000000ffff0000u) << 16;
    }
}

template <typename Cell>
static void turn_typed(void* to, const void* from, int64_t n, int64_t k, int threads, int64_t block) {
  const int64_t rows = n / 64, columns = k / 64;
  parallel_for(threads, rows * columns, [=](int64_t i) {
    const int64_t row = i / columns, column = i % columns;
    turn_block(static_cast<Cell*>(to) + (column * rows + row) * block, static_cast<const Cell*>(from) + i * block);
  });
}

static void turn(void* to, const void* from, int64_t n, int64_t k, DType type, int threads) {
  if (type == DType::BF16)
    turn_typed<uint64_t>(to, from, n, k, threads, 32 * 32);
  else
    turn_typed<float>(to, from, n, k, threads, 64 * 64);
}

extern const MatmulKernels matmul_kernels = {packed_bytes,    pack, scratch_bytes,  multiply, weight_scratch_bytes,
                                             multiply_weight, turn, add_column_sums};

}  // namespace vlm2vec::VLM2VEC_ISA
