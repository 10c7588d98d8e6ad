#include "axl/train/run_log.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>

#include "axl/base/error.h"
#include "axl/base/file.h"
#include "axl/base/format.h"
#include "axl/base/text.h"

namespace axl {
namespace {

constexpr std::string_view kAlpha = "alpha_";
using Cells = std::vector<std::string_view>;

class Reader {
 public:
  Reader(const std::filesystem::path& path, const Cells& header) : path_(path), header_(header) {
    for (const std::string_view name : header)
      if (name.starts_with(kAlpha)) log_.scales.emplace_back(name.substr(kAlpha.size()));
    for (const char* name : {"step", "bytes", "seconds", "loss", "holdout_bpb"})
      if (std::ranges::find(header, name) == header.end())
        fail(1, format("there is no column '{}'; this is not the log of a training run", name));
  }

  void add(size_t line, std::string_view text) {
    const Cells cells = split(text, ',');
    if (cells.size() != header_.size())
      fail(line,
           format("{} values, but the header names {} columns", cells.size(), header_.size()));
    StepReport report;
    for (size_t i = 0; i < cells.size(); ++i) take(report, line, header_[i], cells[i]);
    if (!log_.steps.empty() && report.step <= log_.steps.back().step)
      fail(line, format("step {} follows step {}", report.step, log_.steps.back().step));
    log_.steps.push_back(std::move(report));
  }

  RunLog result() && { return std::move(log_); }

 private:
  [[noreturn]] void fail(size_t line, const std::string& what) const {
    throw Error(format("{}:{}: {}", path_.string(), line, what));
  }

  template <class Number>
  Number number(size_t line, std::string_view column, std::string_view cell) const {
    Number value{};
    const char* end = cell.data() + cell.size();
    const auto [stop, code] = std::from_chars(cell.data(), end, value);
    if (code != std::errc() || stop != end || !std::isfinite(static_cast<double>(value)))
      fail(line, format("{} is '{}', which is not a finite number", column, cell));
    return value;
  }

  void take(StepReport& r, size_t line, std::string_view column, std::string_view cell) const {
    if (column == "step") r.step = number<int64_t>(line, column, cell);
    if (column == "bytes") r.bytes = number<uint64_t>(line, column, cell);
    if (column == "seconds") r.seconds = number<double>(line, column, cell);
    if (column == "loss") r.loss = number<double>(line, column, cell);
    if (column == "holdout_bpb" && !cell.empty())
      r.holdout_bpb = number<double>(line, column, cell);
    if (column.starts_with(kAlpha)) r.alpha.push_back(number<double>(line, column, cell));
  }

  const std::filesystem::path& path_;
  const Cells& header_;
  RunLog log_;
};

}  // namespace

RunLog read_run_log(const std::filesystem::path& path) {
  const std::string text = read_text(path);
  Cells lines = split(text, '\n');
  lines.pop_back();  // what stands after the last line end
  if (lines.empty()) throw Error(format("{}:1: the file is empty", path.string()));
  const Cells header = split(lines[0], ',');
  Reader reader(path, header);
  if (lines.size() == 1)
    throw Error(format("{}:2: there is no row yet: the run has not made a step", path.string()));
  for (size_t i = 1; i < lines.size(); ++i) reader.add(i + 1, lines[i]);
  return std::move(reader).result();
}

}  // namespace axl
