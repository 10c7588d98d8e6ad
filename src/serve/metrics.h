#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "serve/model_registry.h"

namespace axl {

/// What a server has done, in Prometheus's text format. Safe from any thread.
class Metrics {
 public:
  /// A request to a route (its pattern, never what a client wrote) is over.
  void count(const std::string& route, int status, double seconds,
             std::optional<double> first_byte_seconds);
  std::string text(const std::vector<ModelStatus>& models) const;

 private:
  static constexpr std::array<double, 13> kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                     0.25,  0.5,    1,     2.5,  10,    60};
  struct Histogram {
    std::array<uint64_t, kBounds.size() + 1> counts{};  ///< the last: above all bounds
    double sum = 0;
    void add(double seconds);
  };
  static void write(const std::string& name, const std::string& help,
                    const std::map<std::string, Histogram>& histograms, std::string& out);

  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, uint64_t> requests_;
  std::map<std::string, Histogram> seconds_, first_byte_;
};

}  // namespace axl
