#include "ops/top_k.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/parallel.h"
#include "ops/op_check.h"
#include "ops/score_kernels.h"

namespace vlm2vec {

namespace {

// Kept entries of all rows that are ranked at a time take about this much.
constexpr int64_t kKeptBytes = int64_t(64) << 20;

struct Entry {
  float score;
  int32_t index, order;
  bool last;
};

bool before(const Entry& a, const Entry& b) {
  const bool a_nan = std::isnan(a.score), b_nan = std::isnan(b.score);
  if (a_nan != b_nan) return b_nan;
  if (!a_nan && a.score != b.score) return a.score > b.score;
  if (a.last != b.last) return b.last;
  return a.order < b.order;
}

// The k first of what is offered, in memory for `capacity` entries (at least k; more is faster).
class Best {
 public:
  Best(Entry* entries, int64_t k, int64_t capacity, const int32_t* last, const int32_t* last_end)
      : entries_(entries), k_(k), capacity_(capacity), last_(last), last_end_(last_end) {}

  void offer(float score, int64_t index, int64_t order) {
    if (full_ && score < worst_.score) return;
    const Entry entry = {score, int32_t(index), int32_t(order), std::find(last_, last_end_, index) != last_end_};
    if (full_ && !before(entry, worst_)) return;
    if (count_ == capacity_) cut();
    if (full_ && !before(entry, worst_)) return;
    entries_[count_++] = entry;
  }

  void write(int32_t* indices, float* scores) {
    std::sort(entries_, entries_ + count_, before);
    for (int64_t n = 0; n < k_; ++n) {
      indices[n] = n < count_ ? entries_[n].index : -1;
      scores[n] = n < count_ ? entries_[n].score : -std::numeric_limits<float>::infinity();
    }
  }

 private:
  void cut() {
    std::nth_element(entries_, entries_ + k_ - 1, entries_ + count_, before);
    count_ = k_;
    worst_ = entries_[k_ - 1];
    full_ = true;
  }

  Entry* entries_;
  int64_t k_, capacity_, count_ = 0;
  const int32_t *last_, *last_end_;
  Entry worst_ = {};
  bool full_ = false;  // worst_ is the k-th of those offered before the last cut
};

struct Ranking {
  int32_t* indices;
  float* scores;
  const float *queries, *targets;
  int64_t B, N, D;
  const TopKOptions& options;
  Device& device;
  Arena& scratch;
  const ScoreKernels& kernel;

  template <typename T>
  T* take(int64_t count) const {
    return static_cast<T*>(scratch.allocate_bytes(size_t(count) * sizeof(T)));
  }

  // Room for more than k, so that cuts are rare; never more than can be offered.
  int64_t capacity(int64_t offered) const {
    return std::max<int64_t>(1, std::min(offered, 2 * std::min(options.k, offered) + 64));
  }

