#include "serve/run_logs.h"

#include <fstream>
#include <iterator>

#include "axl/base/format.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

constexpr std::streamoff kMostBytes = 1 << 20;

std::string address_of(size_t run) { return format("/runs/{}/log", run); }

std::string name_of(const fs::path& directory) {
  const fs::path whole = fs::absolute(directory).lexically_normal();
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

/// The last row may be one that is being written.
std::string read_rows(std::ifstream& file) {
  std::string header, cut;
  if (!std::getline(file, header) || file.eof()) return "";
  const std::streamoff begin = file.tellg();
  file.seekg(0, std::ios::end);
  const std::streamoff end = file.tellg();
  const bool all = end - begin <= kMostBytes;
  file.seekg(all ? begin : end - kMostBytes);
  if (!all) std::getline(file, cut);
  std::string rows{std::istreambuf_iterator<char>(file), {}};
  rows.resize(rows.find_last_of('\n') + 1);
  return header + "\n" + rows;
}

}  // namespace

Reply RunLogs::list() const {
  Reply runs = Reply::array();
  for (size_t i = 0; i < directories_.size(); ++i)
    runs.push_back({{"name", name_of(directories_[i])}, {"log", address_of(i)}});
  return {{"runs", std::move(runs)}};
}

std::string RunLogs::log(const std::string& address) const {
  for (size_t i = 0; i < directories_.size(); ++i) {
    if (address != address_of(i)) continue;
    std::ifstream file(directories_[i] / "train_log.csv", std::ios::binary);
    if (!file)
      throw ApiError(404, format("the run '{}' has no train_log.csv", name_of(directories_[i])),
                     "not_found");
    return read_rows(file);
  }
  throw ApiError(404, "there is no such run; /runs lists them", "not_found");
}

}  // namespace axl
