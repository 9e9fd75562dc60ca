#include "ops/info_nce.h"

#include <cmath>

#include "harness.h"
#include "ops/info_nce_reference.h"

namespace vlm2vec::test {

namespace {

using Numbers = std::vector<double>;

// Lists of a case, and the options that point into them.
struct Problem {
  int64_t B, N, D;
  float temperature;
  bool symmetric;
  std::vector<int32_t> positive_starts = {0}, positives = {};
  std::vector<int32_t> query_id_starts = {0}, query_ids = {}, target_ids = {};

  InfoNceOptions options() const {
    InfoNceOptions o;
    o.temperature = temperature;
    o.symmetric = symmetric;
    o.positive_starts = positive_starts.data(), o.positives = positives.data();
    if (target_ids.empty()) return o;
    o.query_id_starts = query_id_starts.data(), o.query_ids = query_ids.data(), o.target_ids = target_ids.data();
    return o;
  }
};

// Query i's positive is target i * N / B: N / B - 1 hard negatives each.
Problem paired(int64_t B, int64_t N, int64_t D, float temperature, bool symmetric) {
  Problem p = {B, N, D, temperature, symmetric};
  for (int64_t i = 0; i < B; ++i) {
    p.positives.push_back(int32_t(i * (N / B)));
    p.positive_starts.push_back(int32_t(p.positives.size()));
  }
  return p;
}

// One to three positives, some shared by several queries.
Problem with_several(int64_t B, int64_t N, int64_t D, float temperature, bool symmetric) {
  Problem p = {B, N, D, temperature, symmetric};
  for (int64_t i = 0; i < B; ++i) {
    for (int64_t n = 0; n <= i % 3; ++n) p.positives.push_back(int32_t((i * 2 + n * 5) % N));
    p.positive_starts.push_back(int32_t(p.positives.size()));
  }
  return p;
}

// Ids of a few classes: a query leaves out up to two of them.
Problem masked(Problem p) {
  for (int64_t j = 0; j < p.N; ++j) p.target_ids.push_back(int32_t(j % 7 - 1));
  for (int64_t i = 0; i < p.B; ++i) {
    for (int64_t n = 0; n < i % 3; ++n) p.query_ids.push_back(int32_t((i + 3 * n) % 7 - 1));
    p.query_id_starts.push_back(int32_t(p.query_ids.size()));
  }
  return p;
}

// Around the tiles of registers (12 x 32 and less), the groups of 48, 128, 192 and 480, the 1440 of a tile of scores,
// and the 12 tiles that are kept.
std::vector<Problem> problems() {
  std::vector<Problem> all = {paired(1, 1, 1, 0.5f, false),           paired(2, 6, 3, 0.3f, false),
                              paired(13, 13, 33, 0.1f, true),         masked(paired(31, 62, 7, 0.2f, true)),
                              with_several(11, 23, 257, 0.1f, false), masked(with_several(97, 193, 16, 0.05f, true)),
                              paired(959, 959, 4, 0.5f, false),       masked(with_several(961, 1000, 5, 0.5f, true)),
                              paired(47, 1439, 4, 0.5f, true),        masked(with_several(1441, 49, 5, 0.5f, true)),
                              paired(5, 18730, 3, 0.5f, true)};
  Problem alone = paired(3, 3, 4, 0.1f, true);  // everything masked: no negatives at all
  alone.target_ids = {5, 5, 5}, alone.query_ids = {5, 5, 5}, alone.query_id_starts = {0, 1, 2, 3};
  all.push_back(alone);
  return all;
}

struct Gradients {
  Numbers dq, dt;
  double loss, dtemperature;
};

Gradients reference(const Problem& p, const Numbers& q, const Numbers& t) {
  const InfoNceReference<double> r(p.B, p.N, p.D, q.data(), t.data(), p.options());
  Gradients g = {Numbers(q.size()), Numbers(t.size()), r.loss, r.dtemperature};
  r.gradients(g.dq.data(), g.dt.data(), q.data(), t.data());
  return g;
}

// With bf16 products the inputs are such numbers, so that only the rounding of the weights is left.
void check_against_reference(Tensors& tensors, const Problem& p, DType dtype) {
  const double length = 1 / std::sqrt(double(p.D));
  const Numbers q_numbers = rounded(random_numbers(p.B * p.D, 1, length), dtype);
  const Numbers t_numbers = rounded(random_numbers(p.N * p.D, 2, length), dtype);
  const Tensor q = tensors.values(DType::F32, {p.B, p.D}, q_numbers),
               t = tensors.values(DType::F32, {p.N, p.D}, t_numbers);
  const Tensor dq = tensors.output(DType::F32, {p.B, p.D}), dt = tensors.output(DType::F32, {p.N, p.D});
  Arena scratch(tensors.device(), "scratch");
  InfoNceOptions options = p.options();
  options.dtype = dtype;
  const InfoNceResult result = info_nce(dq, dt, q, t, options, scratch);
  const Gradients expected = reference(p, read(q), read(t));
  const auto name = [&](const char* what) {
    return text(what, " B=", p.B, " N=", p.N, " D=", p.D, " ", name_of(dtype));
  };
  expect_close(name("loss"), result.loss, expected.loss, 1e-6, 1e-3);
  expect_close(name("dtemperature"), result.dtemperature, expected.dtemperature, dtype == DType::F32 ? 1e-5 : 1e-3,
               1e-2);
  const double bound = dtype == DType::F32 ? 1e-10 : 4e-6;
  expect_near(name("dqueries"), dq, expected.dq, bound);
  expect_near(name("dtargets"), dt, expected.dt, bound);
  const InfoNceResult only = info_nce(Tensor(), Tensor(), q, t, options, scratch);
  expect(only.loss == result.loss, name("loss"), " without gradients ", only.loss, ", with ", result.loss);
  expect(scratch.used() == 0, name("scratch"), ": ", scratch.used(), " bytes are still taken");
}

void check_gradients() {
  for (Problem p :
       {masked(with_several(5, 9, 4, 0.7f, true)), with_several(4, 6, 3, 0.4f, false), paired(3, 6, 2, 1, true)}) {
    const Numbers q = random_numbers(p.B * p.D, 1), t = random_numbers(p.N * p.D, 2);
    const Gradients g = reference(p, q, t);
    const auto loss = [&](const Numbers& q, const Numbers& t) { return reference(p, q, t).loss; };
    expect_gradient(
        "dqueries", [&](const Numbers& at) { return loss(at, t); }, q, g.dq);
    expect_gradient(
        "dtargets", [&](const Numbers& at) { return loss(q, at); }, t, g.dt);
    // dividing the scores by 1 + x is multiplying the temperature by it
    const auto warmer = [&](const Numbers& at) {
      Numbers scaled = q;
      for (double& value : scaled) value /= 1 + at[0];
      return loss(scaled, t);
    };
    expect_gradient("dtemperature", warmer, {0.0}, {g.dtemperature * double(p.temperature)});
  }
}

// By hand: scores 1 and 0 at temperature 1, so loss = log(1 + e^-1) for each query.
void check_by_hand(Tensors& tensors) {
  const Problem p = paired(2, 2, 2, 1, false);
  const Tensor q = tensors.values(DType::F32, {2, 2}, {1, 0, 0, 1}), dq = tensors.output(DType::F32, {2, 2});
  const Tensor dt = tensors.output(DType::F32, {2, 2});
  Arena scratch(tensors.device(), "scratch");
  const double loss = info_nce(dq, dt, q, q, p.options(), scratch).loss, rest = 1 / (1 + std::exp(1.0)) / 2;
  expect_close("loss", loss, std::log(1 + std::exp(-1.0)), 1e-7);
  expect_near("dqueries", dq, {-rest, rest, rest, -rest}, 1e-12);
}

void check_extremes(Tensors& tensors) {
  Problem p = paired(40, 80, 8, 0.001f, true);  // scores of +- 1,000
  const Tensor q = tensors.random(DType::F32, {p.B, p.D}, 0.35), t = tensors.random(DType::F32, {p.N, p.D}, 0.35);
  const Tensor dq = tensors.output(DType::F32, {p.B, p.D}), dt = tensors.output(DType::F32, {p.N, p.D});
  Arena scratch(tensors.device(), "scratch");
  const Gradients expected = reference(p, read(q), read(t));
  expect_close("loss", info_nce(dq, dt, q, t, p.options(), scratch).loss, expected.loss, 1e-6);
  expect_near("dqueries", dq, expected.dq, 1e-7);  // scores of 1,000, of which f32 holds steps of 6e-5
  Numbers spoilt = read(t);
  spoilt[11] = NAN;
  const Tensor bad = tensors.values(DType::F32, {p.N, p.D}, spoilt);
  expect(std::isnan(info_nce(dq, dt, q, bad, p.options(), scratch).loss), "a NaN in a target does not reach the loss");
}

std::vector<uint8_t> all_bits(Tensors& tensors) {
  const Problem p = masked(with_several(200, 1100, 20, 0.1f, true));
  const Tensor q = tensors.random(DType::F32, {p.B, p.D}, 0.2), t = tensors.random(DType::F32, {p.N, p.D}, 0.2);
  const Tensor dq = tensors.output(DType::F32, {p.B, p.D}), dt = tensors.output(DType::F32, {p.N, p.D});
  Arena scratch(tensors.device(), "scratch");
  const InfoNceResult result = info_nce(dq, dt, q, t, p.options(), scratch);
  std::vector<uint8_t> all = bits(dq);
  const auto part = bits(dt);
  all.insert(all.end(), part.begin(), part.end());
  const uint8_t* numbers = reinterpret_cast<const uint8_t*>(&result);
  all.insert(all.end(), numbers, numbers + sizeof result);
  return all;
}

// The CPU keeps 12 tiles of scores, however many there are.
void check_memory(Tensors& tensors) {
  const bool cuda = tensors.device().is_cuda();
  const Problem p = paired(cuda ? 4000 : 96, cuda ? 4000 : 200000, 2, 0.1f, true);
  const Tensor q = tensors.random(DType::F32, {p.B, p.D}), dq = tensors.output(DType::F32, {p.B, p.D});
  const Tensor t = tensors.random(DType::F32, {p.N, p.D}), dt = tensors.output(DType::F32, {p.N, p.D});
  Arena scratch(tensors.device(), "scratch");
  info_nce(dq, dt, q, t, p.options(), scratch);
  const size_t whole = size_t(p.B * p.N) * sizeof(float);
  expect(scratch.peak() > 0 && scratch.peak() < whole / 4, scratch.peak(), " bytes of scratch for ", whole,
         " of scores");
}

void check_errors(Tensors& tensors) {
  const Tensor q = tensors.random(DType::F32, {2, 4}), t = tensors.random(DType::F32, {3, 4});
  Arena scratch(tensors.device(), "scratch");
  Problem p = paired(2, 3, 4, 0.1f, false);
  const auto run = [&](Tensor dq, Tensor dt) { info_nce(dq, dt, q, t, p.options(), scratch); };
  const Tensor none;
  expect_error("E_SHAPE", {"info_nce", "targets (3, 3)", "queries (2, 4)"}, [&] {
    info_nce(none, none, q, tensors.random(DType::F32, {3, 3}), p.options(), scratch);
  });
  expect_error("E_SHAPE", {"dtargets"}, [&] { run(q, none); });
  expect_error("E_SHAPE", {"dqueries (3, 4)"}, [&] { run(t, t); });
  expect_error("E_SHAPE", {"dtargets (2, 4)"}, [&] { run(q, q); });
  p.positives[1] = 3;
  expect_error("E_BATCH", {"positive 3 of query 1"}, [&] { run(none, none); });
  p.positive_starts = {0, 1, 1};
  expect_error("E_BATCH", {"query 1 has no positive"}, [&] { run(none, none); });
  p = paired(2, 3, 4, 0, false);
  expect_error("E_OPTION", {"temperature 0"}, [&] { run(none, none); });
  p.temperature = NAN;
  expect_error("E_OPTION", {"temperature"}, [&] { run(none, none); });
  p.temperature = 1;
  InfoNceOptions half = p.options();
  half.target_ids = p.positives.data();
  expect_error("E_OPTION", {"mask"}, [&] { info_nce(none, none, q, t, half, scratch); });
  expect_error("E_BATCH", {"no queries"}, [&] {
    info_nce(none, none, tensors.zeros(DType::F32, {0, 4}), t, p.options(), scratch);
  });
}

const Cases cases("info_nce",
                  {
                      {"the gradient formulas agree with differences of the loss", [] { check_gradients(); }},
                      {"a case worked by hand", Backends::CpuAndCuda, [](Tensors& t) { check_by_hand(t); }},
                      {"loss and gradients agree with the reference", Backends::CpuAndCuda,
                       [](Tensors& t) {
                         for (const Problem& p : problems())
                           for (const DType dtype : {DType::F32, DType::BF16}) check_against_reference(t, p, dtype);
                       }},
                      {"scores of a thousand do not overflow, and NaN reaches the loss", Backends::CpuAndCuda,
                       [](Tensors& t) { check_extremes(t); }},
                      {"results do not depend on the number of threads", Backends::Cpu,
                       [](Tensors& t) { expect_same_bits_for_any_threads("info_nce", t.device().isa(), all_bits); }},
                      {"the matrix of scores is never stored", Backends::CpuAndCuda,
                       [](Tensors& t) { check_memory(t); }},
                      {"refuses sizes, positives, masks and temperatures that do not fit", Backends::Cpu,
                       [](Tensors& t) { check_errors(t); }},
                  });

}  // namespace

}  // namespace vlm2vec::test
