// Keeps C++ exceptions from Rust: they become messages.
#pragma once

#include <cstring>
#include <exception>

// Runs `body`; returns null, or the message of its exception, which the caller frees with `ferronnx_free`.
template <typename Body>
char *guarded(Body body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const std::exception &error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("unknown exception");
  }
}
