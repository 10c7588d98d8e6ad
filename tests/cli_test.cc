#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "axl/base/error.h"
#include "axl/base/file.h"
#include "axl/base/format.h"
#include "axl/base/parallel.h"
#include "axl/formats/safetensors.h"
#include "axl/kernels/isa.h"
#include "axl/model/config.h"
#include "axl/model/cost.h"
#include "cli/command.h"
#include "cli/config_file.h"
#include "cli/log.h"
#include "cli/model_path.h"
#include "cli/progress.h"
#include "cli/run.h"
#include "cli/threads.h"
#include "environment.h"

namespace axl {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

struct Result {
  int code;
  std::string out, err;
};

/// Runs the program in an empty directory of the test, through a shell.
class Cli : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::path(testing::TempDir()) /
           format("axl_cli_{}_{}", getpid(),
                  testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(dir_ / "cwd");
    unsetenv("AXL_MODEL");
  }
  void TearDown() override { fs::remove_all(dir_); }

  Result axl(const std::string& arguments) const {
    const std::string command =
        format("cd {0}/cwd && >{0}/out 2>{0}/err {1} {2}", dir_.string(), AXL_BINARY, arguments);
    const int status = std::system(command.c_str());
    return {WEXITSTATUS(status), read_text(dir_ / "out"), read_text(dir_ / "err")};
  }

  /// Expects exit `code`, nothing on stdout and one line "axl: error: …" with `part` in it.
  void expect_error(const std::string& arguments, int code, const std::string& part) const {
    const Result result = axl(arguments);
    EXPECT_EQ(result.code, code) << arguments;
    EXPECT_EQ(result.out, "") << arguments;
    EXPECT_TRUE(result.err.starts_with("axl: error: ")) << result.err;
    EXPECT_EQ(result.err.find('\n'), result.err.size() - 1) << result.err;
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err << " lacks " << part;
  }

  /// A model directory with a configuration, and no weights that matter.
  fs::path write_model(const fs::path& dir, const ModelConfig& config) const {
    fs::create_directories(dir);
    const float zero = 0;
    const TensorSource tensor{"x", DType::kF32, {1}, &zero};
    write_safetensors(dir / "model.safetensors", {&tensor, 1}, {{"axl_config", to_json(config)}});
    return dir;
  }

  fs::path dir_;
};

TEST_F(Cli, AloneShowsHelpAsAnError) {
  const Result result = axl("");
  EXPECT_EQ(result.code, 2);
  EXPECT_EQ(result.out, "");
  EXPECT_NE(result.err.find("usage: axl COMMAND"), std::string::npos);
}

TEST_F(Cli, HelpListsEveryCommand) {
  const Result result = axl("--help");
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.err, "");
  for (const Command& command : commands()) {
    EXPECT_NE(result.out.find(command.name), std::string::npos) << command.name;
  }
}

TEST_F(Cli, HelpOfEveryCommandShowsTheGlobalOptions) {
  for (const Command& command : commands()) {
    const Result result = axl(format("{} --help", command.name));
    EXPECT_EQ(result.code, 0) << command.name;
    EXPECT_EQ(result.err, "") << command.name;
    for (const char* flag : {"--model", "--threads", "--json", "--quiet", "--verbose"}) {
      EXPECT_NE(result.out.find(flag), std::string::npos) << command.name << " " << flag;
    }
  }
}

TEST_F(Cli, VersionIsOneLine) {
  const Result result = axl("--version");
  EXPECT_EQ(result.code, 0);
  EXPECT_TRUE(result.out.starts_with("axl ")) << result.out;
  EXPECT_EQ(result.out.find('\n'), result.out.size() - 1);
  EXPECT_NE(result.out.find(format("kernels for {})", kernel_isa())), std::string::npos);
}

TEST_F(Cli, BenchGemmPrintsAProductToALine) {
  const std::string options = " --seconds 0.1 --config axl_micro_600k";
  const Json json = Json::parse(axl("bench gemm --json" + options).out);
  const Json& products = json["products"];
  ASSERT_EQ(products.size(), 15u);  // three with each of five matrices
  for (const Json& p : products) {
    EXPECT_GT(p["gflops"], 0.0) << p;
    EXPECT_GT(p["of_ceiling"], 0.0) << p;
  }
  const std::string out = axl("bench gemm" + options).out;
  const auto lines = [&](std::string_view part) {
    int count = 0;
    for (size_t at = 0; (at = out.find(part, at)) != std::string::npos; at += part.size()) ++count;
    return count;
  };
  EXPECT_EQ(lines("  y = x Wᵀ  "), 5) << out;
  EXPECT_EQ(lines("  dx = dy W "), 5) << out;
  EXPECT_EQ(lines("  dW = dyᵀ x"), 5) << out;
  EXPECT_EQ(lines("{"), 0) << out;
}

