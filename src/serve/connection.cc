#include "serve/connection.h"

#include <arpa/inet.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>

#include <algorithm>
#include <string_view>

namespace axl {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMaxHead = 32 << 10, kReceive = 16 << 10;
constexpr size_t kMaxLinger = 4 << 20;
constexpr milliseconds kLinger{1000}, kLook{100};
constexpr std::string_view kHeadEnd = "\r\n\r\n";

/// Whether one of `events` came before the time was over.
bool wait_for(int socket, short events, milliseconds time) {
  pollfd p = {socket, events, 0};
  const int n = poll(&p, 1, static_cast<int>(std::max<int64_t>(time.count(), 0)));
  return n > 0 && (p.revents & (events | POLLHUP | POLLERR)) != 0;
}

milliseconds until(Clock::time_point t) {
  return std::chrono::duration_cast<milliseconds>(t - Clock::now()) + milliseconds(1);
}

void read_address(const sockaddr_storage& address, std::string& ip, int& port) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET6) {
    const auto& a = reinterpret_cast<const sockaddr_in6&>(address);
    inet_ntop(AF_INET6, &a.sin6_addr, text, sizeof text);
    port = ntohs(a.sin6_port);
  } else {
    const auto& a = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &a.sin_addr, text, sizeof text);
    port = ntohs(a.sin_port);
  }
  ip = text;
}

}  // namespace

bool Connection::receive(Clock::time_point deadline) {
  if (!wait_for(socket_, POLLIN, until(deadline))) return false;
  char buffer[kReceive];
  const ssize_t n = recv(socket_, buffer, sizeof buffer, 0);
  if (n <= 0) return false;
  in_.append(buffer, static_cast<size_t>(n));
  return true;
}

bool Connection::wait_for_first_byte(const std::atomic<bool>& stopping) {
  const Clock::time_point end = Clock::now() + times_.idle;
  while (in_.empty()) {
    if (stopping || Clock::now() > end) return false;
    if (wait_for(socket_, POLLIN, kLook) && !receive(end)) return false;
  }
  return true;
}

Connection::Head Connection::read_head(const std::atomic<bool>& stopping) {
  in_.erase(0, taken_);
  taken_ = 0;
  if (!wait_for_first_byte(stopping)) return Head::kClosed;
  arrival_ = Clock::now();
  deadline_ = arrival_ + times_.receive;
  size_t end;
  while ((end = in_.find(kHeadEnd)) == in_.npos) {
    if (in_.size() > kMaxHead) return Head::kTooLarge;
    if (!receive(deadline_)) return Clock::now() > deadline_ ? Head::kTooSlow : Head::kClosed;
  }
  if (end > kMaxHead) return Head::kTooLarge;
  drop_ranges(end);
  return Head::kReady;
}

/// No answer comes in ranges, and the library reads what asks for them by recursion.
void Connection::drop_ranges(size_t head_end) {
  constexpr std::string_view kName = "\r\nrange:";
  for (size_t at = in_.find("\r\n"); at < head_end; at = in_.find("\r\n", at)) {
    if (strncasecmp(in_.c_str() + at, kName.data(), kName.size()) != 0) {
      ++at;
      continue;
    }
    const size_t size = in_.find("\r\n", at + 2) - at;
    in_.erase(at, size);
    head_end -= size;
  }
}

bool Connection::peer_gone() const {
  pollfd p = {socket_, POLLRDHUP, 0};
  return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

void Connection::linger() {
  shutdown(socket_, SHUT_WR);
  const Clock::time_point end = Clock::now() + kLinger;
  for (size_t total = 0; total < kMaxLinger && Clock::now() < end; total += in_.size()) {
    in_.clear();
    if (!receive(end)) return;
  }
}

bool Connection::is_readable() const { return wait_for(socket_, POLLIN, until(deadline_)); }

ssize_t Connection::read(char* to, size_t size) {
  if (taken_ == in_.size()) {
    in_.clear();
    taken_ = 0;
    if (!receive(deadline_)) return -1;
  }
  const size_t n = std::min(size, in_.size() - taken_);
  in_.copy(to, n, taken_);
  taken_ += n;
  return static_cast<ssize_t>(n);
}

ssize_t Connection::write(const char* from, size_t size) {
  if (Clock::now() > arrival_ + times_.whole || !wait_for(socket_, POLLOUT, times_.stall))
    return -1;
  return send(socket_, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address = {};
  socklen_t size = sizeof address;
  if (getpeername(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0)
    read_address(address, ip, port);
}

void Connection::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address = {};
  socklen_t size = sizeof address;
  if (getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0)
    read_address(address, ip, port);
}

}  // namespace axl
