// PyTorch's c10d: its key-value store over TCP, and sums, copies and gathering of CPU tensors between processes by Gloo.
//
// Every function returns null, or a message that the caller frees with `ferronnx_free`; no exception leaves.

#include <ATen/ATen.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "guarded.h"

using c10d::ProcessGroupGloo;
using c10d::TCPStore;
using Bytes = std::vector<uint8_t>;

// An intrusive pointer on the heap, for Rust to hold.
template <typename T>
using Held = c10::intrusive_ptr<T> *;

namespace {

template <typename T>
Held<T> held(c10::intrusive_ptr<T> pointer) {
  return new c10::intrusive_ptr<T>(std::move(pointer));
}

Bytes bytes(const uint8_t *data, size_t length) { return Bytes(data, data + length); }

// Seven days: who waits for a rank is told by our own watcher that it is lost, and long work of one rank is no fault.
constexpr std::chrono::hours patience{7 * 24};

}  // namespace

extern "C" {

// Connects to the store at `host`:`port`, and serves it before if `serve`. A server takes over the bound socket
// `listener`, or binds one itself where that is negative.
char *ferronnx_store_open(const char *host, uint16_t port, bool serve, int listener, int64_t timeout_ms,
                          Held<TCPStore> *made) {
  return guarded([&] {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serve;
    if (listener >= 0) options.masterListenFd = listener;
    options.waitWorkers = false;
    options.timeout = std::chrono::milliseconds(timeout_ms);
    *made = held(c10::make_intrusive<TCPStore>(host, options));
  });
}

char *ferronnx_store_set(Held<TCPStore> store, const char *key, const uint8_t *value, size_t length) {
  return guarded([&] { (*store)->set(key, bytes(value, length)); });
}

// Adds `value` to the end of what the key holds.
char *ferronnx_store_append(Held<TCPStore> store, const char *key, const uint8_t *value, size_t length) {
  return guarded([&] { (*store)->append(key, bytes(value, length)); });
}

// Sets the key unless it has a value.
char *ferronnx_store_set_first(Held<TCPStore> store, const char *key, const uint8_t *value, size_t length) {
  return guarded([&] { (*store)->compareSet(key, {}, bytes(value, length)); });
}

// Adds to the number that the key holds, which is 0 at first, and gives the sum.
char *ferronnx_store_add(Held<TCPStore> store, const char *key, int64_t value, int64_t *sum) {
  return guarded([&] { *sum = (*store)->add(key, value); });
}

// Value of the key, which the caller frees with `ferronnx_free`; null where there is none.
char *ferronnx_store_get(Held<TCPStore> store, const char *key, char **value, size_t *length) {
  return guarded([&] {
    *value = nullptr;
    if (!(*store)->check({key})) return;
    const auto found = (*store)->get(key);
    *length = found.size();
    *value = static_cast<char *>(std::malloc(found.size() + 1));
    std::memcpy(*value, found.data(), found.size());
  });
}

char *ferronnx_store_free(Held<TCPStore> store) {
  return guarded([&] { delete store; });
}

// Connects this rank with all others, which find each other through keys of the store that begin with `prefix`. Gloo
// listens at the local address `address`; without one, at the interface in GLOO_SOCKET_IFNAME.
char *ferronnx_gloo_new(Held<TCPStore> store, const char *prefix, int rank, int size, const char *address,
                        int64_t timeout_ms, Held<ProcessGroupGloo> *made) {
  return guarded([&] {
    const std::chrono::milliseconds timeout(timeout_ms);
    auto options = address ? ProcessGroupGloo::Options::create(timeout)
                           : ProcessGroupGloo::Options::create_default(timeout);
    if (address) options->devices.push_back(ProcessGroupGloo::createDeviceForHostname(address));
    auto keys = c10::make_intrusive<c10d::PrefixStore>(prefix, *store);
    auto group = c10::make_intrusive<ProcessGroupGloo>(keys, rank, size, options);
    group->setTimeout(patience);
    *made = held(std::move(group));
  });
}

// Begins to replace `tensor` by the sum over all ranks.
char *ferronnx_gloo_all_reduce(Held<ProcessGroupGloo> group, const at::Tensor *tensor, Held<c10d::Work> *work) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{tensor->detach()};
    *work = held((*group)->allreduce(tensors));
  });
}

// Begins to replace `tensor` by that of rank `root`.
char *ferronnx_gloo_broadcast(Held<ProcessGroupGloo> group, const at::Tensor *tensor, int root,
                              Held<c10d::Work> *work) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{tensor->detach()};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    *work = held((*group)->broadcast(tensors, options));
  });
}

// Begins to fill the tensors `to`, one of each rank, with their `from`.
char *ferronnx_gloo_all_gather(Held<ProcessGroupGloo> group, const at::Tensor *from, at::Tensor *const *to, size_t size,
                               Held<c10d::Work> *work) {
  return guarded([&] {
    std::vector<std::vector<at::Tensor>> outputs(1);
    for (size_t i = 0; i < size; ++i) outputs[0].push_back(*to[i]);
    std::vector<at::Tensor> inputs{*from};
    *work = held((*group)->allgather(outputs, inputs));
  });
}

char *ferronnx_gloo_free(Held<ProcessGroupGloo> group) {
  return guarded([&] { delete group; });
}

// Waits for at most `timeout_ms`, and says whether the work is done.
char *ferronnx_work_wait(Held<c10d::Work> work, int64_t timeout_ms, bool *done) {
  return guarded([&] {
    try {
      (*work)->wait(std::chrono::milliseconds(timeout_ms));
    } catch (const std::exception &) {
      // The time is over, or the work failed.
    }
    *done = (*work)->isCompleted();
    if (*done && (*work)->exception()) std::rethrow_exception((*work)->exception());
  });
}

char *ferronnx_work_free(Held<c10d::Work> work) {
  return guarded([&] { delete work; });
}
}
