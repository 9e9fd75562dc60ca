#include "core/parallel.h"
#include "ops/microkernel.h"
#include "ops/score_kernels.h"

namespace vlm2vec::VLM2VEC_ISA {

constexpr int64_t kStride = kScoreTile;
static_assert(padded(1) % kRows == 0 && padded(1) % kColumns == 0, "register tiles do not divide padded rows");

template <typename Op>
static void pack_queries_as(const ScoreTile& tile) {
  const int64_t depth = words<Op>(tile.D);
  parallel_for(tile.threads, round_up(tile.rows, kRows) / kRows, [&](int64_t t) {
    const int64_t first = t * kRows;
    pack_rows<Op, kRows>(tile.query_rows + first * depth, smaller(kRows, tile.rows - first), tile.D,
                         [&](int64_t i) { return tile.queries + (first + i) * tile.D; });
  });
}

template <typename Op>
static void pack_targets_as(const ScoreTile& tile) {
  const int64_t depth = words<Op>(tile.D);
  parallel_for(tile.threads, round_up(tile.columns, kColumns) / kColumns, [&](int64_t t) {
    const int64_t first = t * kColumns;
    pack_rows<Op, kColumns>(tile.target_columns + first * depth, smaller(kColumns, tile.columns - first), tile.D,
                            [&](int64_t i) { return tile.targets + (first + i) * tile.D; });
  });
}

template <typename Op>
static void multiply_as(const ScoreTile& tile) {
  const int64_t group = tile.threads > 4 ? 192 : 480, block = kPanels * kColumns;
  const int64_t groups = (tile.rows + group - 1) / group, depth = words<Op>(tile.D);
  parallel_for_dynamic(tile.threads, groups * ((tile.columns + block - 1) / block), [=](int64_t i) {
    const int64_t row = i % groups * group, column = i / groups * block;
    multiply_packed<Op>(tile.scores + row * kStride + column, kStride, tile.query_rows + row * depth,
                        smaller(group, tile.rows - row), tile.target_columns + column * depth,
                        smaller(block, tile.columns - column), depth, false);
  });
}

static void pack_queries(const ScoreTile& tile) {
  tile.type == DType::BF16 ? pack_queries_as<Halved>(tile) : pack_queries_as<Singles>(tile);
}
static void pack_targets(const ScoreTile& tile) {
  tile.type == DType::BF16 ? pack_targets_as<Halved>(tile) : pack_targets_as<Singles>(tile);
}
static void multiply(const ScoreTile& tile) {
  tile.type == DType::BF16 ? multiply_as<Halved>(tile) : multiply_as<Singles>(tile);
}

// The query as a tile with one row, one panel of candidates, and their products.
static int64_t candidate_floats(int64_t D) { return round_up((kRows + kColumns) * D + kColumns, 16); }

static void multiply_candidates(float* scores, const float* query, const float* targets, int64_t D,
                                const int32_t* candidates, int64_t count, float* scratch) {
  float *panel = scratch, *products = panel + kColumns * D, *a = products + kColumns;
  pack_transposed<kRows>(a, query, D, 1, D);
  for (int64_t first = 0; first < count; first += kColumns) {
    const int64_t width = smaller(kColumns, count - first);
    pack_transposed<kColumns>(panel, targets, D, width, D, candidates + first);
    multiply_packed(products, kColumns, a, 1, panel, width, D, false);
    for (int64_t n = 0; n < width; ++n) scores[first + n] = products[n];
  }
}

extern const ScoreKernels score_kernels = {pack_queries, pack_targets, multiply, candidate_floats, multiply_candidates};

}  // namespace vlm2vec::VLM2VEC_ISA
