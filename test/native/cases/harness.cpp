// The harness is tested: each kind of wrong output must be reported.
#include "harness.h"

#include <cmath>
#include <cstring>

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

// Runs f, which must fail with a message that holds `word`.
void expect_failure(const char* word, const std::function<void()>& f) {
  std::string message;
  try {
    f();
  } catch (const Failure& failure) {
    message = failure.message;
  }
  expect(!message.empty(), "a wrong result was not reported");
  expect(message.find(word) != std::string::npos, "the failure '", message, "' does not mention '", word, "'");
}

const std::vector<double>& expected() {
  static const std::vector<double> numbers = random_numbers(7 * 13, 1);
  return numbers;
}

const Cases cases(
    "harness",
    {
        {"accepts exact results, and rounding to the type", Backends::CpuAndCuda,
         [](Tensors& t) {
           expect_near("f32", t.values(DType::F32, {7, 13}, expected()), expected(), bound_for(DType::F32, expected()));
           expect_near("bf16", t.values(DType::BF16, {7, 13}, expected()), expected(),
                       bound_for(DType::BF16, expected()));
           expect_near("strided", t.values(DType::F32, {7, 13}, expected(), 20), expected(),
                       bound_for(DType::F32, expected()));
         }},
        {"reports outputs scaled by 0.95, in f32 and in bf16", Backends::CpuAndCuda,
         [](Tensors& t) {
           std::vector<double> wrong = expected();
           for (double& x : wrong) x *= 0.95;
           for (DType dtype : {DType::F32, DType::BF16})
             expect_failure("NMSE", [&] {
               expect_near("out", t.values(dtype, {7, 13}, wrong), expected(), bound_for(dtype, expected()));
             });
         }},
        {"reports a single row that is one off", Backends::CpuAndCuda,
         [](Tensors& t) {
           std::vector<double> wrong = expected();
           for (int c = 0; c < 13; ++c) wrong[3 * 13 + c] = expected()[4 * 13 + c];
           for (DType dtype : {DType::F32, DType::BF16})
             expect_failure("[3, ", [&] {
               expect_near("out", t.values(dtype, {7, 13}, wrong), expected(), bound_for(dtype, expected()));
             });
         }},
        {"reports a column that was not written", Backends::CpuAndCuda,
         [](Tensors& t) {
           for (DType dtype : {DType::F32, DType::BF16}) {
             const Tensor out = t.output(dtype, {7, 13});
             const size_t row = 13 * size_of(dtype);
             const std::vector<uint8_t> right = bits(t.values(dtype, {7, 13}, expected()));
             for (int r = 0; r < 7; ++r)
               t.device().to_device(out.as<uint8_t>() + r * row, right.data() + r * row, row - size_of(dtype));
             expect_failure("[0, 12]", [&] { expect_near("out", out, expected(), bound_for(dtype, expected())); });
           }
         }},
        {"reports a touched guard word before, after and between the rows of a tensor", Backends::CpuAndCuda,
         [](Tensors& t) {
           for (int64_t offset : {int64_t(-1), int64_t(5 * 16 + 13), int64_t(13), int64_t(5 * 16 + 13 + 63)}) {
             Tensors own(t.device());
             const Tensor out = own.output(DType::F32, {6, 13}, 16);
             own.check_guards();
             const float one = 1;
             t.device().to_device(out.as<float>() + offset, &one, 4);
             expect_failure("guard word", [&] { own.check_guards(); });
           }
         }},
        {"reports NaN and infinity where numbers are expected", Backends::Cpu,
         [](Tensors& t) {
           for (double bad : {std::nan(""), double(INFINITY)}) {
             std::vector<double> wrong = expected();
             wrong[17] = bad;
             expect_failure("[1, 4]", [&] {
               expect_near("out", t.values(DType::F32, {7, 13}, wrong), expected(), 1e-2);
             });
           }
         }},
        {"reports a wrong number of elements",
         [] {
           expect_failure("numbers", [] { expect_near("out", std::vector<double>(3), std::vector<double>(4), 1); });
         }},
        {"reports a single differing bit",
         [] {
           expect_same_bits("out", {1, 2, 3}, {1, 2, 3});
           expect_failure("byte 2", [] { expect_same_bits("out", {1, 2, 3}, {1, 2, 2}); });
           expect_failure("threads", [] {
             expect_same_bits_for_any_threads("out", Isa::Portable, [](Tensors& t) {
               return std::vector<uint8_t>{uint8_t(t.device().threads() > 2)};
             });
           });
         }},
        {"reports a gradient that is wrong by a factor, a sign or one element",
         [] {
           const std::vector<double> x = random_numbers(5, 2);
           const auto loss = [](const std::vector<double>& at) {
             double sum = 0;
             for (double v : at) sum += std::exp(v) * at[0];
             return sum;
           };
           std::vector<double> gradient(5);
           for (int i = 0; i < 5; ++i) gradient[i] = x[0] * std::exp(x[i]);
           for (int i = 0; i < 5; ++i) gradient[0] += std::exp(x[i]);
           expect_gradient("dx", loss, x, gradient);
           for (double factor : {0.95, -1.0, 1.00001}) {
             std::vector<double> wrong = gradient;
             for (double& v : wrong) v *= factor;
             expect_failure("gradient off", [&] { expect_gradient("dx", loss, x, wrong); });
           }
           std::vector<double> wrong = gradient;
           wrong[3] += 1e-4;
           expect_failure("[3]", [&] { expect_gradient("dx", loss, x, wrong); });
         }},
        {"reports a missing error, another code, and a message without the word",
         [] {
           const auto shape = [] { fail("E_SHAPE", "op: weight (3)"); };
           expect_error("E_SHAPE", {"weight"}, shape);
           expect_failure("no error", [] { expect_error("E_SHAPE", [] {}); });
           expect_failure("expected E_BATCH", [&] { expect_error("E_BATCH", shape); });
           expect_failure("'bias'", [&] { expect_error("E_SHAPE", {"bias"}, shape); });
         }},
        {"reports an error that a case did not expect, and a guard touched by a case",
         [] {
           const Backend portable = [] {
             Backend found;
             for_each_backend(Backends::Cpu, [&](const Backend& backend) {
               if (!found.device) found = backend;
             });
             return found;
           }();
           expect_failure("E_MEMORY", [&] {
             run_case({"fails", Backends::Cpu, [](Tensors&) { fail("E_MEMORY", "none left"); }}, portable);
           });
           expect_failure("guard word", [&] {
             run_case({"writes too far", Backends::Cpu,
                       [](Tensors& t) {
                         const float one = 1;
                         t.device().to_device(t.output(DType::F32, {3}).as<float>() + 3, &one, 4);
                       }},
                      portable);
           });
         }},
    });

}  // namespace
