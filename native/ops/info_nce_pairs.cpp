#include "ops/info_nce_pairs.h"

#include <algorithm>
#include <limits>

namespace vlm2vec {

namespace {

void check_starts(const char* name, const int32_t* starts, int64_t B) {
  require(starts[0] == 0, "E_BATCH", "info_nce: ", name, " begin at ", starts[0], ", not at 0");
  for (int64_t i = 0; i < B; ++i)
    require(starts[i] <= starts[i + 1], "E_BATCH", "info_nce: ", name, " fall at query ", i);
}

}  // namespace

void check_pairs(const InfoNceOptions& options, int64_t B, int64_t N) {
  require(options.positive_starts && options.positives, "E_OPTION", "info_nce: no positives are given");
  check_starts("positive_starts", options.positive_starts, B);
  for (int64_t i = 0; i < B; ++i) {
    require(options.positive_starts[i] < options.positive_starts[i + 1], "E_BATCH", "info_nce: query ", i,
            " has no positive");
    for (int32_t e = options.positive_starts[i]; e < options.positive_starts[i + 1]; ++e)
      require(options.positives[e] >= 0 && options.positives[e] < N, "E_BATCH", "info_nce: positive ",
              options.positives[e], " of query ", i, " is not one of the ", N, " targets");
  }
  const bool mask = options.query_id_starts || options.query_ids || options.target_ids;
  if (!mask) return;
  require(options.query_id_starts && options.query_ids && options.target_ids, "E_OPTION",
          "info_nce: a mask needs query_id_starts, query_ids and target_ids");
  check_starts("query_id_starts", options.query_id_starts, B);
}

InfoNcePairs::InfoNcePairs(const InfoNceOptions& options, int64_t B, int64_t N) : options_(options), B_(B), N_(N) {
  query_of_.resize(size_t(entry_count()));
  by_target_.resize(size_t(entry_count()));
  target_starts_.assign(size_t(N) + 1, 0);
  for (int64_t i = 0; i < B; ++i)
    for (int64_t e = entry_begin(i); e < entry_begin(i + 1); ++e) {
      query_of_[size_t(e)] = int32_t(i);
      ++target_starts_[size_t(target_of(e)) + 1];
    }
  for (int64_t j = 0; j < N; ++j) {
    named_targets_ += target_starts_[size_t(j) + 1] > 0;
    target_starts_[size_t(j) + 1] += target_starts_[size_t(j)];
  }
  std::vector<int32_t> next = target_starts_;
  for (int64_t e = 0; e < entry_count(); ++e) by_target_[size_t(next[size_t(target_of(e))]++)] = int32_t(e);
  if (!options.target_ids) return;
  for (int64_t j = 0; j < N; ++j)
    if (options.target_ids[j] >= 0) by_id_.push_back(int32_t(j));
  std::stable_sort(by_id_.begin(), by_id_.end(),
                   [&](int32_t a, int32_t b) { return options.target_ids[a] < options.target_ids[b]; });
}

void InfoNcePairs::exclude(float* scores, int64_t i, int64_t first, int64_t count) const {
  constexpr float kExcluded = -std::numeric_limits<float>::infinity();
  for (int64_t e = entry_begin(i); e < entry_begin(i + 1); ++e) {
    const int64_t j = target_of(e) - first;
    if (j >= 0 && j < count) scores[j] = kExcluded;
  }
  if (!options_.query_ids) return;
  const int32_t* ids = options_.target_ids;
  for (int32_t n = options_.query_id_starts[i]; n < options_.query_id_starts[i + 1]; ++n) {
    const int32_t id = options_.query_ids[n];
    if (id < 0) continue;
    // the first target of this id that is not before the tile
    auto place = std::lower_bound(by_id_.begin(), by_id_.end(), id, [&](int32_t j, int32_t wanted) {
      return ids[j] < wanted || (ids[j] == wanted && j < first);
    });
    for (; place != by_id_.end() && ids[*place] == id && *place < first + count; ++place)
      scores[*place - first] = kExcluded;
  }
}

}  // namespace vlm2vec
