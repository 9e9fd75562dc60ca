#include "ops/adamw.h"

#include <cmath>

#include "harness.h"
#include "ops/adamw_reference.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

using Numbers = std::vector<double>;

AdamW options_at(int64_t step) {
  AdamW options;
  options.learning_rate = 1e-2;
  options.weight_decay = 0.1;
  options.step = step;
  return options;
}

const Cases cases(
    "adamw", {
                 {"three steps are those of torch.optim.AdamW", Backends::Cpu,
                  [](Tensors& t) {
                    // recorded with torch 2.13: AdamW(lr=1e-2, weight_decay=0.1)
                    const Numbers gradients[] = {{0.1, -2.0, 1e-4, 0.0, 5.0, 1e-8},
                                                 {-0.3, 1.0, 2e-4, 0.0, 4.0, -2e-8},
                                                 {0.2, 0.5, -1e-4, 1e-3, -6.0, 3e-8}};
                    const Numbers expected[] = {{0.4895000159740448, -1.2387499809265137, 1.9880009889602661, 0.0,
                                                 -0.009000999853014946, -3.002000093460083},
                                                {0.4939524233341217, -1.234847903251648, 1.976361870765686, 0.0,
                                                 -0.01887325569987297, -2.996755361557007},
                                                {0.493270605802536, -1.2329990863800049, 1.9701849222183228,
                                                 -0.006388024426996708, -0.020056091248989105, -2.996105194091797}};
                    const Numbers m_end = {0.0011000006925314665,  -0.02199999988079071, 1.6099998902063817e-05,
                                           0.00010000000474974513, 0.16500002145767212,  2.0099999442635408e-09};
                    const Numbers v_end = {0.00013989002036396414, 0.005241004284471273, 5.994001128772908e-11,
                                           1.0000001937626735e-09, 0.07693403214216232,  1.3994000686818716e-18};
                    const Tensor p = t.values(DType::F32, {6}, {0.5, -1.25, 2.0, 0.0, 1e-3, -3.0}),
                                 m = t.zeros(DType::F32, {6}), v = t.zeros(DType::F32, {6});
                    for (int step = 1; step <= 3; ++step) {
                      adamw_update(p, Tensor(), m, v, t.values(DType::F32, {6}, gradients[step - 1]), options_at(step));
                      const Numbers actual = read(p);
                      for (size_t i = 0; i < 6; ++i)
                        expect_close(text("step ", step, " [", i, "]"), actual[i], expected[step - 1][i], 1.2e-7);
                    }
                    const Numbers m_actual = read(m), v_actual = read(v);
                    for (size_t i = 0; i < 6; ++i) {
                      // m of the first element is what is left of 0.01 + 0.009 - 0.03 + ...: rounding of 0.03 shows
                      expect_close(text("m[", i, "]"), m_actual[i], m_end[i], 1.2e-7, i == 0 ? 0.03 : 0);
                      expect_close(text("v[", i, "]"), v_actual[i], v_end[i], 1.2e-7);
                    }
                  }},
                 {"a late step with a scaled gradient agrees with the reference, the bf16 shadow with the parameter",
                  Backends::Cpu,
                  [](Tensors& t) {
                    for (int64_t size : {1, 7, 17, 5000}) {
                      const Tensor p = t.random(DType::F32, {size}), m = t.random(DType::F32, {size}, 0.1),
                                   gradient = t.random(DType::F32, {size});
                      Numbers squares = read(t.random(DType::F32, {size}));
                      for (double& s : squares) s = s * s;
                      const Tensor v = t.values(DType::F32, {size}, squares), shadow = t.output(DType::BF16, {size});
                      AdamW options = options_at(1234);
                      options.gradient_scale = 0.125;
                      Numbers p_expected = read(p), m_expected = read(m), v_expected = read(v);
                      adamw_reference(p_expected.data(), m_expected.data(), v_expected.data(), read(gradient).data(),
                                      size, options);
                      adamw_update(p, shadow, m, v, gradient, options);
                      expect_near(text("parameter ", p), p, p_expected, 1e-13);
                      expect_near(text("m ", p), m, m_expected, 1e-13);
                      expect_near(text("v ", p), v, v_expected, 1e-13);
                      expect_near(text("shadow ", p), shadow, rounded(read(p), DType::BF16), 0);
                    }
                  }},
                 {"an element has the same bits wherever it stands, for any number of threads", Backends::Cpu,
                  [](Tensors& t) {
                    expect_same_bits_for_any_threads("parameter", t.device().isa(), [](Tensors& own) {
                      const Tensor p = own.random(DType::F32, {70001}), m = own.zeros(DType::F32, {70001}),
                                   v = own.zeros(DType::F32, {70001});
                      const Tensor gradient = own.random(DType::F32, {70001}),
                                   part = own.values(DType::F32, {1001}, read(p.slice(777, 1001)));
                      adamw_update(p, Tensor(), m, v, gradient, options_at(1));
                      adamw_update(part, Tensor(), own.zeros(DType::F32, {1001}), own.zeros(DType::F32, {1001}),
                                   gradient.slice(777, 1001), options_at(1));
                      expect_same_bits("part", part, p.slice(777, 1001));
                      return bits(p);
                    });
                  }},
                 {"wrong sizes and steps are refused by name", Backends::Cpu,
                  [](Tensors& t) {
                    const Tensor p = t.random(DType::F32, {6}), five = t.random(DType::F32, {5});
                    expect_error("E_SHAPE", {"adamw_update", "v (5)", "parameter (6)"},
                                 [&] { adamw_update(p, Tensor(), p, five, p, options_at(1)); });
                    expect_error("E_SHAPE", {"shadow (6) f32"}, [&] { adamw_update(p, p, p, p, p, options_at(1)); });
                    expect_error("E_OPTION", {"step 0"}, [&] { adamw_update(p, Tensor(), p, p, p, options_at(0)); });
                  }},
             });

}  // namespace