  Best best(Entry* entries, int64_t i, int64_t offered) const {
    const int32_t* last = options.last ? options.last + options.last_starts[i] : nullptr;
    const int32_t* last_end = options.last ? options.last + options.last_starts[i + 1] : nullptr;
    return Best(entries, options.k, capacity(offered), last, last_end);
  }
};

void rank_all(const Ranking& r) {
  const int threads = r.device.threads();
  const int64_t capacity = r.capacity(r.N);
  const int64_t rows =
      std::min({kScoreTile, r.B, std::max<int64_t>(12, kKeptBytes / (capacity * int64_t(sizeof(Entry))))});
  Entry* entries = r.take<Entry>(rows * capacity);
  ScoreTile tile = {};
  tile.D = r.D, tile.threads = threads;
  tile.scores = r.take<float>(padded(rows) * kScoreTile);
  tile.query_rows = r.take<float>(padded(rows) * r.D);
  tile.target_columns = r.take<float>(padded(std::min(kScoreTile, r.N)) * r.D);
  for (int64_t i = 0; i < r.B; i += rows) {
    tile.queries = r.queries + i * r.D, tile.rows = std::min(rows, r.B - i);
    r.kernel.pack_queries(tile);
    std::vector<Best> best;
    for (int64_t n = 0; n < tile.rows; ++n) best.push_back(r.best(entries + n * capacity, i + n, r.N));
    for (int64_t j = 0; j < r.N; j += kScoreTile) {
      tile.targets = r.targets + j * r.D, tile.columns = std::min(kScoreTile, r.N - j);
      r.kernel.pack_targets(tile);
      r.kernel.multiply(tile);
      parallel_for(threads, tile.rows, [&](int64_t row) {
        for (int64_t n = 0; n < tile.columns; ++n)
          best[size_t(row)].offer(tile.scores[row * kScoreTile + n], j + n, j + n);
      });
    }
    parallel_for(threads, tile.rows, [&](int64_t row) {
      best[size_t(row)].write(r.indices + (i + row) * r.options.k, r.scores + (i + row) * r.options.k);
    });
  }
}

void rank_candidates(const Ranking& r) {
  const int threads = r.device.threads();
  const int32_t* starts = r.options.candidate_starts;
  int64_t most = 1;
  for (int64_t i = 0; i < r.B; ++i) most = std::max<int64_t>(most, starts[i + 1] - starts[i]);
  const int64_t capacity = r.capacity(most), floats = r.kernel.candidate_floats(r.D);
  Entry* entries = r.take<Entry>(threads * capacity);
  float *scores = r.take<float>(threads * most), *scratch = r.take<float>(threads * floats);
  parallel_for_dynamic(threads, r.B, [&](int64_t i) {
    const int thread = omp_get_thread_num();
    const int32_t* candidates = r.options.candidates + starts[i];
    const int64_t count = starts[i + 1] - starts[i];
    float* row = scores + thread * most;
    r.kernel.multiply_candidates(row, r.queries + i * r.D, r.targets, r.D, candidates, count,
                                 scratch + thread * floats);
    Best best = r.best(entries + thread * capacity, i, most);
    for (int64_t n = 0; n < count; ++n) best.offer(row[n], candidates[n], n);
    best.write(r.indices + i * r.options.k, r.scores + i * r.options.k);
  });
}

void check_list(const char* name, const int32_t* starts, const int32_t* list, int64_t B, int64_t N) {
  require(bool(starts) == bool(list), "E_OPTION", "top_k: ", name, " need both starts and indices");
  if (!starts) return;
  require(starts[0] == 0, "E_BATCH", "top_k: ", name, " begin at ", starts[0], ", not at 0");
  for (int64_t i = 0; i < B; ++i) {
    require(starts[i] <= starts[i + 1], "E_BATCH", "top_k: ", name, " fall at query ", i);
    for (int32_t n = starts[i]; n < starts[i + 1]; ++n)
      require(list[n] >= 0 && list[n] < N, "E_BATCH", "top_k: ", name, " of query ", i, " hold ", list[n],
              ", which is not one of the ", N, " targets");
  }
}

}  // namespace

void top_k(int32_t* indices, float* scores, Tensor queries, Tensor targets, const TopKOptions& options,
           Arena& scratch) {
  const OpCheck check("top_k", "queries", queries);
  check.main(2, Types::F32);
  const int64_t B = queries.rows(), D = queries.shape[1], N = targets.rank == 2 ? targets.rows() : 0;
  check.fits("targets", targets, {N, D}, Types::F32);
  check.on_cpu();
  require(options.k > 0, "E_OPTION", "top_k: k ", options.k, " is not above 0");
  check_list("candidates", options.candidate_starts, options.candidates, B, N);
  check_list("last", options.last_starts, options.last, B, N);
  if (B == 0) return;
  const ArenaScope scope(scratch);
  const ScoreKernels& kernel = VLM2VEC_KERNELS(queries.device->isa(), score_kernels);
  const Ranking ranking = {indices, scores, queries.as<float>(), targets.as<float>(), B, N, D, options, *queries.device,
                           scratch, kernel};
  if (options.candidates)
    rank_candidates(ranking);
  else
    rank_all(ranking);
}

}  // namespace vlm2vec
