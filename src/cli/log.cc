#include "cli/log.h"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <mutex>

#include "cli/progress.h"

namespace axl {
namespace {

class StderrSink : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    clear_progress_line();
    std::fwrite(line.data(), 1, line.size(), stderr);
  }
  void flush_() override { std::fflush(stderr); }
};

}  // namespace

void set_up_log(const Globals& globals) {
  auto logger = std::make_shared<spdlog::logger>("axl", std::make_shared<StderrSink>());
  logger->set_pattern("axl: %l: %v");
  logger->set_level(globals.verbose ? spdlog::level::debug
                    : globals.quiet ? spdlog::level::warn
                                    : spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

void print_error(const std::string& message) {
  std::string line = "axl: error: " + message;
  // Names of files may hold anything, also what would move a terminal's cursor.
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < 32 || c == 127; }, ' ');
  line += '\n';
  clear_progress_line();
  std::fputs(line.c_str(), stderr);
}

}  // namespace axl
