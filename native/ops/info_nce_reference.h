// The plain formulas of info_nce.h, for any number type, with the whole matrix of scores; what the kernels are tested
// against. Dense (B, D) and (N, D).
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/info_nce.h"

namespace vlm2vec {

template <typename Number>
struct InfoNceReference {
  int64_t B, N, D;
  InfoNceOptions options;
  std::vector<Number> scores, dscores;  // (B, N)
  std::vector<int> named;               // (B, N): how often i names j as a positive
  Number loss = 0, dtemperature = 0;

  bool masked(int64_t i, int64_t j) const {
    if (!options.target_ids || options.target_ids[j] < 0) return false;
    for (int32_t n = options.query_id_starts[i]; n < options.query_id_starts[i + 1]; ++n)
      if (options.query_ids[n] == options.target_ids[j]) return true;
    return false;
  }

  // One row or column: `count` scores, step apart from `first`; `negative(n)` says which take part. Its loss has this
  // weight.
  template <typename Negative>
  void add(int64_t first, int64_t step, int64_t count, Number weight, const Negative& negative) {
    Number highest = -INFINITY, positives = 0;
    for (int64_t n = 0; n < count; ++n) {
      if (named[first + n * step] || negative(n)) highest = std::max(highest, scores[first + n * step]);
      positives += named[first + n * step];
    }
    Number rest = 0;  // of all negatives, times e^-highest
    for (int64_t n = 0; n < count; ++n)
      if (negative(n)) rest += std::exp(scores[first + n * step] - highest);
    for (int64_t p = 0; p < count; ++p) {
      const int64_t at = first + p * step;
      if (!named[at]) continue;
      const Number share = weight * named[at] / positives, own = std::exp(scores[at] - highest);
      loss += share * (highest + std::log(rest + own) - scores[at]);
      dscores[at] -= share * rest / (rest + own);
      for (int64_t n = 0; n < count; ++n)
        if (negative(n))
          dscores[first + n * step] += share * std::exp(scores[first + n * step] - highest) / (rest + own);
    }
  }

  InfoNceReference(int64_t B, int64_t N, int64_t D, const Number* queries, const Number* targets,
                   const InfoNceOptions& options)
      : B(B), N(N), D(D), options(options), scores(B * N), dscores(B * N), named(B * N) {
    std::vector<bool> target_named(N);
    for (int64_t i = 0; i < B; ++i)
      for (int32_t e = options.positive_starts[i]; e < options.positive_starts[i + 1]; ++e) {
        ++named[i * N + options.positives[e]];
        target_named[options.positives[e]] = true;
      }
    for (int64_t i = 0; i < B; ++i)
      for (int64_t j = 0; j < N; ++j) {
        for (int64_t c = 0; c < D; ++c) scores[i * N + j] += queries[i * D + c] * targets[j * D + c];
        scores[i * N + j] /= Number(options.temperature);
      }
    const auto negative = [&](int64_t i, int64_t j) { return !named[i * N + j] && !masked(i, j); };
    const Number half = options.symmetric ? Number(0.5) : Number(1);
    for (int64_t i = 0; i < B; ++i) add(i * N, 1, N, half / B, [&](int64_t j) { return negative(i, j); });
    const auto columns = std::count(target_named.begin(), target_named.end(), true);
    for (int64_t j = 0; j < N && options.symmetric; ++j)
      if (target_named[j]) add(j, N, B, half / columns, [&](int64_t i) { return negative(i, j); });
    for (int64_t n = 0; n < B * N; ++n) dtemperature -= dscores[n] * scores[n] / Number(options.temperature);
  }

  // dqueries (B, D), dtargets (N, D), overwritten
  void gradients(Number* dqueries, Number* dtargets, const Number* queries, const Number* targets) const {
    std::fill(dqueries, dqueries + B * D, Number(0));
    std::fill(dtargets, dtargets + N * D, Number(0));
    for (int64_t i = 0; i < B; ++i)
      for (int64_t j = 0; j < N; ++j)
        for (int64_t c = 0; c < D; ++c) {
          dqueries[i * D + c] += dscores[i * N + j] * targets[j * D + c] / Number(options.temperature);
          dtargets[j * D + c] += dscores[i * N + j] * queries[i * D + c] / Number(options.temperature);
        }
  }
};

}  // namespace vlm2vec
