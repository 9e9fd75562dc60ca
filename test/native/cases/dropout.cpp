#include "ops/dropout.h"

#include "core/random.h"
#include "harness.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

using Numbers = std::vector<double>;

const Cases cases("dropout",
                  {
                      {"drops by the counter of row id and column, and divides what is kept", Backends::Cpu,
                       [](Tensors& t) {
                         const Dropout options{0.3f, 42, 7};
                         const std::vector<int32_t> ids = {5, 0, 1000000};
                         for (DType type : {DType::F32, DType::BF16})
                           for (int64_t columns : {1, 7, 17, 300}) {
                             const Tensor x = t.random(type, {3, columns}), out = t.output(type, {3, columns});
                             dropout_apply(out, x, t.indices(ids), options);
                             Numbers expected = read(x);
                             for (size_t i = 0; i < expected.size(); ++i) {
                               const uint64_t row = uint64_t(ids[i / size_t(columns)]), column = i % size_t(columns);
                               expected[i] = random_uniform(42, 7, row * uint64_t(columns) + column) >= 0.3f
                                                 ? expected[i] / (1.0f - 0.3f)
                                                 : 0;
                             }
                             expect_near(text("out ", out), out, expected, bound_for(type, expected));
                           }
                       }},
                      {"drops the share p, independently in other streams", Backends::Cpu,
                       [](Tensors& t) {
                         const Tensor x = t.values(DType::F32, {100, 1000}, Numbers(100000, 1)),
                                      a = t.output(DType::F32, {100, 1000}), b = t.output(DType::F32, {100, 1000});
                         std::vector<int32_t> ids;
                         for (int32_t i = 0; i < 100; ++i) ids.push_back(i);
                         dropout_apply(a, x, t.indices(ids), {0.25f, 1, 1});
                         dropout_apply(b, x, t.indices(ids), {0.25f, 1, 2});
                         const Numbers first = read(a), second = read(b);
                         int64_t dropped = 0, both = 0;
                         for (size_t i = 0; i < first.size(); ++i) {
                           dropped += first[i] == 0;
                           both += first[i] == 0 && second[i] == 0;
                         }
                         // standard deviations 137 and 76
                         expect_close("dropped", double(dropped), 25000, 0.025);
                         expect_close("in both streams", double(both), 6250, 0.06);
                       }},
                      {"a row's mask follows its id, not its place, in place and for any number of threads",
                       Backends::Cpu,
                       [](Tensors& t) {
                         expect_same_bits_for_any_threads("out", t.device().isa(), [](Tensors& own) {
                           const Tensor x = own.random(DType::F32, {90, 400}), out = own.output(DType::F32, {90, 400});
                           std::vector<int32_t> ids;
                           for (int32_t i = 0; i < 90; ++i) ids.push_back(i);
                           dropout_apply(out, x, own.indices(ids), {0.5f, 3, 4});
                           const Tensor last = own.values(DType::F32, {1, 400}, read(x.slice(89, 1)));
                           dropout_apply(last, last, own.indices({89}), {0.5f, 3, 4});
                           expect_same_bits("row 89 alone", last, out.slice(89, 1));
                           return bits(out);
                         });
                       }},
                      {"p = 0 changes nothing", Backends::Cpu,
                       [](Tensors& t) {
                         const Tensor x = t.random(DType::BF16, {2, 33}), out = t.output(DType::BF16, {2, 33});
                         dropout_apply(out, x, t.indices({0, 1}), {0, 1, 1});
                         expect_same_bits("out", out, x);
                       }},
                      {"wrong shapes and shares are refused by name", Backends::Cpu,
                       [](Tensors& t) {
                         const Tensor x = t.random(DType::F32, {2, 8});
                         expect_error("E_SHAPE", {"dropout_apply", "row_ids (3)", "x (2, 8)"}, [&] {
                           dropout_apply(x, x, t.indices({0, 1, 2}), {0.5f, 1, 1});
                         });
                         expect_error("E_OPTION", {"p 1"}, [&] { dropout_apply(x, x, t.indices({0, 1}), {1, 1, 1}); });
                       }},
                  });

}  // namespace
