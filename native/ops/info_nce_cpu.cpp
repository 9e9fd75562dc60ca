#include "core/parallel.h"
#include "ops/info_nce_kernels.h"
#include "ops/microkernel.h"

namespace vlm2vec::VLM2VEC_ISA {

constexpr int64_t kStride = kScoreTile;
constexpr int64_t kRowGroup = 96;      // rows whose exponentials are summed in f32
constexpr int64_t kColumnGroup = 240;  // columns of one thread at a time, at most

static const float kInfinity = __builtin_inff();

static int64_t channel_floats(int64_t rows, int64_t D) { return rows * round_up(D, kColumns); }

// Panels of kColumns channels, depth `rows`; some rows at a time, which are read as they lie.
template <typename Op>
static void pack_as_channels(float* to, const float* from, int64_t rows, int64_t D, int threads) {
  constexpr int64_t kGroup = 16;
  parallel_for(threads, round_up(rows, kGroup) / kGroup, [=](int64_t group) {
    const int64_t first = group * kGroup, count = smaller(kGroup, rows - first);
    for (int64_t c = 0; c < D; c += kColumns)
      pack_depth<Op, kColumns>(to + c * words<Op>(rows) + first / Op::kNumbers * kColumns, smaller(kColumns, D - c),
                               count, [=](int64_t k) { return from + (first + k) * D + c; });
  });
}

static void pack_channels(float* to, const float* from, int64_t rows, const ScoreTile& tile) {
  if (tile.type == DType::BF16)
    pack_as_channels<Halved>(to, from, rows, tile.D, tile.threads);
  else
    pack_as_channels<Singles>(to, from, rows, tile.D, tile.threads);
}

static void pack_query_channels(const InfoNceTile& tile) {
  pack_channels(tile.query_channels, tile.scores.queries, tile.scores.rows, tile.scores);
}

static void pack_target_channels(const InfoNceTile& tile) {
  pack_channels(tile.target_channels, tile.scores.targets, tile.scores.columns, tile.scores);
}

// ---------------------------------------------------------------------------------------------------------------------
// Sums of exponentials. A row or column without any negative so far has highest -inf and sum 0; NaN stays NaN.

static void add_row_sums(const InfoNceTile& tile, float* highest, double* sums) {
  const Floats scale = broadcast(tile.steepness);
  parallel_for(tile.scores.threads, tile.scores.rows, [=](int64_t i) {
    float* scores = tile.scores.scores + i * kStride;
    const int64_t width = round_up(tile.scores.columns, kLanes);
    for (int64_t j = tile.scores.columns; j < width; ++j) scores[j] = -kInfinity;
    Floats top = broadcast(-kInfinity);
    for (int64_t j = 0; j < width; j += kLanes) top = max(load(scores + j), top);
    const float here = tile.steepness * largest(top);
    const float raised = here > highest[i] ? here : highest[i];
    const Floats shift = broadcast(raised == -kInfinity ? 0 : -raised);
    Floats total = {};
    for (int64_t j = 0; j < width; j += kLanes) total += exp2(multiply_add(load(scores + j), scale, shift));
    const double before = sums[i] > 0 ? sums[i] * __builtin_exp2(double(highest[i]) - double(raised)) : sums[i];
    sums[i] = before + double(sum(total));
    highest[i] = raised;
  });
}

// Some columns at a time, read row by row; f32 over kRowGroup rows, f64 over groups.
static void add_column_sums(const InfoNceTile& tile, float* highest, double* sums) {
  const Floats scale = broadcast(tile.steepness);
  const ScoreTile& t = tile.scores;
  const int64_t most = t.threads > 4 ? 96 : kColumnGroup;
  parallel_for(t.threads, round_up(t.columns, most) / most, [=](int64_t group) {
    const int64_t first = group * most, count = smaller(most, t.columns - first);
    const int64_t width = round_up(count, kLanes);
    float raised[kColumnGroup], shift[kColumnGroup], part[kColumnGroup];
    double total[kColumnGroup] = {};
    for (int64_t j = 0; j < width; ++j) raised[j] = -kInfinity;
    for (int64_t i = 0; i < t.rows; ++i)
      for (int64_t j = 0; j < width; j += kLanes)
        store(raised + j, max(load(t.scores + i * kStride + first + j), load(raised + j)));
    for (int64_t j = 0; j < width; ++j) {
      raised[j] *= tile.steepness;
      if (j < count && !(raised[j] > highest[first + j])) raised[j] = highest[first + j];
      shift[j] = raised[j] == -kInfinity ? 0 : -raised[j];
    }
    for (int64_t row = 0; row < t.rows; row += kRowGroup) {
      for (int64_t j = 0; j < width; ++j) part[j] = 0;
      for (int64_t i = row; i < smaller(row + kRowGroup, t.rows); ++i)
        for (int64_t j = 0; j < width; j += kLanes)
          store(part + j,
                load(part + j) + exp2(multiply_add(load(t.scores + i * kStride + first + j), scale, load(shift + j))));
      for (int64_t j = 0; j < count; ++j) total[j] += double(part[j]);
    }
    for (int64_t j = 0; j < count; ++j) {
      double& sum = sums[first + j];
      sum = (sum > 0 ? sum * __builtin_exp2(double(highest[first + j]) - double(raised[j])) : sum) + total[j];
      highest[first + j] = raised[j];
    }
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// Gradients

// Words of weights, packed twice: tiles of kRows queries for dqueries, of kRows targets for dtargets. A word is
// `Op::kNumbers` targets of a query, or queries of a target. Made kBlock targets at a time, so that they lie in L1
// until both copies are written.
template <typename Op>
static void weigh_as(const InfoNceTile& tile, const float* row_shift, float row_weight, const float* column_shift,
                     float column_weight) {
  constexpr int64_t kBlock = 48;
  static_assert(kBlock % kRows == 0 && kBlock % kLanes == 0, "blocks divide tiles");
  const Floats scale = broadcast(tile.steepness);
  const int64_t rows = tile.scores.rows, columns = tile.scores.columns;
  const int64_t across = words<Op>(columns), down = words<Op>(rows);
  parallel_for(tile.scores.threads, round_up(rows, kRows) / kRows, [=](int64_t t) {
    const int64_t first = t * kRows, count = smaller(kRows, rows - first);
    const float* scores = tile.scores.scores + first * kStride;
    float by_rows[kRows][kBlock] = {}, pairs[kRows / 2][kBlock];
    float(*by_columns)[kBlock] = Op::kNumbers == 1 ? by_rows : pairs;
    const auto weights = [&](int64_t row, int64_t j) {
      if (row >= count || j >= columns) return Floats{};
      const int n = lanes(columns - j);
      const Floats s = load(scores + row * kStride + j);
      Floats g = exp2(multiply_add(s, scale, broadcast(-row_shift[first + row]))) * broadcast(row_weight);
      if (column_shift) {
        const Floats column = load(column_shift + j, n);
        g = multiply_add(exp2(multiply_add(s, scale, -column)), broadcast(column_weight), g);
      }
      for (int lane = n; lane < kLanes; ++lane) g[lane] = 0;
      return g;
    };
    for (int64_t block = 0; block < columns; block += kBlock) {
      const int64_t width = smaller(kBlock, columns - block);
      const auto by_column = [&](int64_t j) {
        return tile.column_weights + (block + j) * down + first / Op::kNumbers * kRows;
      };
      for (int64_t j = 0; j < width; j += kRows)  // every tile has them on another page
        for (int64_t i = 0; i < words<Op>(kRows) * kRows; i += kLanes) __builtin_prefetch(by_column(j) + i, 1);
      for (int64_t i = 0; i < kRows; i += Op::kNumbers)
        for (int64_t j = 0; j < kBlock; j += kLanes) {
          const Floats g = weights(i, block + j);
          store_words<Op>(by_rows[i] + j / Op::kNumbers, g);
          if constexpr (Op::kNumbers == 2) {
            const Floats next = weights(i + 1, block + j);
            store_words<Op>(by_rows[i + 1] + j / 2, next);
            store(by_columns[i / 2] + j, pair(g, next));
          }
        }
      pack_rows<Singles, kRows>(tile.row_weights + first * across + block / Op::kNumbers * kRows, kRows,
                                words<Op>(width), [&](int64_t i) { return by_rows[i]; });
      for (int64_t j = 0; j < width; j += kRows)
        for (int64_t i = 0; i < words<Op>(count); ++i)
          store(by_column(j) + i * kRows, load(by_columns[i] + j, kRows), kRows);
    }
  });
}

static void weigh(const InfoNceTile& tile, const float* row_shift, float row_weight, const float* column_shift,
                  float column_weight) {
  if (tile.scores.type == DType::BF16)
    weigh_as<Halved>(tile, row_shift, row_weight, column_shift, column_weight);
  else
    weigh_as<Singles>(tile, row_shift, row_weight, column_shift, column_weight);
}

// to (rows, D) = or += weights · channels over `numbers` of depth.
template <typename Op>
static void add_product(float* to, int64_t rows, int64_t numbers, const float* weights, const float* channels,
                        const ScoreTile& tile, bool add) {
  const int64_t D = tile.D, group = tile.threads > 4 ? 192 : 480, block = kPanels * kColumns;
  const int64_t groups = (rows + group - 1) / group, depth = words<Op>(numbers);
  parallel_for_dynamic(tile.threads, groups * ((D + block - 1) / block), [=](int64_t i) {
    const int64_t row = i % groups * group, column = i / groups * block;
    multiply_packed<Op>(to + row * D + column, D, weights + row * depth, smaller(group, rows - row),
                        channels + column * depth, smaller(block, D - column), depth, add);
  });
}

template <typename Op>
static void add_dqueries_as(const InfoNceTile& tile, float* dqueries, bool add) {
  const ScoreTile& scores = tile.scores;
  add_product<Op>(dqueries, scores.rows, scores.columns, tile.row_weights, tile.target_channels, scores, add);
}

template <typename Op>
static void add_dtargets_as(const InfoNceTile& tile, float* dtargets, bool add) {
  const ScoreTile& scores = tile.scores;
  add_product<Op>(dtargets, scores.columns, scores.rows, tile.column_weights, tile.query_channels, scores, add);
}

static void add_dqueries(const InfoNceTile& tile, float* dqueries, bool add) {
  const bool halved = tile.scores.type == DType::BF16;
  halved ? add_dqueries_as<Halved>(tile, dqueries, add) : add_dqueries_as<Singles>(tile, dqueries, add);
}
static void add_dtargets(const InfoNceTile& tile, float* dtargets, bool add) {
  const bool halved = tile.scores.type == DType::BF16;
  halved ? add_dtargets_as<Halved>(tile, dtargets, add) : add_dtargets_as<Singles>(tile, dtargets, add);
}

extern const InfoNceKernels info_nce_kernels = {channel_floats, pack_query_channels, pack_target_channels,
                                                add_row_sums,   add_column_sums,     weigh,
                                                add_dqueries,   add_dtargets};

}  // namespace vlm2vec::VLM2VEC_ISA
