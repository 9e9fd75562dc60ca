#include "ops/top_k.h"

#include <cmath>
#include <cstring>

#include "harness.h"
#include "ops/top_k_reference.h"

namespace vlm2vec::test {

namespace {

using Numbers = std::vector<double>;

struct Lists {
  std::vector<int32_t> starts = {0}, values = {};
};

// `most` or fewer target indices for each query, in no particular order, with repetitions.
Lists some_targets(int64_t B, int64_t N, int64_t most, uint64_t stream) {
  Lists lists;
  const Numbers random = random_numbers(B * (most + 1), stream);
  for (int64_t i = 0; i < B; ++i) {
    const int64_t count = int64_t(std::fabs(random[size_t(i)]) * 1000) % (most + 1);
    for (int64_t n = 0; n < count; ++n)
      lists.values.push_back(int32_t(int64_t(std::fabs(random[size_t(B + i * most + n)]) * 1e6) % N));
    lists.starts.push_back(int32_t(lists.values.size()));
  }
  return lists;
}

// Small integers: products are exact, and many are equal.
Tensor integers(Tensors& t, int64_t rows, int64_t columns, uint64_t stream) {
  Numbers numbers = random_numbers(rows * columns, stream);
  for (double& number : numbers) number = std::round(number);
  return t.values(DType::F32, {rows, columns}, numbers);
}

struct Result {
  std::vector<int32_t> indices;
  std::vector<float> scores;
  Result(int64_t B, int64_t k) : indices(size_t(B * k), 77), scores(size_t(B * k), 77) {}
};

Result run(Tensor queries, Tensor targets, const TopKOptions& options) {
  Arena scratch(*queries.device, "scratch");
  Result result(queries.rows(), options.k);
  top_k(result.indices.data(), result.scores.data(), queries, targets, options, scratch);
  expect(scratch.used() == 0, "scratch is still taken");
  return result;
}

void check_exact(Tensor queries, Tensor targets, const TopKOptions& options) {
  const int64_t B = queries.rows(), N = targets.rows(), D = queries.shape[1];
  const Numbers q = read(queries), t = read(targets);
  const Result actual = run(queries, targets, options);
  std::vector<int32_t> indices(actual.indices.size());
  Numbers scores(actual.scores.size());
  top_k_reference(indices.data(), scores.data(), B, N, options, [&](int64_t i, int64_t j) {
    double sum = 0;
    for (int64_t c = 0; c < D; ++c) sum += q[size_t(i * D + c)] * t[size_t(j * D + c)];
    return sum;
  });
  for (size_t n = 0; n < indices.size(); ++n) {
    const bool same = double(actual.scores[n]) == scores[n] || (std::isnan(actual.scores[n]) && std::isnan(scores[n]));
    expect(actual.indices[n] == indices[n] && same, "N=", N, " k=", options.k, ": place ", n % size_t(options.k),
           " of query ", n / size_t(options.k), " holds target ", actual.indices[n], " with ", actual.scores[n],
           ", expected ", indices[n], " with ", scores[n]);
  }
}

// Around the tiles of 1440 and the cuts at 2 k + 64; k beyond the number of targets.
void check_ties(Tensors& t) {
  const struct {
    int64_t B, N, D, k;
  } sizes[] = {{1, 1, 1, 1},     {3, 5, 2, 7},    {13, 200, 3, 1},  {2, 961, 5, 10}, {5, 2000, 3, 100},
               {4, 70, 300, 70}, {961, 33, 2, 4}, {2, 1441, 5, 10}, {1441, 33, 2, 4}};
  for (const auto& s : sizes) {
    const Tensor queries = integers(t, s.B, s.D, 1), targets = integers(t, s.N, s.D, 2);
    TopKOptions options = {s.k};
    check_exact(queries, targets, options);
    const Lists last = some_targets(s.B, s.N, 3, 3), candidates = some_targets(s.B, s.N, 150, 4);
    options.last_starts = last.starts.data(), options.last = last.values.data();
    check_exact(queries, targets, options);
    options.candidate_starts = candidates.starts.data(), options.candidates = candidates.values.data();
    check_exact(queries, targets, options);
  }
}

void check_nan(Tensors& t) {
  Numbers numbers = random_numbers(300, 5);
  for (double& number : numbers) number = std::round(number);
  for (size_t n : {0u, 17u, 250u}) numbers[n] = NAN;
  numbers[40] = -INFINITY;
  const Tensor targets = t.values(DType::F32, {300, 1}, numbers), queries = t.values(DType::F32, {2, 1}, {1, 2});
  check_exact(queries, targets, {300});
  check_exact(queries, targets, {298});
  check_exact(queries, targets, {5});
}

void check_same_bits(Tensors& t) {
  const int64_t B = 30, N = 70, D = 301;
  const Tensor queries = t.random(DType::F32, {B, D}), targets = t.random(DType::F32, {N, D});
  const Result all = run(queries, targets, {N});
  std::vector<std::vector<float>> score(B, std::vector<float>(N, 0.0f));
  for (int64_t n = 0; n < B * N; ++n) score[size_t(n / N)][size_t(all.indices[size_t(n)])] = all.scores[size_t(n)];
  const Numbers q = read(queries), v = read(targets);
  Numbers expected, actual;
  for (int64_t i = 0; i < B; ++i)
    for (int64_t j = 0; j < N; ++j) {
      double sum = 0;
      for (int64_t c = 0; c < D; ++c) sum += q[size_t(i * D + c)] * v[size_t(j * D + c)];
      expected.push_back(sum), actual.push_back(double(score[size_t(i)][size_t(j)]));
    }
  expect_near("scores", actual, expected, 1e-12);
  const auto compare = [&](const char* what, const Result& part, int64_t k, int64_t query, int64_t target) {
    for (size_t n = 0; n < part.indices.size(); ++n) {
      if (part.indices[n] < 0) continue;
      const float whole = score[size_t(query + int64_t(n) / k)][size_t(target + part.indices[n])];
      expect(std::memcmp(&part.scores[n], &whole, sizeof whole) == 0, what, ": target ", part.indices[n], " has ",
             part.scores[n], ", before ", whole);
    }
  };
  compare("one query", run(queries.slice(17, 1), targets, {N}), N, 17, 0);
  compare("other places", run(queries.slice(3, 20), targets.slice(5, 41), {41}), 41, 3, 5);
  const Lists candidates = some_targets(B, N, 40, 6);
  TopKOptions options = {40};
  options.candidate_starts = candidates.starts.data(), options.candidates = candidates.values.data();
  compare("candidates", run(queries, targets, options), 40, 0, 0);
}

void check_errors(Tensors& t) {
  const Tensor queries = t.random(DType::F32, {2, 4}), targets = t.random(DType::F32, {3, 4});
  const int32_t starts[] = {0, 1, 2}, falling[] = {0, 1, 0}, values[] = {1, 3};
  TopKOptions options = {2};
  expect_error("E_SHAPE", {"top_k", "targets (3, 5)", "queries (2, 4)"}, [&] {
    run(queries, t.random(DType::F32, {3, 5}), options);
  });
  options.candidates = values;
  expect_error("E_OPTION", {"candidates"}, [&] { run(queries, targets, options); });
  options.candidate_starts = starts;
  expect_error("E_BATCH", {"candidates of query 1 hold 3"}, [&] { run(queries, targets, options); });
  options.candidate_starts = falling;
  expect_error("E_BATCH", {"candidates fall at query 1"}, [&] { run(queries, targets, options); });
  TopKOptions none = {1};
  none.k = 0;
  Result unused(1, 1);
  Arena scratch(t.device(), "scratch");
  expect_error("E_OPTION", {"k 0"},
               [&] { top_k(unused.indices.data(), unused.scores.data(), queries, targets, none, scratch); });
}

const Cases cases(
    "top_k",
    {
        {"ranks by score, then correct answers last, then by order", Backends::Cpu, [](Tensors& t) { check_ties(t); }},
        {"NaN ranks after everything, also -infinity", Backends::Cpu, [](Tensors& t) { check_nan(t); }},
        {"a score has the same bits in any batch and among candidates", Backends::Cpu,
         [](Tensors& t) { check_same_bits(t); }},
        {"no targets leave -1 and -infinity, no queries nothing", Backends::Cpu,
         [](Tensors& t) {
           const Tensor none = t.zeros(DType::F32, {0, 3}), some = t.random(DType::F32, {2, 3});
           const Result result = run(some, none, {2});
           for (size_t n = 0; n < 4; ++n) expect(result.indices[n] == -1 && result.scores[n] == -INFINITY, "place ", n);
           run(none, some, {2});
         }},
        {"results do not depend on the number of threads", Backends::Cpu,
         [](Tensors& t) {
           expect_same_bits_for_any_threads("top_k", t.device().isa(), [](Tensors& other) {
             const Result result = run(other.random(DType::F32, {40, 9}), other.random(DType::F32, {1100, 9}), {20});
             std::vector<uint8_t> all(result.indices.size() * 8);
             std::memcpy(all.data(), result.indices.data(), all.size() / 2);
             std::memcpy(all.data() + all.size() / 2, result.scores.data(), all.size() / 2);
             return all;
           });
         }},
        {"refuses sizes and lists that do not fit", Backends::Cpu, [](Tensors& t) { check_errors(t); }},
    });

}  // namespace

}  // namespace vlm2vec::test
