// exp, tanh and erf of ops/vector_math.h in the instruction set of this file (portable): the kernels of the others are
// held to the same functions through gelu, swiglu and attention.
#include "ops/vector_math.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "harness.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

float apply(portable::Floats (*f)(portable::Floats), float x) { return f(portable::splat(x))[1]; }

// The largest error over [from, to] in units of the last place of the exact value.
double largest_ulps(portable::Floats (*f)(portable::Floats), double (*exact)(double), float from, float to) {
  double worst = 0;
  for (int i = 0; i <= 100000; ++i) {
    const float x = from + (to - from) * (float(i) / 100000);
    const double y = exact(double(x));
    const double ulp = std::max(std::ldexp(1.0, std::ilogb(y) - 23), double(std::numeric_limits<float>::denorm_min()));
    worst = std::max(worst, std::fabs(apply(f, x) - y) / ulp);
  }
  return worst;
}

void expect_ulps(const char* name, double ulps, double bound) {
  expect(ulps <= bound, name, ": off by ", ulps, " units of the last place > ", bound);
}

const Cases cases(
    "vector_math",
    {
        {"exp is within 2 units of the last place",
         [] {
           expect_ulps("exp on [-87, 88.7]", largest_ulps(portable::exp, std::exp, -87, 88.7f), 2);
           expect_ulps("exp on [-1, 1]", largest_ulps(portable::exp, std::exp, -1, 1), 2);
           expect_ulps("exp on [-103.9, -87], denormal", largest_ulps(portable::exp, std::exp, -103.9f, -87), 2);
         }},
        {"exp is exact at 0, and overflows and underflows to the limits",
         [] {
           const float inf = INFINITY;
           expect(apply(portable::exp, 0) == 1, "e^0 = ", apply(portable::exp, 0));
           expect(apply(portable::exp, inf) == inf && apply(portable::exp, 89) == inf &&
                      apply(portable::exp, 1e30f) == inf,
                  "e^inf = ", apply(portable::exp, inf), ", e^89 = ", apply(portable::exp, 89));
           expect(apply(portable::exp, -inf) == 0 && apply(portable::exp, -1e30f) == 0,
                  "e^-inf = ", apply(portable::exp, -inf));
           expect(std::isnan(apply(portable::exp, NAN)), "e^NaN = ", apply(portable::exp, NAN));
         }},
        {"exp2 is within 3 units of the last place, exact at 0, and keeps to its limits",
         [] {
           expect_ulps("exp2 on [-126, 127.9]", largest_ulps(portable::exp2, std::exp2, -126, 127.9f), 3);
           expect_ulps("exp2 on [-1, 1]", largest_ulps(portable::exp2, std::exp2, -1, 1), 3);
           expect_ulps("exp2 on [-148.9, -126], denormal", largest_ulps(portable::exp2, std::exp2, -148.9f, -126), 3);
           expect(apply(portable::exp2, 0) == 1 && apply(portable::exp2, INFINITY) == INFINITY &&
                      apply(portable::exp2, -INFINITY) == 0 && std::isnan(apply(portable::exp2, NAN)),
                  "exp2 at its limits");
         }},
        {"tanh is within 3 units of the last place",
         [] {
           expect_ulps("tanh on [-12, 12]", largest_ulps(portable::tanh, std::tanh, -12, 12), 3);
           expect_ulps("tanh on [-1, 1]", largest_ulps(portable::tanh, std::tanh, -1, 1), 3);
           expect_ulps("tanh on [1e-30, 1e-3]", largest_ulps(portable::tanh, std::tanh, 1e-30f, 1e-3f), 3);
           expect(apply(portable::tanh, -INFINITY) == -1 && std::isnan(apply(portable::tanh, NAN)),
                  "tanh at its limits");
         }},
        {"erf is within 3 units of the last place",
         [] {
           expect_ulps("erf on [-5, 5]", largest_ulps(portable::erf, std::erf, -5, 5), 3);
           expect_ulps("erf on [-1, 1]", largest_ulps(portable::erf, std::erf, -1, 1), 3);
           expect_ulps("erf on [1e-30, 1e-3]", largest_ulps(portable::erf, std::erf, 1e-30f, 1e-3f), 3);
           expect(apply(portable::erf, -INFINITY) == -1 && std::isnan(apply(portable::erf, NAN)), "erf at its limits");
         }},
        {"a row's remaining lanes are neither read nor written",
         [] {
           const float from[3] = {1, 2, 3};
           float to[4] = {0, 0, 0, 7};
           portable::store(to, portable::load(from, 3) * 2.0f, 3);
           expect(to[0] == 2 && to[1] == 4 && to[2] == 6 && to[3] == 7, to[0], " ", to[1], " ", to[2], " ", to[3]);
           expect(portable::sum(portable::load(from, 3)) == 6, "sum ", portable::sum(portable::load(from, 3)));
           expect(portable::largest(portable::load(from, 3)) == 3, "largest ",
                  portable::largest(portable::load(from, 3)));
         }},
        {"bf16 is rounded as core/dtype.h rounds it",
         [] {
           for (int i = 0; i < 100000; ++i) {
             uint32_t word = uint32_t(i) * 2654435761u;
             if (i < 16)
               word = (i & 1 ? 0x7f800001u : 0x7f7fffffu) + uint32_t(i / 2) * 0x8000u;  // around infinity and NaN
             float x;
             std::memcpy(&x, &word, 4);
             bf16 y[portable::kLanes];
             portable::store(y, portable::splat(x), portable::kLanes);
             expect(y[0].bits == to_bf16(x).bits, "bits ", word, ": ", y[0].bits, ", expected ", to_bf16(x).bits);
           }
         }},
    });

}  // namespace
