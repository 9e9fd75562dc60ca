#include "core/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

namespace vlm2vec {

using nlohmann::json;

namespace {

constexpr uint64_t kLargestHeader = 100'000'000;  // the format's own limit

std::string reason() { return std::strerror(errno); }

struct FileDescriptor {
  int number;
  ~FileDescriptor() {
    if (number >= 0) ::close(number);
  }
};

// nullopt-like: false for a type that no model of ours uses.
bool parse_dtype(const std::string& text, DType& dtype) {
  if (text == "F32")
    dtype = DType::F32;
  else if (text == "BF16")
    dtype = DType::BF16;
  else if (text == "F16")
    dtype = DType::F16;
  else if (text == "I32")
    dtype = DType::I32;
  else if (text == "U8")
    dtype = DType::U8;
  else
    return false;
  return true;
}

const char* format_dtype(DType dtype) {
  switch (dtype) {
    case DType::F32: return "F32";
    case DType::BF16: return "BF16";
    case DType::F16: return "F16";
    case DType::I32: return "I32";
    case DType::U8: return "U8";
  }
  return "?";
}

}  // namespace

int64_t StoredTensor::size() const {
  int64_t count = 1;
  for (int64_t n : shape) count *= n;
  return count;
}

SafetensorsFile::SafetensorsFile(const std::string& path) : path_(path) {
  FileDescriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  require(file.number >= 0, "E_IO", path, ": cannot be opened: ", reason());
  struct stat status;
  require(::fstat(file.number, &status) == 0, "E_IO", path, ": ", reason());
  const uint64_t size = uint64_t(status.st_size);
  require(size >= 8, "E_CHECKPOINT", path, ": is ", size,
          " bytes long, too short for a safetensors file; it may be a "
          "truncated download or a Git LFS pointer");
  mapping_size_ = size;
  mapping_ = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.number, 0);
  if (mapping_ == MAP_FAILED) {
    mapping_ = nullptr;
    fail("E_IO", path, ": cannot be mapped: ", reason());
  }
  try {
    uint64_t length;
    std::memcpy(&length, mapping_, 8);
    require(length <= kLargestHeader && length <= size - 8, "E_CHECKPOINT", path, ": the header claims ", length,
            " bytes of a file of ", size, "; the file is truncated or no safetensors file");
    parse(static_cast<const char*>(mapping_) + 8, length, size - 8 - length);
  } catch (...) {
    ::munmap(mapping_, mapping_size_);
    throw;
  }
}

SafetensorsFile::~SafetensorsFile() {
  if (mapping_) ::munmap(mapping_, mapping_size_);
}

void SafetensorsFile::parse(const char* text, size_t length, size_t data_size) {
  json header;
  try {
    header = json::parse(text, text + length);
  } catch (const json::exception& error) {
    fail("E_CHECKPOINT", path_, ": the header is not valid JSON (", error.what(), ")");
  }
  require(header.is_object(), "E_CHECKPOINT", path_, ": the header is not a JSON object");
  const char* data = text + length;
  struct Range {
    uint64_t begin, end;
    std::string name;
  };
  std::vector<Range> ranges;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      if (entry.is_object())
        for (const auto& [key, value] : entry.items())
          if (value.is_string()) metadata_[key] = value.get<std::string>();
      continue;
    }
    StoredTensor tensor;
    tensor.name = name;
    uint64_t begin = 0, end = 0;
    std::string dtype;
    try {
      dtype = entry.at("dtype").get<std::string>();
      for (const auto& n : entry.at("shape")) {
        require(n.is_number_unsigned() && n.get<uint64_t>() <= (uint64_t(1) << 40), "E_CHECKPOINT", path_, ": tensor ",
                name, ": a shape of ", entry.at("shape").dump());
        tensor.shape.push_back(n.get<int64_t>());
      }
      begin = entry.at("data_offsets").at(0).get<uint64_t>();
      end = entry.at("data_offsets").at(1).get<uint64_t>();
    } catch (const json::exception& error) {
      fail("E_CHECKPOINT", path_, ": tensor ", name, ": its header entry is malformed (", error.what(), ")");
    }
    require(begin <= end && end <= data_size, "E_CHECKPOINT", path_, ": tensor ", name, ": occupies bytes ", begin,
            " to ", end, " of ", data_size, "; the file is truncated or its header is wrong");
    ranges.push_back({begin, end, name});
    if (!parse_dtype(dtype, tensor.dtype)) continue;  // e.g. an I64 buffer: not ours to read, and no error
    // by division: a product of hostile sizes may overflow
    uint64_t left = (end - begin) / size_of(tensor.dtype);
    bool exact = (end - begin) % size_of(tensor.dtype) == 0, any_zero = false;
    for (int64_t n : tensor.shape) any_zero = any_zero || n == 0;
    if (any_zero) {
      exact = exact && left == 0;
    } else {
      for (int64_t n : tensor.shape) {
        exact = exact && left % uint64_t(n) == 0;
        left /= uint64_t(n);
      }
      exact = exact && left == 1;
    }
    require(exact, "E_CHECKPOINT", path_, ": tensor ", name, ": ", end - begin, " bytes do not hold the shape ",
            entry.at("shape").dump(), " in ", dtype);
    tensor.data = data + begin;
    tensor.bytes = end - begin;
    index_[name] = tensors_.size();
    tensors_.push_back(std::move(tensor));
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
  uint64_t at = 0;
  for (const Range& range : ranges) {
    require(range.begin == at, "E_CHECKPOINT", path_, ": tensor ", range.name,
            range.begin < at ? ": overlaps the one before it" : ": leaves a hole before it", " (at byte ", range.begin,
            ", expected ", at, ")");
    at = range.end;
  }
  require(at == data_size, "E_CHECKPOINT", path_, ": ", data_size - at,
          " bytes after the last tensor; the header is wrong");
}

