#include "core/memory.h"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <string>

namespace vlm2vec {

namespace {

// The number in a file of one; the largest one where there is none ("max", or no file).
size_t number_in(const std::string& path) {
  std::ifstream file(path);
  size_t number = 0;
  return file >> number ? number : SIZE_MAX;
}

size_t machine_memory() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  size_t kib = 0;
  while (file >> name >> kib) {
    if (name == "MemAvailable:") return kib * 1024;
    file.ignore(64, '\n');
  }
  return SIZE_MAX;
}

// Of a container: its limit (version 2 of control groups, else version 1) less what is in use and cannot be freed.
size_t group_memory() {
  const std::string root = "/sys/fs/cgroup/";
  const size_t limit = std::min(number_in(root + "memory.max"), number_in(root + "memory/memory.limit_in_bytes"));
  if (limit == SIZE_MAX) return SIZE_MAX;
  size_t used = 0;
  std::ifstream file(root + "memory.stat");
  std::string name;
  for (size_t number = 0; file >> name >> number;)
    if (name == "anon") used = number;
  return limit > used ? limit - used : 0;
}

}  // namespace

size_t available_memory() { return std::min(machine_memory(), group_memory()); }

}  // namespace vlm2vec
