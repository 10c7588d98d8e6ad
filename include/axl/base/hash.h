#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace axl {

/// Streaming 64-bit XXH3 of all bytes given to update().
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  void update(const void* data, size_t bytes);
  void update(std::string_view text) { update(text.data(), text.size()); }
  uint64_t digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

uint64_t hash64(std::string_view text, uint64_t seed = 0);

}  // namespace axl