TEST_F(Cli, TheEnvironmentChoosesTheKernels) {
  const Environment avx2("AXL_ISA", "avx2");
  EXPECT_NE(axl("--version").out.find("kernels for avx2)"), std::string::npos);
  const Result bench = axl("bench gemm --json --seconds 0.1 --config axl_micro_600k");
  EXPECT_NE(bench.out.find("\"kernels\":\"avx2\""), std::string::npos) << bench.out;
  const Environment unknown("AXL_ISA", "avx1024");
  expect_error("bench gemm", 2, "AXL_ISA is 'avx1024', but it must be one of avx512, avx2");
  EXPECT_EQ(axl("--help").code, 0);
}

TEST_F(Cli, WrongUsageNamesTheNearestWord) {
  expect_error("inof", 2, "did you mean 'info'?");
  expect_error("--jsno info", 2, "where a command is expected");
  expect_error("info axl_micro --thread 2", 2, "did you mean '--threads'?");
  expect_error("info axl_micro --thread=2", 2,
               "unknown option '--thread' (see 'axl info --help'); did you mean '--threads'?");
  expect_error("info axl_micro -x", 2, "unknown option '-x'");
  expect_error("info axl_mirco", 2, "did you mean 'axl_micro'?");
  expect_error("info axl_micro another", 2, "unexpected argument 'another'");
  expect_error("info axl_micro --threads 0", 2, "--threads");
  expect_error("info axl_micro --threads many", 2, "--threads");
  expect_error("info axl_micro --threads", 2, "--threads");
  expect_error("info axl_micro --quiet --verbose", 2, "--quiet");
}

TEST_F(Cli, NamesOfCommandsAreOrdinaryArguments) {
  expect_error("info info", 2, "there is no configuration 'info'");
}

TEST_F(Cli, ErrorsStayOnOneLine) {
  expect_error("info \"$(printf 'a\\nb\\033[2J')\"", 2, "'a b [2J'");
}

TEST_F(Cli, FailuresExitWithOne) {
  expect_error("info", 1, "axl train");
  expect_error("info --model nowhere", 1, "--model: there is no 'nowhere'");
  expect_error("info nowhere/model.safetensors", 1, "nowhere");
  fs::create_directories(dir_ / "cwd/empty");
  expect_error("info empty", 1, "holds no model.safetensors");
  write_text(dir_ / "cwd/bad.safetensors", "no such thing");
  expect_error("info bad.safetensors", 1, "bad.safetensors");
}

TEST_F(Cli, ErrorsStayOnStderrWithJson) {
  expect_error("info axl_mirco --json", 2, "axl_micro");
  expect_error("info --json", 1, "no model");
}

TEST_F(Cli, AFullDiskIsAFailure) {
  const Result result = axl("info axl_micro >/dev/full");
  EXPECT_EQ(result.code, 1);
  EXPECT_NE(result.err.find("standard output"), std::string::npos) << result.err;
}

TEST_F(Cli, YamlErrorsNameTheLine) {
  write_text(dir_ / "cwd/mine.yaml", "name: mine\nmodel:\n  d_modle: 64\n");
  expect_error("info mine", 2, "mine.yaml:3: ");
  expect_error("info ./mine.yaml", 2, "'model.d_model'");
}

TEST_F(Cli, InfoOfAConfigurationPrintsItsCount) {
  const Result result = axl("info axl_micro");
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.err, "");
  EXPECT_TRUE(result.out.starts_with("axl_micro: 12.8M parameters")) << result.out;
}

TEST_F(Cli, InfoAsJsonIsOneObject) {
  const Result result = axl("info axl_micro --json");
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.err, "");
  const Json json = Json::parse(result.out);
  const Config config = load_config("axl_micro");
  EXPECT_EQ(json.at("params"), count_parameters(config.model).total());
  EXPECT_EQ(json.at("config").at("name"), "axl_micro");
  EXPECT_EQ(json.at("config").at("model").at("vocab_size"), 258);
  EXPECT_EQ(json.at("config").at("train").at("optimizer"), "lion");
  EXPECT_EQ(json.at("flops_per_byte"), training_flops_per_byte(config.model));
  EXPECT_GT(json.at("train_bytes"), json.at("run_bytes"));
  int64_t sum = 0;
  for (const auto& [name, part] : json.at("params_by_part").items()) {
    if (part.is_object()) {
      for (const auto& [scale, count] : part.items()) sum += count.get<int64_t>();
    } else {
      sum += part.get<int64_t>();
    }
  }
  EXPECT_EQ(sum, json.at("params"));
}

