// Which pairs of queries and targets are no negatives, and the exact terms of the positive ones. Host memory.
#pragma once
#include <vector>

#include "ops/info_nce.h"

namespace vlm2vec {

// E_BATCH for a positive out of range, a query without one, lists that fall; E_OPTION for half a mask.
void check_pairs(const InfoNceOptions& options, int64_t B, int64_t N);

class InfoNcePairs {
 public:
  InfoNcePairs(const InfoNceOptions& options, int64_t B, int64_t N);

  // One entry is one (query, positive target) of the lists. Entries of query i: entry_begin(i) .. entry_begin(i + 1).
  int64_t entry_begin(int64_t i) const { return options_.positive_starts[i]; }
  int64_t entry_count() const { return options_.positive_starts[B_]; }
  int64_t target_of(int64_t entry) const { return options_.positives[entry]; }
  int64_t query_of(int64_t entry) const { return query_of_[size_t(entry)]; }
  // Entries that name target j, in order of the queries: by_target(n) for n in target_begin(j) .. target_begin(j + 1).
  int64_t target_begin(int64_t j) const { return target_starts_[size_t(j)]; }
  int64_t by_target(int64_t n) const { return by_target_[size_t(n)]; }
  int64_t named_targets() const { return named_targets_; }

  // scores[j - first] = -inf for every target j in [first, first + count) that is no negative of query i.
  void exclude(float* scores, int64_t i, int64_t first, int64_t count) const;

 private:
  InfoNceOptions options_;
  int64_t B_, N_, named_targets_ = 0;
  std::vector<int32_t> query_of_, target_starts_, by_target_;
  std::vector<int32_t> by_id_;  // targets with an id, ordered by id, then by index
};

}  // namespace vlm2vec
