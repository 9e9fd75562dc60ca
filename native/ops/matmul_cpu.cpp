#include <omp.h>

#include "core/parallel.h"
#include "ops/matmul_amx.h"
#include "ops/matmul_panels.h"

namespace vlm2vec::VLM2VEC_ISA {

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
// out = x · right: of a block of rows the left factors are packed once; groups of panels go by, each widened part by
// part into L2, where the tiles of rows meet it

// Numbers of packed left factors at a time, and the rows that they are of: enough that widening a panel costs little.
constexpr int64_t kLeftNumbers = 2 << 20, kLeastRows = 20 * kRows, kMostRows = 80 * kRows;

static int64_t depth_of(const Term& term) { return term.x ? term.right.depth() : 0; }

struct Blocking {
  explicit Blocking(const PackedProduct& product) {
    depth = depth_of(product.terms[0]) + depth_of(product.terms[1]);
    const int64_t fit = kLeftNumbers / (depth + 1) / kRows * kRows;
    rows = smaller(larger(kLeastRows, smaller(kMostRows, fit)), round_up(product.rows, kRows));
    part = larger(part_of(depth_of(product.terms[0])), part_of(depth_of(product.terms[1])));
    const int64_t all = round_up(product.columns, kColumns) / kColumns;
    panels = rows == kRows ? 1 : larger(1, smaller(kPanels, all / (2 * product.threads)));
    groups = (all + panels - 1) / panels;
    left = round_up(rows * depth, kLanes);
    thread = panels * (rows * kColumns + part * kColumns);
  }
  int64_t depth, rows, part;
  int64_t panels, groups;  // panels of a group
  int64_t left, thread;    // numbers of scratch: left factors; of each thread, sums and one part of its panels
};

static size_t scratch_bytes(const PackedProduct& product) {
#if defined(VLM2VEC_HAS_AMX)
  if (takes_amx(product)) return amx_scratch_bytes(product);
#endif
  const Blocking blocking(product);
  return size_t(blocking.left + product.threads * blocking.thread) * sizeof(float);
}

// A tile of out from its sums.
template <typename Out>
static void write_tile(const PackedProduct& product, const float* c, int64_t row, int64_t rows, int64_t column) {
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

template <typename Out>
static void multiply_group(const PackedProduct& product, const Blocking& blocking, int64_t row, int64_t rows,
                           int64_t group) {
  const int64_t first = group * blocking.panels, all = round_up(product.columns, kColumns) / kColumns;
  const int64_t panels = smaller(blocking.panels, all - first), tiles = round_up(rows, kRows) / kRows;
  float* sums = product.scratch + blocking.left + omp_get_thread_num() * blocking.thread;
  float* widened = sums + blocking.panels * blocking.rows * kColumns;
  const float* a = product.scratch;
  int64_t done = 0;
  for (const Term& term : product.terms) {
    const int64_t depth = depth_of(term), part = part_of(depth);
    for (int64_t k = 0; k < depth; k += part) {
      const int64_t block = smaller(part, depth - k);
      const float* b[kPanels];
      for (int64_t p = 0; p < panels; ++p)
        b[p] = panel_block(term.right, first + p, k, block, widened + p * part * kColumns);
      const bool add = done > 0, last = (done += block) == blocking.depth;
      for (int64_t t = 0; t < tiles; ++t)
        for (int64_t p = 0; p < panels; ++p) {
          float* c = sums + (t * panels + p) * kTile;
          multiply_tile<1, kRows, Singles, 2, Operands::Streamed>(c, kColumns, a + (t * depth + k) * kRows, b[p], block,
                                                                  add);
          if (last)
            write_tile<Out>(product, c, row + t * kRows, smaller(kRows, rows - t * kRows), (first + p) * kColumns);
        }
    }
    a += tiles * kRows * depth;
  }
}

template <typename Number>
static void multiply_typed(const PackedProduct& product) {
  const Blocking blocking(product);
  for (int64_t row = 0; row < product.rows; row += blocking.rows) {
    const int64_t rows = smaller(blocking.rows, product.rows - row), tiles = round_up(rows, kRows) / kRows;
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
    parallel_for_dynamic(product.threads, blocking.groups, [&](int64_t group) {
      if (product.out_type == DType::BF16)
        multiply_group<bf16>(product, blocking, row, rows, group);
      else
        multiply_group<float>(product, blocking, row, rows, group);
    });
  }
}

static void multiply(const PackedProduct& product) {
#if defined(VLM2VEC_HAS_AMX)
  if (takes_amx(product))
    return multiply_by_amx(product, [&](const float* c, int64_t row, int64_t rows, int64_t column) {
      static_assert(kAmxSide == kColumns, "a tile of sums is one panel wide");
      if (product.out_type == DType::BF16)
        write_tile<bf16>(product, c, row, rows, column);
      else
        write_tile<float>(product, c, row, rows, column);
    });
#endif
  if (product.x_type == DType::BF16)
    multiply_typed<bf16>(product);
  else
    multiply_typed<float>(product);
}

// ---------------------------------------------------------------------------------------------------------------------
// dweight += doutᵀ · x: the sum runs over rows, packed kSumBlock at a time

constexpr int64_t kSumBlock = 2 * kDepth;

static size_t weight_scratch_bytes(const WeightProduct& product) {
#if defined(VLM2VEC_HAS_AMX)
  if (takes_amx(product)) return amx_weight_scratch_bytes(product);
#endif
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
  constexpr int64_t kGroup = 8;  // tiles of rows that share a block of a panel, and panels of one thread at a time
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
    const int64_t groups = round_up(row_tiles, kGroup) / kGroup;
    parallel_for(product.threads, groups * (round_up(panels, kGroup) / kGroup), [=](int64_t unit) {
      const int64_t first = unit % groups * kGroup, last = smaller(row_tiles, first + kGroup);
      const int64_t from = unit / groups * kGroup, end = smaller(panels, from + kGroup);
      for (int64_t d = 0; d < depth; d += kDepth)
        for (int64_t p = from; p < end; ++p)
          for (int64_t t = first; t < last; ++t)
            add_tile(product, a + (t * depth + d) * kRows, b + (p * depth + d) * kColumns, smaller(kDepth, depth - d),
                     t * kRows, p * kColumns);
    });
  }
}

static void multiply_weight(const WeightProduct& product) {
#if defined(VLM2VEC_HAS_AMX)
  if (takes_amx(product)) return multiply_weight_by_amx(product);
#endif
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
