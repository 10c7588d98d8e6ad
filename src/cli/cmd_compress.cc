#include <CLI/CLI.hpp>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include "axl/base/clock.h"
#include "axl/base/error.h"
#include "axl/base/file.h"
#include "axl/base/format.h"
#include "axl/base/text.h"
#include "axl/infer/compress.h"
#include "axl/infer/compressed_file.h"
#include "axl/model/checkpoint.h"
#include "cli/command.h"
#include "cli/json.h"
#include "cli/model_path.h"
#include "cli/progress.h"
#include "cli/signals.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

/// A copy, not a mapping: another program may write to the file while it is being compressed.
std::string read_input(const std::string& name) {
  return read_text(name == "-" ? "/dev/stdin" : name);
}

void check_out(const std::string& file, const std::string& out) {
  if (out.empty()) throw UsageError("-o/--out is needed: where to write the result");
  std::error_code ignored;
  if (fs::equivalent(file, out, ignored))
    throw UsageError(format("--out '{}' is the input itself; choose another name", out));
}

/// Shows how many of `total` bytes of content are done, until a signal comes.
OnCoded show_progress(Progress& progress, const std::string& name, uint64_t total) {
  const Clock::time_point begin = Clock::now();
  return [&progress, name, total, begin](uint64_t done) {
    const double rate = done / seconds_since(begin);
    progress.update(format("{}: {} of {}, {}/s, {} left", name, human_bytes(double(done)),
                           human_bytes(double(total)), human_bytes(rate),
                           human_seconds((total - done) / rate)));
    return stop_signal() == 0;
  };
}

struct Sizes {
  uint64_t content, compressed;
  double bits_per_byte() const { return content ? 8.0 * compressed / content : 0.0; }
};

void report(const std::string& file, const Globals& globals, const Sizes& sizes, double seconds) {
  const double rate = sizes.content / seconds;
  if (globals.json)
    return print_json({{"file", file},
                       {"bytes", sizes.content},
                       {"compressed_bytes", sizes.compressed},
                       {"bpb", sizes.bits_per_byte()},
                       {"seconds", seconds},
                       {"bytes_per_s", rate},
                       {"out", globals.out}});
  fmt::print("{}: {} bytes, compressed {}, {:.4f} bits per byte; {} in {} ({}/s)\n", file,
             sizes.content, sizes.compressed, sizes.bits_per_byte(), globals.out,
             human_seconds(seconds), human_bytes(rate));
}

int compress_command(const std::string& name, const Globals& globals) {
  check_out(name, globals.out);
  const Model model = load_model(resolve_model(globals.model));
  const std::string content = read_input(name);
  AtomicFile out(globals.out);  // before the long work

  catch_stop_signals();
  const Clock::time_point begin = Clock::now();
  std::optional<std::string> compressed;
  {
    Progress progress(globals.quiet);
    compressed = compress(model, content, show_progress(progress, name, content.size()));
  }
  if (!compressed) return 128 + stop_signal();
  out.write(*compressed);
  out.commit();
  report(name, globals, {content.size(), compressed->size()}, seconds_since(begin));
  return kExitDone;
}

int decompress_command(const std::string& name, const Globals& globals) {
  check_out(name, globals.out);
  const Model model = load_model(resolve_model(globals.model));
  const std::string compressed = read_input(name);
  const uint64_t length = parse_compressed_file(compressed, name).length;
  AtomicFile out(globals.out);

  catch_stop_signals();
  const Clock::time_point begin = Clock::now();
  std::optional<std::string> content;
  {
    Progress progress(globals.quiet);
    content = decompress(model, compressed, name, show_progress(progress, name, length));
  }
  if (!content) return 128 + stop_signal();
  out.write(*content);
  out.commit();
  report(name, globals, {content->size(), compressed.size()}, seconds_since(begin));
  return kExitDone;
}

Action setup(CLI::App& app, Globals& globals, const char* file_help, const char* out_help,
             int (*run)(const std::string&, const Globals&)) {
  auto file = std::make_shared<std::string>();
  app.add_option("file", *file, file_help)->type_name("FILE")->required();
  add_out_option(app, globals, out_help);
  return [file, &globals, run] { return run(*file, globals); };
}

}  // namespace

Action setup_compress(CLI::App& app, Globals& globals) {
  return setup(app, globals, "File to compress; - reads it from stdin",
               "Where to write the compressed file; needed", compress_command);
}

Action setup_decompress(CLI::App& app, Globals& globals) {
  return setup(app, globals, "File that 'axl compress' wrote; - reads it from stdin",
               "Where to write the content; needed", decompress_command);
}

}  // namespace axl
