#include "serve/run_logs.h"

#include <algorithm>
#include <fstream>
#include <string_view>
#include <vector>

#include "axl/base/format.h"
#include "axl/base/text.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

constexpr std::streamoff kMostBytes = 1 << 20;

std::string address_of(size_t run) { return format("/runs/{}/log", run); }

std::string name_of(const fs::path& directory) {
  const fs::path whole = fs::absolute(directory).lexically_normal();
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

/// Whole rows, evenly thinned where they are more than kMostBytes; those with a held-out score, and
/// the last, always stay. What follows the last line end may be a row that is being written.
std::string read_rows(std::ifstream& file) {
  std::string header;
  if (!std::getline(file, header) || file.eof()) return "";
  const std::streamoff begin = file.tellg();
  file.seekg(0, std::ios::end);
  const int64_t stride = (file.tellg() - begin) / kMostBytes + 1;
  file.seekg(begin);
  const std::vector<std::string_view> columns = split(header, ',');
  const size_t held_out = std::ranges::find(columns, "holdout_bpb") - columns.begin();
  std::string rows = header + "\n", row, last;
  for (int64_t i = 0; std::getline(file, row) && !file.eof(); ++i) {
    const std::vector<std::string_view> cells = split(row, ',');
    const bool scored = held_out < cells.size() && !cells[held_out].empty();
    const bool stays = i % stride == 0 || scored;
    if (stays) rows += row + "\n";
    last = stays ? "" : row + "\n";
  }
  return rows + last;
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
