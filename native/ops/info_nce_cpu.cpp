#include "core/parallel.h"
#include "ops/info_nce_kernels.h"
#include "ops/microkernel.h"

namespace vlm2vec::VLM2VEC_ISA {

constexpr int64_t kStride = kScoreTile;
constexpr int64_t kRowGroup = 96;  // rows of one thread at a time

static const float kInfinity = __builtin_inff();

static int64_t channel_floats(int64_t D) { return kStride * round_up(D, kColumns); }

// Panels of kColumns channels, depth `rows`.
static void pack_as_channels(float* to, const float* from, int64_t rows, int64_t D, int threads) {
  parallel_for(threads, round_up(D, kColumns) / kColumns, [=](int64_t p) {
    pack_columns<kColumns>(to + p * kColumns * rows, from + p * kColumns, D, smaller(kColumns, D - p * kColumns), rows);
  });
}

static void pack_query_channels(const InfoNceTile& tile) {
  pack_as_channels(tile.query_channels, tile.scores.queries, tile.scores.rows, tile.scores.D, tile.scores.threads);
}

static void pack_target_channels(const InfoNceTile& tile) {
  pack_as_channels(tile.target_channels, tile.scores.targets, tile.scores.columns, tile.scores.D, tile.scores.threads);
}

// ---------------------------------------------------------------------------------------------------------------------
// Sums of exponentials. A row or column without any negative so far has highest -inf and sum 0; NaN stays NaN.

static void add_row_sums(const InfoNceTile& tile, float* highest, double* sums) {
  const Floats scale = broadcast(tile.inverse_temperature);
  parallel_for(tile.scores.threads, tile.scores.rows, [=](int64_t i) {
    float* scores = tile.scores.scores + i * kStride;
    const int64_t width = round_up(tile.scores.columns, kLanes);
    for (int64_t j = tile.scores.columns; j < width; ++j) scores[j] = -kInfinity;
    Floats top = broadcast(-kInfinity);
    for (int64_t j = 0; j < width; j += kLanes) top = max(load(scores + j), top);
    const float here = tile.inverse_temperature * largest(top);
    const float raised = here > highest[i] ? here : highest[i];
    const Floats shift = broadcast(raised == -kInfinity ? 0 : -raised);
    Floats total = {};
    for (int64_t j = 0; j < width; j += kLanes) total += exp(multiply_add(load(scores + j), scale, shift));
    const double before = sums[i] > 0 ? sums[i] * __builtin_exp(double(highest[i]) - double(raised)) : sums[i];
    sums[i] = before + double(sum(total));
    highest[i] = raised;
  });
}

// kLanes columns at a time; f32 over kRowGroup rows, f64 over groups.
static void add_column_sums(const InfoNceTile& tile, float* highest, double* sums) {
  const Floats scale = broadcast(tile.inverse_temperature);
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
        partial += exp(multiply_add(load(scores + i * kStride), scale, load(shift)));
      store(part, partial);
      for (int64_t j = 0; j < kLanes; ++j) total[j] += double(part[j]);
    }
    for (int64_t j = 0; j < count; ++j) {
      double& sum = sums[first + j];
      sum = (sum > 0 ? sum * __builtin_exp(double(highest[first + j]) - double(raised[j])) : sum) + total[j];
      highest[first + j] = raised[j];
    }
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// Gradients

static void weigh(const InfoNceTile& tile, const float* row_shift, float row_weight, const float* column_shift,
                  float column_weight) {
  const Floats scale = broadcast(tile.inverse_temperature);
  parallel_for(tile.scores.threads, tile.scores.rows, [=](int64_t i) {
    float* scores = tile.scores.scores + i * kStride;
    const Floats shift = broadcast(-row_shift[i]);
    for (int64_t j = 0; j < tile.scores.columns; j += kLanes) {
      const Floats s = load(scores + j);
      Floats g = exp(multiply_add(s, scale, shift)) * broadcast(row_weight);
      if (column_shift) {
        const Floats column = load(column_shift + j, lanes(tile.scores.columns - j));
        g = multiply_add(exp(multiply_add(s, scale, -column)), broadcast(column_weight), g);
      }
      store(scores + j, g);
    }
  });
}

// to (rows, D) += A · channels, where element (i, k) of A is scores[i * row_step + k * depth_step].
template <int64_t row_step, int64_t depth_step>
static void add_product(float* to, int64_t rows, int64_t depth, const float* channels, const InfoNceTile& tile) {
  constexpr int64_t kPanels = 8;
  const int64_t D = tile.scores.D, panels = round_up(D, kColumns) / kColumns;
  const int64_t row_groups = round_up(rows, kRowGroup) / kRowGroup, panel_groups = round_up(panels, kPanels) / kPanels;
  parallel_for_dynamic(tile.scores.threads, row_groups * panel_groups, [=](int64_t item) {
    const int64_t first = item % row_groups * kRowGroup, last = smaller(rows, first + kRowGroup);
    const int64_t first_panel = item / row_groups * kPanels, last_panel = smaller(panels, first_panel + kPanels);
    float c[kRows * kColumns];
    for (int64_t k = 0; k < depth; k += kDepth)
      for (int64_t p = first_panel; p < last_panel; ++p)
        for (int64_t i = first; i < last; i += kRows) {
          const float* a = tile.scores.scores + i * row_step + k * depth_step;
          const float* b = channels + (p * depth + k) * kColumns;
          const int64_t count = smaller(kRows, rows - i), width = smaller(kColumns, D - p * kColumns);
          const int64_t block = smaller(kDepth, depth - k);
          float* out = to + i * D + p * kColumns;
          if (count == kRows && width == kColumns) {
            multiply_tile<row_step, depth_step>(out, D, a, b, block, true);
            continue;
          }
          multiply_tile<row_step, depth_step>(c, kColumns, a, b, block, false);
          for (int64_t y = 0; y < count; ++y)
            for (int64_t x = 0; x < width; ++x) out[y * D + x] += c[y * kColumns + x];
        }
  });
}

static void add_dqueries(const InfoNceTile& tile, float* dqueries) {
  add_product<kStride, 1>(dqueries, tile.scores.rows, tile.scores.columns, tile.target_channels, tile);
}

static void add_dtargets(const InfoNceTile& tile, float* dtargets) {
  add_product<1, kStride>(dtargets, tile.scores.columns, tile.scores.rows, tile.query_channels, tile);
}

extern const InfoNceKernels info_nce_kernels = {channel_floats, pack_query_channels, pack_target_channels,
                                                add_row_sums,   add_column_sums,     weigh,
                                                add_dqueries,   add_dtargets};

}  // namespace vlm2vec::VLM2VEC_ISA
