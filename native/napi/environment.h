// What one JavaScript environment (main thread or worker) holds: its device threads, its picture threads, and the way
// back from them. A device computes on one thread of its own, so that OpenMP keeps one team; calls on it run in order.
#pragma once
#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/device.h"

namespace vlm2vec {

// Threads that run what is posted, in order of posting. Destruction drops what has not begun.
class Executor {
 public:
  explicit Executor(int thread_count);
  ~Executor();
  void post(std::function<void()> work);
  // Set when the environment closes: long computations look at it between layers.
  const std::atomic<bool>& cancelled() const { return cancelled_; }
  void stop();

 private:
  void run();
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  std::atomic<bool> cancelled_{false};
  std::vector<std::thread> threads_;
};

// A device and the thread that computes on it. The device is made on that thread, by the first call.
class DeviceExecutor {
 public:
  DeviceExecutor(std::string name, int threads) : name_(std::move(name)), threads_(threads), executor_(1) {}
  Executor& executor() { return executor_; }
  Device& device();  // on the executor's thread only

 private:
  std::string name_;
  int threads_;
  std::unique_ptr<Device> device_;
  Executor executor_;  // destroyed first: joins before the device goes
};

class Environment {
 public:
  static void create(Napi::Env env);
  static Environment& of(Napi::Env env);

  // One a device and number of threads. E_OPTION for a device name that is none.
  std::shared_ptr<DeviceExecutor> device(const std::string& name, int threads);
  Executor& pictures() { return *pictures_; }

  // Runs `work` on the executor, then `result` here, and settles the promise. `pin` stays alive until then. What `work`
  // throws becomes a JavaScript error with its code.
  Napi::Promise run(Napi::Env env, Executor& executor, Napi::Value pin, std::function<void()> work,
                    std::function<Napi::Value(Napi::Env)> result);

 private:
  struct Task;
  void close();
  Napi::ThreadSafeFunction completions_;
  int pending_ = 0;
  std::map<std::string, std::shared_ptr<DeviceExecutor>> devices_;
  std::vector<std::weak_ptr<DeviceExecutor>> all_devices_;
  std::unique_ptr<Executor> pictures_;
};

Napi::Error to_js_error(Napi::Env env, std::exception_ptr error);

// A function of the export table: what it throws becomes a JavaScript error with its code.
template <Napi::Value (*function)(const Napi::CallbackInfo&)>
Napi::Value guard(const Napi::CallbackInfo& info) {
  try {
    return function(info);
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw to_js_error(info.Env(), std::current_exception());
  }
}

}  // namespace vlm2vec
