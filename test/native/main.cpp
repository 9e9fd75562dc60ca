// vlm2vec_test [--filter TEXT] [--list]: runs the cases whose name contains TEXT. One line for each that fails, the
// reasons of those skipped, and at the end "N passed, N failed, N skipped". Exit status 1 if any failed or none ran.
#include <cstdio>
#include <cstring>
#include <map>

#include "harness.h"

using namespace vlm2vec::test;

namespace {

struct Counts {
  int passed = 0, failed = 0;
  std::map<std::string, int> skipped;  // by reason
};

void run(const std::string& name, const Case& c, const Backend& backend, Counts& counts) {
  try {
    run_case(c, backend);
    ++counts.passed;
  } catch (const Failure& failure) {
    ++counts.failed;
    std::printf("FAILED %s: %s\n", name.c_str(), failure.message.c_str());
  } catch (const Skip& skip) {
    ++counts.skipped[skip.reason];
  }
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  std::string filter;
  bool list = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--list") == 0) {
      list = true;
    } else if (std::strcmp(argv[i], "--filter") == 0 && i + 1 < argc) {
      filter = argv[++i];
    } else {
      std::fprintf(stderr, "usage: %s [--filter TEXT] [--list]\n", argv[0]);
      return 2;
    }
  }
  Counts counts;
  for (const Group& group : all_groups())
    for (const Case& c : group.cases)
      for_each_backend(c.backends, [&](const Backend& backend) {
        const std::string suffix = backend.label.empty() ? "" : " [" + backend.label + "]";
        const std::string name = group.name + ": " + c.name + suffix;
        if (name.find(filter) == std::string::npos) return;
        if (list)
          std::printf("%s\n", name.c_str());
        else
          run(name, c, backend, counts);
      });
  if (list) return 0;
  int skipped = 0;
  for (const auto& [reason, count] : counts.skipped) {
    skipped += count;
    std::printf("skipped %d: %s\n", count, reason.c_str());
  }
  const int ran = counts.passed + counts.failed + skipped;
  if (ran == 0) std::printf("no case matches '%s'; --list shows them\n", filter.c_str());
  std::printf("%d passed, %d failed, %d skipped\n", counts.passed, counts.failed, skipped);
  return counts.failed == 0 && ran > 0 ? 0 : 1;
}
