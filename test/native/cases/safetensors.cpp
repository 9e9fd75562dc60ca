#include "core/safetensors.h"

#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "harness.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

namespace fs = std::filesystem;

// A folder of its own, removed at the end.
struct Folder {
  Folder() {
    std::string name = (fs::temp_directory_path() / "vlm2vec-XXXXXX").string();
    expect(mkdtemp(name.data()) != nullptr, "no temporary folder");
    path = name;
  }
  ~Folder() { fs::remove_all(path); }
  std::string file(const char* name) const { return path + "/" + name; }
  size_t count() const { return size_t(std::distance(fs::directory_iterator(path), fs::directory_iterator())); }
  std::string path;
};

// The header entry of one f32 number between these bytes.
std::string one(const char* name, int begin, int end) {
  return text('"', name, R"(":{"dtype":"F32","shape":[1],"data_offsets":[)", begin, ",", end, "]}");
}

// A file of this header, with a length before it, and `data` bytes after it.
std::string write_raw(const Folder& folder, const std::string& header, size_t data, int64_t claimed = -1) {
  const std::string path = folder.file("m.safetensors");
  const uint64_t length = claimed < 0 ? header.size() : uint64_t(claimed);
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&length), 8);
  out << header << std::string(data, '\1');
  return path;
}

void expect_refused(const std::string& header, size_t data, std::initializer_list<const char*> words,
                    int64_t claimed = -1) {
  const Folder folder;
  const std::string path = write_raw(folder, header, data, claimed);
  expect_error("E_CHECKPOINT", {"m.safetensors"}, [&] { SafetensorsFile file(path); });
  expect_error("E_CHECKPOINT", words, [&] { SafetensorsFile file(path); });
}

TensorToWrite numbers(const char* name, DType dtype, std::vector<int64_t> shape, std::vector<uint8_t> bytes) {
  return {name, dtype, std::move(shape), [bytes](void* to) { std::memcpy(to, bytes.data(), bytes.size()); }};
}

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

