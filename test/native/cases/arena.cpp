#include "core/arena.h"

#include <cstring>

#include "harness.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

uintptr_t address(const Tensor& x) { return reinterpret_cast<uintptr_t>(x.data); }

const Cases cases(
    "arena",
    {
        {"allocations are aligned and do not overlap, over several blocks", Backends::CpuAndCuda,
         [](Tensors& t) {
           Arena arena(t.device(), "test");
           std::vector<Tensor> all;
           for (int64_t i = 1; i < 60; ++i) all.push_back(arena.allocate(DType::F32, {i, 1 + i * 100}));
           for (const Tensor& a : all) {
             expect(address(a) % 64 == 0, a, " is not aligned");
             for (const Tensor& b : all)
               expect(&a == &b || address(a) + a.bytes() <= address(b) || address(b) + b.bytes() <= address(a), a,
                      " overlaps ", b);
           }
           size_t bytes = 0;
           for (const Tensor& a : all) bytes += a.bytes();
           expect(arena.used() >= bytes && arena.used() <= bytes + all.size() * 256, arena.used(), " bytes used, of ",
                  bytes);
         }},
        {"empty tensors have a place, and allocate_zero zeroes memory used before", Backends::CpuAndCuda,
         [](Tensors& t) {
           Arena arena(t.device(), "test");
           const Tensor empty = arena.allocate(DType::F32, {0, 7});
           expect(empty.data != nullptr && !empty.absent() && empty.size() == 0, "an empty tensor is not absent");
           const std::vector<uint8_t> ones(4096, 1);
           Tensor x = arena.allocate(DType::U8, {4096});
           t.device().to_device(x.data, ones.data(), ones.size());
           arena.reset();
           arena.allocate(DType::F32, {0, 7});
           x = arena.allocate_zero(DType::U8, {4096});
           expect_same_bits("zeros", bits(x), std::vector<uint8_t>(4096));
         }},
        {"a scope gives back what it took, and the outer tensors stay", Backends::CpuAndCuda,
         [](Tensors& t) {
           Arena arena(t.device(), "test");
           const Tensor kept = arena.allocate_zero(DType::U8, {1000});
           const size_t used = arena.used();
           void* first;
           {
             const ArenaScope scope(arena);
             first = arena.allocate(DType::F32, {100}).data;
             arena.allocate(DType::F32, {3, 1 << 20});  // another block
           }
           expect(arena.used() == used, arena.used(), " bytes used after the scope, ", used, " before");
           expect(arena.allocate(DType::F32, {100}).data == first, "the space is not used again");
           expect_same_bits("kept", bits(kept), std::vector<uint8_t>(1000));
           expect(arena.peak() >= (size_t(12) << 20), "the peak ", arena.peak(), " forgets what was given back");
         }},
        {"after a reset the same work takes the same places, from one block", Backends::CpuAndCuda,
         [](Tensors& t) {
           Arena arena(t.device(), "test");
           const auto work = [&] {
             std::vector<void*> places;
             for (int64_t i = 0; i < 5; ++i) places.push_back(arena.allocate(DType::F32, {i + 1, 300000}).data);
             return places;
           };
           work();
           arena.reset();
           const std::vector<void*> second = work();
           expect(second.back() > second.front(), "one block");
           arena.reset();
           expect(arena.used() == 0, arena.used(), " bytes used after a reset");
           expect(work() == second, "a steady state moved");
         }},
        {"running out of memory names the arena and the size, and leaves it usable", Backends::Cpu,
         [](Tensors& t) {
           Arena arena(t.device(), "activations");
           expect_error("E_MEMORY", {"activations", "MiB"}, [&] {
             arena.allocate(DType::F32, {int64_t(1) << 30, int64_t(1) << 30});
           });
           expect(arena.allocate_zero(DType::F32, {10}).data != nullptr, "nothing more is allocated");
         }},
    });

}  // namespace