const StoredTensor* SafetensorsFile::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

void SafetensorsFile::drop_pages(const StoredTensor& tensor) const {
  const uintptr_t page = uintptr_t(::sysconf(_SC_PAGESIZE));
  const uintptr_t begin = (uintptr_t(tensor.data) + page - 1) / page * page;
  const uintptr_t end = (uintptr_t(tensor.data) + tensor.bytes) / page * page;
  if (end > begin) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

namespace {

void write_all(int file, const void* data, size_t bytes, const std::string& path) {
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::write(file, at, bytes);
    if (written < 0 && errno == EINTR) continue;
    require(written > 0, "E_IO", path, ": cannot be written: ", reason(), "; free space or choose another directory");
    at += written;
    bytes -= size_t(written);
  }
}

std::string directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

void write_safetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  // by size of type, then name, as the reference implementation orders them: data stays aligned
  std::vector<const TensorToWrite*> order;
  for (const auto& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const TensorToWrite* a, const TensorToWrite* b) {
    const size_t x = size_of(a->dtype), y = size_of(b->dtype);
    return x != y ? x > y : a->name < b->name;
  });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  size_t largest = 0;
  for (const TensorToWrite* tensor : order) {
    uint64_t bytes = size_of(tensor->dtype);
    for (int64_t n : tensor->shape) bytes *= uint64_t(n);
    require(!header.contains(tensor->name), "E_CHECKPOINT", path, ": two tensors named ", tensor->name);
    header[tensor->name] = {
        {"dtype", format_dtype(tensor->dtype)}, {"shape", tensor->shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
    largest = std::max<size_t>(largest, bytes);
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');

  const std::string temporary = path + ".tmp-" + std::to_string(::getpid());
  FileDescriptor file{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)};
  require(file.number >= 0, "E_IO", temporary, ": cannot be created: ", reason());
  try {
    const uint64_t length = text.size();
    write_all(file.number, &length, 8, path);
    write_all(file.number, text.data(), text.size(), path);
    std::vector<char> buffer(largest);
    for (const TensorToWrite* tensor : order) {
      uint64_t bytes = size_of(tensor->dtype);
      for (int64_t n : tensor->shape) bytes *= uint64_t(n);
      tensor->fill(buffer.data());
      write_all(file.number, buffer.data(), bytes, path);
    }
    require(::fsync(file.number) == 0, "E_IO", path, ": cannot be written: ", reason(),
            "; free space or choose another directory");
    require(::rename(temporary.c_str(), path.c_str()) == 0, "E_IO", path, ": cannot be put in place: ", reason());
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  FileDescriptor directory{::open(directory_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (directory.number >= 0) ::fsync(directory.number);
}

}  // namespace vlm2vec
