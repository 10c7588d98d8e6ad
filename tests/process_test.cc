#include "axl/base/process.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "axl/base/clock.h"
#include "environment.h"
#include "temp_dir.h"

namespace axl {
namespace {

using Words = std::vector<std::string>;
using namespace std::chrono_literals;

const std::string kTooLong = "3600";  // seconds; who waits for such a program is ended by ctest

ProcessResult shell(const std::string& script, std::string_view input = {},
                    const std::function<bool()>& should_stop = nullptr) {
  return run_process(Words{"sh", "-c", script}, input, should_stop);
}

TEST(Process, GivesInputAndReturnsOutputErrorsAndExitCode) {
  const ProcessResult r = shell("cat; echo wrong >&2; exit 3", "some text");
  EXPECT_EQ(r.output, "some text");
  EXPECT_EQ(r.errors, "wrong\n");
  EXPECT_EQ(r.exit_code, 3);
  EXPECT_FALSE(r.stopped);
}

TEST(Process, LargeAndBinaryTextPassesUnchanged) {
  std::string text(5 << 20, '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7 + i / 251);
  EXPECT_TRUE(run_process(Words{"cat"}, text).output == text);
}

TEST(Process, NoShellReadsTheArguments) {
  const std::string hostile = "$(echo gone); `id` * \"'\n --";
  EXPECT_EQ(run_process(Words{"printf", "%s|%s", hostile, ""}).output, hostile + "|");
}

TEST(Process, AProgramThatIgnoresItsInputIsNoError) {
  EXPECT_EQ(run_process(Words{"true"}, std::string(1 << 20, 'x')).exit_code, 0);
}

TEST(Process, AMissingProgramIsNamed) {
  const std::string message =
      message_of<ProgramNotFound>([] { run_process(Words{"axl-no-such-program"}); });
  EXPECT_HOLDS(message, "axl-no-such-program");
}

TEST(Process, AFileThatCannotBeRunIsAnError) {
  const TempDir dir;
  put(dir / "text", "not a program");
  EXPECT_HOLDS(message_of<Error>([&] { run_process(Words{(dir / "text").string()}); }),
               "Permission denied");
}

TEST(Process, ASignalThatEndsItBecomesAnExitCode) {
  EXPECT_EQ(shell("kill -9 $$").exit_code, 128 + SIGKILL);
}

TEST(Process, StopsWhenAskedTo) {
  const Clock::time_point begin = Clock::now();
  const ProcessResult r =
      run_process(Words{"sleep", kTooLong}, {}, [&] { return Clock::now() > begin + 100ms; });
  EXPECT_TRUE(r.stopped);
  EXPECT_EQ(r.exit_code, 128 + SIGTERM);
}

TEST(Process, AProgramDeafToTermIsKilled) {
  const TempDir dir;
  const std::string ready = (dir / "ready").string();
  const ProcessResult r =
      run_process(Words{"sh", "-c", "trap '' TERM; : >\"$0\"; while :; do sleep 1; done", ready},
                  {}, [&] { return std::filesystem::exists(ready); });
  EXPECT_TRUE(r.stopped);
  EXPECT_EQ(r.exit_code, 128 + SIGKILL);
}

TEST(Process, IsGoneWhenTheQuestionWhetherToStopThrows) {
  const TempDir dir;
  const std::string note = (dir / "pid").string();
  const auto ask = [&]() -> bool {
    if (get(note).ends_with('\n')) throw std::runtime_error("no answer");
    return false;
  };
  EXPECT_THROW(
      run_process(Words{"sh", "-c", "echo $$ >\"$0\"; exec sleep $1", note, kTooLong}, {}, ask),
      std::runtime_error);
  EXPECT_NE(kill(std::stoi(get(note)), 0), 0) << "the child still runs";
}

TEST(Process, EndsWhenItsCallerDies) {
  const TempDir dir;
  const std::string note = (dir / "pid").string();
  const pid_t caller = fork();
  ASSERT_GE(caller, 0);
  if (caller == 0) {
    run_process(Words{"sh", "-c", "echo $$ >\"$0\"; exec sleep $1", note, kTooLong});
    _exit(0);
  }
  while (get(note).empty()) std::this_thread::sleep_for(10ms);
  kill(caller, SIGKILL);
  waitpid(caller, nullptr, 0);
  const pid_t child = std::stoi(get(note));
  const Clock::time_point begin = Clock::now();
  // A zombie that nobody reaps still has its pid, but no command line.
  const std::string command = "/proc/" + std::to_string(child) + "/cmdline";
  while (!get(command).empty() && Clock::now() - begin < 60s) std::this_thread::sleep_for(10ms);
  EXPECT_TRUE(get(command).empty()) << "the child outlives its caller";
}

TEST(Process, ProgramsAreFoundInThePath) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "a");
  std::filesystem::create_directory(dir / "b");
  put(dir / "a" / "tool", "not executable");
  put_script(dir / "b" / "tool", "");
  const Environment path("PATH", (dir / "a").string() + ":" + (dir / "b").string());
  EXPECT_EQ(find_program("tool"), dir / "b" / "tool");
  EXPECT_EQ(find_program("none"), "");
}

}  // namespace
}  // namespace axl
