// The plain meaning of top_k.h, for any number type: score everything, sort, cut.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/top_k.h"

namespace vlm2vec {

template <typename Number>
struct TopKEntry {
  Number score;
  int64_t index, order;
  bool last;
  // NaN after everything else.
  bool operator<(const TopKEntry& other) const {
    if (std::isnan(score) != std::isnan(other.score)) return std::isnan(other.score);
    if (score != other.score && !std::isnan(score)) return score > other.score;
    if (last != other.last) return other.last;
    return order < other.order;
  }
};

// indices, scores (B, k); `score(i, j)` is query i's score of target j.
template <typename Number, typename Score>
void top_k_reference(int32_t* indices, Number* scores, int64_t B, int64_t N, const TopKOptions& options,
                     const Score& score) {
  for (int64_t i = 0; i < B; ++i) {
    std::vector<TopKEntry<Number>> entries;
    const int64_t begin = options.candidates ? options.candidate_starts[i] : 0;
    const int64_t end = options.candidates ? options.candidate_starts[i + 1] : N;
    for (int64_t n = begin; n < end; ++n) {
      const int64_t j = options.candidates ? options.candidates[n] : n;
      bool last = false;
      for (int64_t l = options.last ? options.last_starts[i] : 0; options.last && l < options.last_starts[i + 1]; ++l)
        last = last || options.last[l] == j;
      entries.push_back({score(i, j), j, n, last});
    }
    std::sort(entries.begin(), entries.end());
    for (int64_t n = 0; n < options.k; ++n) {
      const bool exists = n < int64_t(entries.size());
      indices[i * options.k + n] = exists ? int32_t(entries[size_t(n)].index) : -1;
      scores[i * options.k + n] = exists ? entries[size_t(n)].score : -std::numeric_limits<Number>::infinity();
    }
  }
}

}  // namespace vlm2vec
