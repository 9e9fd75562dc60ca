#include "core/parallel.h"
#include "ops/microkernel.h"
#include "ops/score_kernels.h"

namespace vlm2vec::VLM2VEC_ISA {

constexpr int64_t kStride = kScoreTile;
constexpr int64_t kRowGroup = 96, kColumnGroup = 192;  // of one thread at a time: scores and a block of A stay in L2
static_assert(kStride % kRows == 0 && kStride % kColumns == 0 && kRowGroup % kRows == 0 && kColumnGroup % kColumns == 0,
              "tiles do not divide blocks");

static int64_t packed_floats(int64_t D) { return kStride * D; }

static void pack_queries(const ScoreTile& tile) {
  const int64_t D = tile.D;
  parallel_for(tile.threads, round_up(tile.rows, kRows) / kRows, [=](int64_t t) {
    const int64_t first = t * kRows;
    pack_transposed<kRows>(tile.query_rows + first * D, tile.queries + first * D, D, smaller(kRows, tile.rows - first),
                           D);
  });
}

static void pack_targets(const ScoreTile& tile) {
  const int64_t D = tile.D;
  parallel_for(tile.threads, round_up(tile.columns, kColumns) / kColumns, [=](int64_t t) {
    const int64_t first = t * kColumns;
    pack_transposed<kColumns>(tile.target_columns + first * D, tile.targets + first * D, D,
                              smaller(kColumns, tile.columns - first), D);
  });
}

static void multiply(const ScoreTile& tile) {
  const int64_t row_groups = round_up(tile.rows, kRowGroup) / kRowGroup;
  const int64_t column_groups = round_up(tile.columns, kColumnGroup) / kColumnGroup;
  parallel_for_dynamic(tile.threads, row_groups * column_groups, [=](int64_t i) {
    const int64_t row = i % row_groups * kRowGroup, column = i / row_groups * kColumnGroup;
    const int64_t rows = smaller(kRowGroup, tile.rows - row), columns = smaller(kColumnGroup, tile.columns - column);
    multiply_packed(tile.scores + row * kStride + column, kStride, tile.query_rows + row * tile.D,
                    round_up(rows, kRows) / kRows, tile.target_columns + column * tile.D,
                    round_up(columns, kColumns) / kColumns, tile.D, false);
  });
}

// The query as a tile with one row, one panel of candidates, and their products.
static int64_t candidate_floats(int64_t D) { return round_up((kRows + kColumns) * D + kRows * kColumns, 16); }

static void multiply_candidates(float* scores, const float* query, const float* targets, int64_t D,
                                const int32_t* candidates, int64_t count, float* scratch) {
  float *panel = scratch, *products = panel + kColumns * D, *a = products + kRows * kColumns;
  pack_transposed<kRows>(a, query, D, 1, D);
  for (int64_t first = 0; first < count; first += kColumns) {
    const int64_t width = smaller(kColumns, count - first);
    pack_transposed<kColumns>(panel, targets, D, width, D, candidates + first);
    multiply_packed(products, kColumns, a, 1, panel, 1, D, false);
    for (int64_t n = 0; n < width; ++n) scores[first + n] = products[n];
  }
}

extern const ScoreKernels score_kernels = {packed_floats, pack_queries,     pack_targets,
                                           multiply,      candidate_floats, multiply_candidates};

}  // namespace vlm2vec::VLM2VEC_ISA