const Cases cases(
    "safetensors",
    {
        {"what is written is read back: names, types, shapes, bytes, metadata",
         [] {
           const Folder folder;
           const std::string path = folder.file("m.safetensors");
           write_safetensors(path,
                             {numbers("b", DType::BF16, {1, 3}, {1, 2, 3, 4, 5, 6}),
                              numbers("z.weight", DType::F32, {2}, {1, 2, 3, 4, 5, 6, 7, 8}),
                              numbers("empty", DType::F32, {0, 5}, {}), numbers("scalar", DType::I32, {}, {9, 0, 0, 0}),
                              numbers("u", DType::U8, {3}, {7, 8, 9})},
                             {{"format", "pt"}, {"step", "12"}});
           const SafetensorsFile file(path);
           expect(file.tensors().size() == 5 && file.find("missing") == nullptr, file.tensors().size(), " tensors");
           expect(file.metadata().size() == 2 && file.metadata().at("step") == "12", "metadata");
           const StoredTensor* b = file.find("b");
           expect(b && b->dtype == DType::BF16 && b->shape == std::vector<int64_t>{1, 3} && b->bytes == 6 &&
                      b->size() == 3,
                  "b");
           expect(std::memcmp(b->data, "\1\2\3\4\5\6", 6) == 0, "bytes of b");
           const StoredTensor* z = file.find("z.weight");
           expect(z && z->dtype == DType::F32 && reinterpret_cast<uintptr_t>(z->data) % 4 == 0,
                  "z.weight is not aligned");
           expect(file.find("empty")->size() == 0 && file.find("scalar")->size() == 1, "empty and scalar");
           expect(static_cast<const uint8_t*>(file.find("u")->data)[2] == 9, "u");
           file.drop_pages(*z);
           expect(static_cast<const uint8_t*>(z->data)[7] == 8, "pages given back are read again");
         }},
        {"tensors of types that no model has are passed over",
         [] {
           const Folder folder;
           const SafetensorsFile file(write_raw(
               folder, R"({"ids":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},)" + one("x", 8, 12) + "}", 12));
           expect(file.tensors().size() == 1 && file.find("x") && !file.find("ids"), "x alone is to be read");
         }},
        {"a file that is missing, empty or shorter than its length field is refused",
         [] {
           const Folder folder;
           expect_error("E_IO", {"none.safetensors", "No such file"},
                        [&] { SafetensorsFile file(folder.file("none.safetensors")); });
           for (size_t size : {0, 7}) {
             std::ofstream(folder.file("short.safetensors")) << std::string(size, '\0');
             expect_error("E_CHECKPOINT", {"short.safetensors", "too short"},
                          [&] { SafetensorsFile file(folder.file("short.safetensors")); });
           }
         }},
        {"a header that is truncated or absurdly long is refused",
         [] {
           expect_refused("{}", 0, {"claims 3 bytes", "truncated"}, 3);
           expect_refused("{}", 0, {"truncated"}, int64_t(1) << 62);
           expect_refused("{}", 0, {"truncated"}, 100'000'001);
         }},
        {"a header that is not a JSON object of tensors is refused",
         [] {
           expect_refused("version https://git-lfs", 0, {"not valid JSON"});
           expect_refused("[1]", 0, {"not a JSON object"});
           expect_refused("", 0, {"not valid JSON"});
           expect_refused(R"({"x":{"dtype":"F32","shape":[1]}})", 4, {"tensor x", "malformed"});
           expect_refused(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, {"tensor x", "malformed"});
           expect_refused(R"({"x":7})", 4, {"tensor x", "malformed"});
           expect_refused(R"({"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, {"tensor x", "shape"});
           expect_refused(R"({"x":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4, {"tensor x", "shape"});
           expect_refused(R"({"x":{"dtype":"F32","shape":7,"data_offsets":[0,4]}})", 4, {"tensor x", "shape"});
           expect_refused(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}})", 4, {"tensor x"});
         }},
        {"offsets beyond the file, backwards, overlapping or with holes are refused",
         [] {
           expect_refused(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4,
                          {"tensor x", "bytes 0 to 8 of 4", "truncated"});
           expect_refused(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, {"tensor x"});
           expect_refused(
               R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,18446744073709551615]}})", 4,
               {"tensor x"});
           expect_refused("{" + one("x", 0, 4) + "," + one("y", 2, 6) + "}", 6, {"tensor y", "overlaps"});
           expect_refused("{" + one("x", 0, 4) + "," + one("y", 8, 12) + "}", 12, {"tensor y", "hole"});
           expect_refused(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, {"tensor x", "hole"});
           expect_refused(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 9,
                          {"5 bytes after the last tensor"});
         }},
        {"shapes that do not fill their bytes are refused, also when their product overflows",
         [] {
           expect_refused(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4,
                          {"tensor x", "4 bytes", "[2]", "F32"});
           expect_refused(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,5]}})", 5, {"tensor x"});
           expect_refused(R"({"x":{"dtype":"F32","shape":[0,3],"data_offsets":[0,4]}})", 4, {"tensor x"});
           // 2^32 * 2^32 elements are 0 modulo 2^64, and 2^40 * 2^22 * 4 bytes are as well
           expect_refused(R"({"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
                          {"tensor x"});
           expect_refused(R"({"x":{"dtype":"F32","shape":[1099511627776,4194304],"data_offsets":[0,0]}})", 0,
                          {"tensor x"});
           expect_refused(R"({"x":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,0]}})", 0,
                          {"tensor x", "shape"});
         }},
        {"a write that fails leaves the old file as it was, and nothing beside it",
         [] {
           const Folder folder;
           const std::string path = folder.file("m.safetensors");
           write_safetensors(path, {numbers("x", DType::U8, {1}, {5})});
           const std::string before = contents(path);
           const auto throwing = [](void*) { fail("E_MEMORY", "no tensor"); };
           expect_error("E_MEMORY", [&] { write_safetensors(path, {{"x", DType::F32, {4}, throwing}}); });
           expect(contents(path) == before && folder.count() == 1, "the old file changed, or a temporary one was left");
         }},
        {"a full disk is an error with the system's reason, and leaves nothing",
         [] {
           const Folder folder;
           rlimit old_limit;
           getrlimit(RLIMIT_FSIZE, &old_limit);
           const rlimit small{1 << 16, old_limit.rlim_max};
           const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
           setrlimit(RLIMIT_FSIZE, &small);
           std::string code;
           try {
             write_safetensors(folder.file("big.safetensors"),
                               {{"x", DType::U8, {1 << 20}, [](void* to) { std::memset(to, 1, 1 << 20); }}});
           } catch (const Error& error) {
             code = error.code;
           }
           setrlimit(RLIMIT_FSIZE, &old_limit);
           std::signal(SIGXFSZ, old_handler);
           expect(code == "E_IO", "error '", code, "', expected E_IO");
           expect(folder.count() == 0, folder.count(), " files were left");
         }},
        {"a folder that is not there, and two tensors of one name, are refused",
         [] {
           const Folder folder;
           expect_error("E_IO", {"no/m.safetensors"}, [&] { write_safetensors(folder.file("no/m.safetensors"), {}); });
           expect_error("E_CHECKPOINT", {"two tensors named x"}, [&] {
             write_safetensors(folder.file("m.safetensors"),
                               {numbers("x", DType::U8, {1}, {1}), numbers("x", DType::U8, {1}, {2})});
           });
           expect(folder.count() == 0, folder.count(), " files were left");
         }},
    });

}  // namespace
