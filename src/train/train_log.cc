#include "train_log.h"

#include <cerrno>
#include <cstring>
#include <sstream>
#include <string>

#include "axl/base/file.h"
#include "axl/base/format.h"

namespace axl {
namespace {

std::string header(const ModelConfig& config) {
  std::string line = "step,bytes,seconds,loss,fine_loss,lr,gradient_norm,bytes_per_s,holdout_bpb";
  for (int64_t s : config.downsample_factors) line += format(",alpha_{}", s);
  return line + "\n";
}

// The header and the whole rows of steps 1 .. step; a kill may have cut the last row short.
std::string rows_up_to(const std::filesystem::path& path, const std::string& header, int64_t step) {
  std::string kept = header, line;
  if (step == 0 || !std::filesystem::exists(path)) return kept;
  std::istringstream text(read_text(path));
  std::getline(text, line);
  while (std::getline(text, line))
    if (!text.eof() && std::strtoll(line.c_str(), nullptr, 10) <= step) kept += line + "\n";
  return kept;
}

}  // namespace

TrainLog::TrainLog(const std::filesystem::path& path, const ModelConfig& config, int64_t step)
    : path_(path) {
  write_text(path, rows_up_to(path, header(config), step));
  file_.reset(std::fopen(path.c_str(), "ae"));
  if (!file_) throw Error(format("{}: cannot write: {}", path.string(), std::strerror(errno)));
}

void TrainLog::append(const StepReport& r) {
  std::string row = format("{},{},{:.3f},{:.6f},{:.6f},{:.6g},{:.6g},{:.1f},{}", r.step, r.bytes,
                           r.seconds, r.loss, r.fine_loss, r.learning_rate, r.gradient_norm,
                           r.bytes_per_s, r.holdout_bpb ? format("{:.5f}", *r.holdout_bpb) : "");
  for (double alpha : r.alpha) row += format(",{:.5f}", alpha);
  row += "\n";
  if (std::fwrite(row.data(), 1, row.size(), file_.get()) != row.size() ||
      std::fflush(file_.get()) != 0)
    throw Error(
        format("{}: cannot write: {}; the last saved state is intact, continue with "
               "--resume",
               path_.string(), std::strerror(errno)));
}

}  // namespace axl