TEST_F(Cli, InfoReadsTheConfigurationOfAModel) {
  ModelConfig model;
  model.d_model = 32;
  const fs::path path = write_model(dir_ / "some", model);
  for (const std::string& target :
       {path.string(), (path / "model.safetensors").string(), "--model " + path.string()}) {
    const Json json = Json::parse(axl("info --json " + target).out);
    EXPECT_EQ(json.at("params"), count_parameters(model).total()) << target;
  }
}

TEST_F(Cli, ModelsComeFromTheFlagThenTheEnvironmentThenTheLatest) {
  ModelConfig model;
  const auto width = [&](const std::string& arguments) {
    return Json::parse(axl("info --json " + arguments).out)["config"]["model"]["d_model"];
  };
  model.d_model = 32;
  write_model(dir_ / "cwd/checkpoints/run", model);
  fs::create_symlink("run", dir_ / "cwd/checkpoints/latest");
  EXPECT_EQ(width(""), 32);
  model.d_model = 64;
  setenv("AXL_MODEL", write_model(dir_ / "environment", model).c_str(), 1);
  EXPECT_EQ(width(""), 64);
  model.d_model = 128;
  EXPECT_EQ(width("--model " + write_model(dir_ / "flag", model).string()), 128);
  setenv("AXL_MODEL", "nowhere", 1);
  expect_error("info", 1, "$AXL_MODEL");
}

TEST_F(Cli, ModelsOfOthersAreRefusedByName) {
  const float zero = 0;
  const TensorSource tensor{"x", DType::kF32, {1}, &zero};
  write_safetensors(dir_ / "cwd/other.safetensors", {&tensor, 1}, {});
  expect_error("info other.safetensors", 1, "not a model of axl");
}

TEST(RunGuarded, TurnsExceptionsIntoExitCodes) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(run_guarded([] { return 7; }), 7);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  const auto check = [](int code, const std::string& part, const std::function<int()>& body) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(run_guarded(body), code);
    const std::string text = testing::internal::GetCapturedStderr();
    EXPECT_TRUE(text.starts_with("axl: error: ")) << text;
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  check(1, "broken", []() -> int { throw Error("broken"); });
  check(2, "misused", []() -> int { throw UsageError("misused"); });
  check(1, "defect of axl", []() -> int { throw InternalError("x"); });
  check(1, "out of memory", []() -> int { throw std::bad_alloc(); });
  check(1, "else", []() -> int { throw std::runtime_error("else"); });
}

TEST(Threads, DefaultIsPositiveAndZeroTakesIt) {
  EXPECT_GE(default_threads(), 1);
  use_threads(3);
  EXPECT_EQ(num_threads(), 3);
  use_threads(0);
  EXPECT_EQ(num_threads(), default_threads());
}

std::string read_all(std::FILE* file) {
  std::rewind(file);
  std::string text;
  for (int c; (c = std::fgetc(file)) != EOF;) text += static_cast<char>(c);
  return text;
}

TEST(Progress, PrintsPlainLinesRarelyAndNoneAtOnceWithoutATerminal) {
  std::FILE* file = std::tmpfile();
  {
    Progress progress(false, 3600, file);
    progress.update("zero");
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));
    progress.update("one");
    progress.update("two");
    progress.print("three");
  }
  EXPECT_EQ(read_all(file), "one\nthree\n");
  std::fclose(file);
}

TEST(Progress, PrintsNothingWhenQuiet) {
  std::FILE* file = std::tmpfile();
  {
    Progress progress(true, 0, file);
    progress.update("one");
    progress.print("two");
  }
  EXPECT_EQ(read_all(file), "");
  std::fclose(file);
}

TEST(Progress, RewritesOneLineOfATerminalAndClearsItForOthers) {
  setenv("TERM", "xterm", 1);
  int master = -1, slave = -1;
  winsize size = {24, 11, 0, 0};
  ASSERT_EQ(openpty(&master, &slave, nullptr, nullptr, &size), 0);
  std::FILE* terminal = fdopen(slave, "w");
  {
    Progress progress(false, 3600, terminal);
    progress.update("step 1 of 100000");
    clear_progress_line();
    clear_progress_line();
    progress.print("done");
  }
  const std::string expected = "\r\033[Kstep 1 of \r\033[Kdone\r\n";
  std::string shown;
  for (char c; shown.size() < expected.size() && read(master, &c, 1) == 1;) shown += c;
  EXPECT_EQ(shown, expected);
  std::fclose(terminal);
  close(master);
}

}  // namespace
}  // namespace axl
