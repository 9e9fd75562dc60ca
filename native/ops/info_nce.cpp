#include "ops/info_nce.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "ops/info_nce_kernels.h"
#include "ops/info_nce_pairs.h"
#include "ops/op_check.h"
#include "ops/small_work.h"

namespace vlm2vec {

namespace cuda {
InfoNceResult info_nce(Tensor dqueries, Tensor dtargets, Tensor queries, Tensor targets, const InfoNceOptions& options,
                       Arena& scratch);
}  // namespace cuda

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kLog2 = 0.693147180559945309;
// Tiles of scores that the second pass finds as the first has left them: 95 MiB. The others are made again.
constexpr int64_t kKeptTiles = 12;

double dot(const float* a, const float* b, int64_t size) {
  double sums[4] = {};
  int64_t c = 0;
  for (; c + 4 <= size; c += 4)
    for (int n = 0; n < 4; ++n) sums[n] += double(a[c + n]) * double(b[c + n]);
  for (; c < size; ++c) sums[0] += double(a[c]) * double(b[c]);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// log(1 + e^x)
double softplus(double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }

// One direction: queries to targets (rows), or back (columns). With log_rest = log R of the header:
struct Direction {
  float* highest;  // online sum of the negatives; this and shift are in units of log 2
  double* sums;
  float* shift;    // L = -log mean over positives of 1 / (R + e^s): a negative's gradient is e^(s - L)
  double* losses;  // of each row or column
  double weight;   // of each in the whole loss
};

class CpuInfoNce {
 public:
  CpuInfoNce(Tensor queries, Tensor targets, const InfoNceOptions& options, bool gradients, Arena& scratch)
      : B_(queries.rows()),
        N_(targets.rows()),
        D_(queries.shape[1]),
        options_(options),
        scratch_(scratch),
        device_(*queries.device),
        threads_(threads_for(device_, queries.rows() * targets.rows() * queries.shape[1])),
        q_(queries.as<float>()),
        t_(targets.as<float>()),
        score_(VLM2VEC_KERNELS(device_.isa(), score_kernels)),
        kernel_(VLM2VEC_KERNELS(device_.isa(), info_nce_kernels)),
        pairs_(options, B_, N_) {
    const int64_t tiles = tiles_of(B_) * tiles_of(N_);
    kept_ = gradients ? std::min(tiles, kKeptTiles) : 0;
    scores_ = floats(std::min(tiles, kept_ + 1) * tile_floats());
    const double half = options.symmetric ? 0.5 : 1.0;
    rows_ = direction(B_, half / double(B_));
    if (options.symmetric) columns_ = direction(N_, half / double(pairs_.named_targets()));
    positive_scores_ = numbers(pairs_.entry_count());
    dpositive_ = numbers(pairs_.entry_count());
  }

  double loss() {
    each_tile(false, [&](const InfoNceTile& tile, int64_t i, int64_t j) {
      kernel_.add_row_sums(tile, rows_.highest + i, rows_.sums + i);
      if (options_.symmetric) kernel_.add_column_sums(tile, columns_.highest + j, columns_.sums + j);
    });
    parallel_for(threads_, pairs_.entry_count(), [&](int64_t e) {
      positive_scores_[e] =
          dot(q_ + pairs_.query_of(e) * D_, t_ + pairs_.target_of(e) * D_, D_) / double(options_.temperature);
      dpositive_[e] = 0;
    });
    // one after the other: both add to the gradients of the positives
    parallel_for(threads_, B_, [&](int64_t i) {
      finish(rows_, i, pairs_.entry_begin(i), pairs_.entry_begin(i + 1), [](int64_t n) { return n; });
    });
    if (options_.symmetric)
      parallel_for(threads_, N_, [&](int64_t j) {
        finish(columns_, j, pairs_.target_begin(j), pairs_.target_begin(j + 1),
               [&](int64_t n) { return pairs_.by_target(n); });
      });
    double total = 0;
    for (int64_t i = 0; i < B_; ++i) total += rows_.weight * rows_.losses[i];
    for (int64_t j = 0; j < N_ && options_.symmetric; ++j) total += columns_.weight * columns_.losses[j];
    return total;
  }

  // After loss(). Returns dtemperature.
  double gradients(float* dq, float* dt) {
    const float scale = 1 / options_.temperature;
    each_tile(true, [&](const InfoNceTile& tile, int64_t i, int64_t j) {
      kernel_.weigh(tile, rows_.shift + i, float(rows_.weight) * scale,
                    options_.symmetric ? columns_.shift + j : nullptr, float(columns_.weight) * scale);
      kernel_.add_dqueries(tile, dq + i * D_, j > 0);
      kernel_.add_dtargets(tile, dt + j * D_, i > 0);
    });
    parallel_for(threads_, B_, [&](int64_t i) {
      for (int64_t e = pairs_.entry_begin(i); e < pairs_.entry_begin(i + 1); ++e)
        add_scaled(dq + i * D_, t_ + pairs_.target_of(e) * D_, float(dpositive_[e] / double(options_.temperature)));
      rows_.sums[i] = dot(q_ + i * D_, dq + i * D_, D_);  // sum_j s_ij dloss/ds_ij
    });
    parallel_for(threads_, N_, [&](int64_t j) {
      for (int64_t n = pairs_.target_begin(j); n < pairs_.target_begin(j + 1); ++n)
        add_scaled(dt + j * D_, q_ + pairs_.query_of(pairs_.by_target(n)) * D_,
                   float(dpositive_[pairs_.by_target(n)] / double(options_.temperature)));
    });
    double total = 0;
    for (int64_t i = 0; i < B_; ++i) total += rows_.sums[i];
    return -total / double(options_.temperature);
  }

 private:
  float* floats(int64_t count) { return static_cast<float*>(scratch_.allocate_bytes(size_t(count) * sizeof(float))); }
  double* numbers(int64_t count) {
    return static_cast<double*>(scratch_.allocate_bytes(size_t(count) * sizeof(double)));
  }

  Direction direction(int64_t count, double weight) {
    Direction d = {floats(count), numbers(count), floats(count), numbers(count), weight};
    for (int64_t i = 0; i < count; ++i) {
      d.highest[i] = -std::numeric_limits<float>::infinity();
      d.sums[i] = 0;
    }
    return d;
  }

  int64_t tile_floats() const { return padded(std::min(kScoreTile, B_)) * kScoreTile; }
  static int64_t tiles_of(int64_t rows) { return (rows + kScoreTile - 1) / kScoreTile; }

  // f(tile, i, j) for every tile of scores, in a fixed order; (i, j) is where it begins, positives and masked are -inf.
  template <typename F>
  void each_tile(bool gradients, const F& f) {
    const ArenaScope scope(scratch_);
    InfoNceTile tile = {};
    ScoreTile& scores = tile.scores;
    scores.D = D_, scores.threads = threads_;
    const int64_t rows = padded(std::min(kScoreTile, B_)), columns = padded(std::min(kScoreTile, N_));
    scores.query_rows = floats(rows * D_), scores.target_columns = floats(columns * D_);
    tile.steepness = float(1 / (kLog2 * double(options_.temperature)));
    scores.type = options_.dtype;
    if (gradients) {
      tile.query_channels = floats(kernel_.channel_floats(rows, D_));
      tile.target_channels = floats(kernel_.channel_floats(columns, D_));
      tile.row_weights = floats(rows * columns), tile.column_weights = floats(rows * columns);
    }
    int64_t index = 0;
    for (int64_t j = 0; j < N_; j += kScoreTile) {
      scores.targets = t_ + j * D_, scores.columns = std::min(kScoreTile, N_ - j);
      if (!gradients || index + tiles_of(B_) > kept_) score_.pack_targets(scores);
      if (gradients) kernel_.pack_target_channels(tile);
      for (int64_t i = 0; i < B_; i += kScoreTile, ++index) {
        scores.queries = q_ + i * D_, scores.rows = std::min(kScoreTile, B_ - i);
        scores.scores = scores_ + std::min(index, kept_) * tile_floats();
        if (gradients) kernel_.pack_query_channels(tile);
        if (!gradients || index >= kept_) make_scores(scores, i, j);
        f(tile, i, j);
      }
    }
  }

  void make_scores(const ScoreTile& tile, int64_t i, int64_t j) const {
    score_.pack_queries(tile);
    score_.multiply(tile);
    parallel_for(threads_, tile.rows,
                 [&](int64_t row) { pairs_.exclude(tile.scores + row * kScoreTile, i + row, j, tile.columns); });
  }

  // Loss, shift and the positives' gradients of row or column i, whose positives are entry(n), n in [begin, end).
  template <typename Entry>
  void finish(Direction& d, int64_t i, int64_t begin, int64_t end, const Entry& entry) {
    d.losses[i] = 0;
    d.shift[i] = float(kInfinity);  // a target that is nobody's positive: no loss, no gradient
    if (begin == end) return;
    const double log_rest = d.sums[i] == 0 ? -kInfinity : kLog2 * double(d.highest[i]) + std::log(d.sums[i]);
    const double count = double(end - begin);
    double lowest = kInfinity, mean = 0;
    for (int64_t n = begin; n < end; ++n) {
      const double s = positive_scores_[entry(n)], loss = softplus(log_rest - s);
      d.losses[i] += loss / count;
      dpositive_[entry(n)] += d.weight * std::expm1(-loss) / count;
      lowest = std::min(lowest, s + loss);
    }
    for (int64_t n = begin; n < end; ++n) {
      const double s = positive_scores_[entry(n)];
      mean += std::exp(lowest - s - softplus(log_rest - s)) / count;
    }
    d.shift[i] = float((lowest - std::log(mean)) / kLog2);
  }

  void add_scaled(float* to, const float* x, float factor) const {
    for (int64_t c = 0; c < D_; ++c) to[c] += factor * x[c];
  }

  int64_t B_, N_, D_;
  const InfoNceOptions& options_;
  Arena& scratch_;
  Device& device_;
  int threads_;
  const float *q_, *t_;
  const ScoreKernels& score_;
  const InfoNceKernels& kernel_;
  InfoNcePairs pairs_;
  int64_t kept_;  // tiles; those after them share the place of one
  float* scores_;
  Direction rows_ = {}, columns_ = {};
  double *positive_scores_, *dpositive_;  // by entry
};

}  // namespace

InfoNceResult info_nce(Tensor dqueries, Tensor dtargets, Tensor queries, Tensor targets, const InfoNceOptions& options,
                       Arena& scratch) {
  const OpCheck check("info_nce", "queries", queries);
  check.main(2, Types::F32);
  const int64_t B = queries.rows(), D = queries.shape[1];
  check.fits("targets", targets, {targets.rank == 2 ? targets.rows() : 0, D}, Types::F32);
  require(bool(dqueries) == bool(dtargets), "E_SHAPE", "info_nce: only one of dqueries ", dqueries, " and dtargets ",
          dtargets, " is given");
  if (dqueries) {
    check.fits("dqueries", dqueries, {B, D}, Types::F32);
    OpCheck("info_nce", "targets", targets).fits("dtargets", dtargets, {targets.rows(), D}, Types::F32);
  }
  require(options.temperature > 0, "E_OPTION", "info_nce: temperature ", options.temperature, " is not above 0");
  require(options.dtype == DType::F32 || options.dtype == DType::BF16, "E_OPTION", "info_nce: products of ",
          name_of(options.dtype), " are neither f32 nor bf16");
  require(B > 0, "E_BATCH", "info_nce: there are no queries");
  check_pairs(options, B, targets.rows());
  VLM2VEC_DISPATCH_CUDA(*queries.device, info_nce(dqueries, dtargets, queries, targets, options, scratch));
  const ArenaScope scope(scratch);
  CpuInfoNce problem(queries, targets, options, bool(dqueries), scratch);
  InfoNceResult result = {problem.loss(), 0};
  if (dqueries) result.dtemperature = problem.gradients(dqueries.as<float>(), dtargets.as<float>());
  return result;
}

}  // namespace vlm2vec
