#include "core/parallel.h"
#include "ops/info_nce_kernels.h"
#include "ops/microkernel.h"

namespace vlm2vec::VLM2VEC_ISA {

constexpr int64_t kStride = kScoreTile;
constexpr int64_t kRowGroup = 96;  // rows of one thread at a time

static const float kInfinity = __builtin_inff();

static int64_t channel_floats(int64_t D) { return kStride * round_up(D, kColumns); }

// Panels of kColumns channels, depth `rows`.
template <typename Op>
static void pack_as_channels(float* to, const float* from, int64_t rows, int64_t D, int threads) {
  parallel_for(threads, round_up(D, kColumns) / kColumns, [=](int64_t p) {
    pack_depth<Op, kColumns>(to + p * kColumns * words<Op>(rows), smaller(kColumns, D - p * kColumns), rows,
                             [=](int64_t k) { return from + k * D + p * kColumns; });
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

// kLanes columns at a time; f32 over kRowGroup rows, f64 over groups.
static void add_column_sums(const InfoNceTile& tile, float* highest, double* sums) {
  const Floats scale = broadcast(tile.steepness);
  parallel_for(tile.scores.threads, round_up(tile.scores.columns, kLanes) / kLanes, [=](int64_t group) {
    const int64_t first = group * kLanes, count = smaller(kLanes, tile.scores.columns - first);
    const float* scores = tile.scores.scores + first;
    Floats top = broadcast(-kInfinity);
    for (int64_t i = 0; i < tile.scores.rows; ++i) top = max(load(scores + i * kStride), top);
    float raised[kLanes], shift[kLanes], part[kLanes];
    store(raised, top * scale);
    for (int64_t j = 0; j < kLanes; ++j) {
      if (j < count && !(raised[j] > highest[first + j])) raised[j] = highest[first + j];
      shift[j] = raised[j] == -kInfinity ? 0 : -raised[j];
    }
    double total[kLanes] = {};
    for (int64_t row = 0; row < tile.scores.rows; row += kRowGroup) {
      Floats partial = {};
      for (int64_t i = row; i < smaller(row + kRowGroup, tile.scores.rows); ++i)
        partial += exp2(multiply_add(load(scores + i * kStride), scale, load(shift)));
      store(part, partial);
      for (int64_t j = 0; j < kLanes; ++j) total[j] += double(part[j]);
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

// Words of weights. By columns, for dtargets: word (i, j) is rows i .. of column j, at scores[i * kStride + j]. By
// rows, for dqueries: the same where a word is one number, and else row_weights.
template <typename Op>
static void weigh_as(const InfoNceTile& tile, const float* row_shift, float row_weight, const float* column_shift,
                     float column_weight) {
  const Floats scale = broadcast(tile.steepness);
  const int64_t rows = tile.scores.rows, columns = tile.scores.columns;
  parallel_for(tile.scores.threads, words<Op>(rows), [=](int64_t word) {
    const int64_t i = word * Op::kNumbers;
    float* scores = tile.scores.scores + i * kStride;
    const auto weights = [&](int64_t row, int64_t j) {
      const int n = lanes(columns - j);
      const Floats s = load(scores + row * kStride + j);
      Floats g = exp2(multiply_add(s, scale, broadcast(-row_shift[i + row]))) * broadcast(row_weight);
      if (column_shift) {
        const Floats column = load(column_shift + j, n);
        g = multiply_add(exp2(multiply_add(s, scale, -column)), broadcast(column_weight), g);
      }
      for (int lane = n; lane < kLanes; ++lane) g[lane] = 0;
      return g;
    };
    for (int64_t j = 0; j < columns; j += kLanes) {
      const Floats g = weights(0, j);
      if constexpr (Op::kNumbers == 1) {
        store(scores + j, g);
      } else {
        const Floats next = i + 1 < rows ? weights(1, j) : Floats{};
        float* by_rows = tile.row_weights + i * kStride / 2 + j / 2;
        store_words<Op>(by_rows, g);
        store_words<Op>(by_rows + kStride / 2, next);
        store(scores + j, pair(g, next));
      }
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

// to (rows, D) += A · channels over `depth` numbers, where word (i, k) of A is weights[i * row_step + k * depth_step].
template <int64_t row_step, int64_t depth_step, typename Op>
static void add_product(float* to, int64_t rows, int64_t numbers, const float* weights, const float* channels,
                        const ScoreTile& tile) {
  constexpr int64_t kPanels = 8;
  const int64_t D = tile.D, panels = round_up(D, kColumns) / kColumns, depth = words<Op>(numbers);
  const int64_t row_group = tile.threads > 4 ? 96 : 240, row_groups = (rows + row_group - 1) / row_group;
  const int64_t panel_groups = round_up(panels, kPanels) / kPanels;
  parallel_for_dynamic(tile.threads, row_groups * panel_groups, [=](int64_t item) {
    const int64_t first = item % row_groups * row_group, last = smaller(rows, first + row_group);
    const int64_t first_panel = item / row_groups * kPanels, last_panel = smaller(panels, first_panel + kPanels);
    float c[kRows * kColumns];
    for (int64_t k = 0; k < depth; k += kDepth)
      for (int64_t p = first_panel; p < last_panel; ++p)
        for (int64_t i = first; i < last; i += kRows) {
          const float* a = weights + i * row_step + k * depth_step;
          const float* b = channels + (p * depth + k) * kColumns;
          const int64_t count = smaller(kRows, rows - i), width = smaller(kColumns, D - p * kColumns);
          const int64_t block = smaller(kDepth, depth - k);
          float* out = to + i * D + p * kColumns;
          if (count == kRows && width == kColumns) {
            multiply_tile<row_step, depth_step, Op>(out, D, a, b, block, true);
            continue;
          }
          multiply_tile<row_step, depth_step, Op>(c, kColumns, a, b, block, false);
          for (int64_t y = 0; y < count; ++y)
            for (int64_t x = 0; x < width; ++x) out[y * D + x] += c[y * kColumns + x];
        }
  });
}

template <typename Op>
static void add_dqueries_as(const InfoNceTile& tile, float* dqueries) {
  const float* by_rows = Op::kNumbers == 1 ? tile.scores.scores : tile.row_weights;
  add_product<kStride / Op::kNumbers, 1, Op>(dqueries, tile.scores.rows, tile.scores.columns, by_rows,
                                             tile.target_channels, tile.scores);
}

template <typename Op>
static void add_dtargets_as(const InfoNceTile& tile, float* dtargets) {
  add_product<1, kStride * Op::kNumbers, Op>(dtargets, tile.scores.columns, tile.scores.rows, tile.scores.scores,
                                             tile.query_channels, tile.scores);
}

static void add_dqueries(const InfoNceTile& tile, float* dqueries) {
  tile.scores.type == DType::BF16 ? add_dqueries_as<Halved>(tile, dqueries) : add_dqueries_as<Singles>(tile, dqueries);
}
static void add_dtargets(const InfoNceTile& tile, float* dtargets) {
  tile.scores.type == DType::BF16 ? add_dtargets_as<Halved>(tile, dtargets) : add_dtargets_as<Singles>(tile, dtargets);
}

extern const InfoNceKernels info_nce_kernels = {channel_floats, pack_query_channels, pack_target_channels,
                                                add_row_sums,   add_column_sums,     weigh,
                                                add_dqueries,   add_dtargets};

}  // namespace vlm2vec::VLM2VEC_ISA
