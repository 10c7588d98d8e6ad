#pragma once

#include <httplib.h>

#include <atomic>
#include <chrono>
#include <string>

#include "axl/base/clock.h"

namespace axl {

/// Patience with a client.
struct ConnectionTimes {
  std::chrono::milliseconds idle{5000};      ///< between requests
  std::chrono::milliseconds receive{30000};  ///< for a whole request, however slowly it comes
  std::chrono::milliseconds stall{10000};    ///< while it takes nothing of an answer
  std::chrono::milliseconds whole{660000};   ///< for a request and its answer
};

/// A client's socket, as the HTTP library reads and writes it. The library itself waits for each
/// byte anew, and takes headers without end: here the head of a request is read first, whole,
/// within a size and a time.
class Connection : public httplib::Stream {
 public:
  Connection(int socket, const ConnectionTimes& times) : socket_(socket), times_(times) {}

  enum class Head { kReady, kClosed, kTooLarge, kTooSlow };
  /// Waits for the next request and reads its head; kClosed when there is none, or `stopping`.
  Head read_head(const std::atomic<bool>& stopping);
  /// When the current request's first byte came.
  Clock::time_point arrival() const { return arrival_; }
  /// Whether the client has closed its end.
  bool peer_gone() const;
  /// Reads what is still coming, for a while, so that closing does not destroy the answer that the
  /// client has not read yet.
  void linger();

  bool is_readable() const override;
  bool is_writable() const override { return !peer_gone(); }
  ssize_t read(char* to, size_t size) override;
  ssize_t write(const char* from, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_; }

 private:
  bool receive(Clock::time_point deadline);
  bool wait_for_first_byte(const std::atomic<bool>& stopping);
  void drop_ranges(size_t head_end);

  int socket_;
  ConnectionTimes times_;
  std::string in_;    ///< received
  size_t taken_ = 0;  ///< of it, given to the library
  Clock::time_point arrival_{}, deadline_{};
};

}  // namespace axl
