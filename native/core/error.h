// The one exception type of the engine. `code` is stable and reaches JavaScript as `error.code`
// (src/errors.ts lists the codes); `what()` is a sentence that says what was wrong, where, and what to do.
#pragma once
#include <exception>
#include <sstream>
#include <string>
#include <utility>

namespace vlm2vec {

class Error : public std::exception {
 public:
  Error(std::string code, std::string message) : code(std::move(code)), message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }
  const std::string code;

 private:
  std::string message_;
};

template <typename... Parts>
[[noreturn]] void fail(const char* code, const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw Error(code, message.str());
}

// require(ok, "E_SHAPE", "rmsnorm: weight ", weight, " does not match x ", x)
template <typename... Parts>
inline void require(bool ok, const char* code, const Parts&... parts) {
  if (!ok) [[unlikely]]
    fail(code, parts...);
}

}  // namespace vlm2vec
