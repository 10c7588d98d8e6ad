#include <algorithm>
#include <cmath>
#include <numbers>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/process.h"
#include "axl/train/run_log.h"
#include "cli/plot_script.h"
#include "temp_dir.h"

namespace axl {
namespace {

constexpr const char* kHeader =
    "step,bytes,seconds,loss,fine_loss,lr,gradient_norm,bytes_per_s,holdout_bpb,alpha_1,alpha_4\n";

std::string row(int step, double loss, const std::string& holdout = "") {
  return format("{},{},{:.3f},{},0,1e-3,1,100,{},0.75,0.25\n", step, 100 * step, 2.0 * step, loss,
                holdout);
}

/// What the reader says of a log with that text.
std::string complaint(const std::string& text) {
  const TempDir dir;
  put(dir / "log.csv", text);
  const std::string message = message_of<Error>([&] { read_run_log(dir / "log.csv"); });
  return message.substr(message.find("log.csv"));
}

RunLog log_of(const std::string& text) {
  const TempDir dir;
  put(dir / "log.csv", text);
  return read_run_log(dir / "log.csv");
}

StepReport step_at(int64_t step, double seconds, double bits) {
  StepReport report;
  report.step = step;
  report.seconds = seconds;
  report.loss = bits * std::numbers::ln2;
  return report;
}

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++n;
  return n;
}

TEST(RunLog, HoldsTheRowsAndTheScales) {
  const RunLog log = log_of(kHeader + row(1, 5.5) + row(2, 4.5, "6.25"));
  EXPECT_EQ(log.scales, (std::vector<std::string>{"1", "4"}));
  ASSERT_EQ(log.steps.size(), 2u);
  const StepReport& last = log.steps[1];
  EXPECT_EQ(last.step, 2);
  EXPECT_EQ(last.bytes, 200u);
  EXPECT_EQ(last.seconds, 4.0);
  EXPECT_EQ(last.loss, 4.5);
  EXPECT_EQ(last.holdout_bpb, 6.25);
  EXPECT_EQ(log.steps[0].holdout_bpb, std::nullopt);
  EXPECT_EQ(last.alpha, (std::vector<double>{0.75, 0.25}));
}

TEST(RunLog, FindsColumnsByNameAndSkipsUnknownOnes) {
  const RunLog log = log_of("new,loss,seconds,bytes,holdout_bpb,step\nx,1.5,2,3,,4\n");
  EXPECT_EQ(log.steps[0].step, 4);
  EXPECT_EQ(log.steps[0].loss, 1.5);
  EXPECT_TRUE(log.scales.empty());
}

TEST(RunLog, LeavesOutALineThatIsStillBeingWritten) {
  EXPECT_EQ(log_of(kHeader + row(1, 5) + "2,200,4.0").steps.size(), 1u);
}

TEST(RunLog, WhatIsWrongIsNamedWithFileAndLine) {
  EXPECT_HOLDS(complaint(""), "log.csv:1: the file is empty");
  EXPECT_HOLDS(complaint(kHeader), "log.csv:2: there is no row yet");
  EXPECT_HOLDS(complaint("step,bytes,seconds,loss\n1,2,3,4\n"),
               "log.csv:1: there is no column 'holdout_bpb'");
  EXPECT_HOLDS(complaint(kHeader + row(1, 5) + "2,200\n"), "log.csv:3: 2 values");
  EXPECT_HOLDS(complaint(kHeader + row(1, 5) + row(1, 5)), "log.csv:3: step 1 follows step 1");
  EXPECT_HOLDS(complaint(kHeader + row(1, NAN)), "log.csv:2: loss is 'nan'");
  EXPECT_HOLDS(complaint(kHeader + row(1, 5, "low")), "log.csv:2: holdout_bpb is 'low'");
  EXPECT_HOLDS(complaint(kHeader + row(1, 5) + "\n"), "log.csv:3: 1 values");
  EXPECT_HOLDS(message_of<Error>([] { read_run_log("/no/such/log.csv"); }), "/no/such/log.csv");
}

TEST(PlotScript, QuotesEveryByteOfAName) {
  EXPECT_EQ(gnuplot_quote("it's"), "'it\u2019s'");
  EXPECT_EQ(gnuplot_quote("a\nsystem('id')\r\x01"), "'a system(\u2019id\u2019)  '");
  EXPECT_EQ(gnuplot_quote("`id` \"$x\" \\"), "'`id` \"$x\" \\'");
}

TEST(PlotScript, HasPanelsForLossScoreAndEachGate) {
  const RunLog log = log_of(kHeader + row(1, 5, "6.25") + row(2, 4));
  const std::string script = plot_script(std::vector<PlottedRun>{{"a", log}, {"b", log}}, "svg");
  EXPECT_EQ(count(script, "'Training loss (smoothed)'"), 2u);
  EXPECT_EQ(count(script, "'Held-out score'"), 2u);
  EXPECT_HOLDS(script, "'Gate weights: a'");
  EXPECT_HOLDS(script, "'Gate weights: b'");
  EXPECT_HOLDS(script, "title 'scale 4'");
  EXPECT_HOLDS(script, "layout 3,2");
}

TEST(PlotScript, LeavesOutPanelsWithoutData) {
  const RunLog log = log_of(kHeader + row(1, 5) + row(2, 4));
  const std::string script = plot_script(std::vector<PlottedRun>{{"a", log}}, "svg");
  EXPECT_EQ(count(script, "'Held-out score'"), 0u);
  EXPECT_HOLDS(script, "layout 2,2");
}

TEST(PlotScript, DrawsBitsAgainstMinutesAndMegabytes) {
  RunLog log;
  log.steps = {step_at(1, 90, 3)};
  log.steps[0].bytes = 1500000;
  const std::string script = plot_script(std::vector<PlottedRun>{{"a", log}}, "svg");
  EXPECT_HOLDS(script, "<< EOD\n1.5 3\nEOD\n");
  EXPECT_EQ(count(script, "1.5 3\n"), 2u) << "1.5 minutes and 1.5 MB";
}

TEST(PlotScript, SmoothingKeepsALevelAndDampsNoise) {
  RunLog log;
  for (int i = 1; i <= 400; ++i) log.steps.push_back(step_at(i, 0, i % 2 ? 5 : 3));
  const std::string script = plot_script(std::vector<PlottedRun>{{"a", log}}, "svg");
  const size_t begin = script.find("<< EOD\n") + 7;
  std::istringstream data(script.substr(begin, script.find("EOD\n", begin) - begin));
  std::vector<double> bits;
  for (double x, y; data >> x >> y;) bits.push_back(y);
  ASSERT_EQ(bits.size(), 400u);
  EXPECT_NEAR(bits.front(), 5, 1e-5) << "the first mean is the first loss";
  EXPECT_NEAR((bits[398] + bits[399]) / 2, 4, 0.05);
  EXPECT_LT(std::abs(bits[399] - bits[398]), 0.3) << "of the loss itself it is 2";
}

TEST(PlotScript, ThinsLongRunsAndKeepsTheLastPoint) {
  RunLog log;
  for (int i = 1; i <= 12345; ++i) log.steps.push_back(step_at(i, 60.0 * i, 0));
  const std::string script = plot_script(std::vector<PlottedRun>{{"a", log}}, "svg");
  EXPECT_LT(count(script, "\n"), 2 * 1000 + 100u);
  EXPECT_HOLDS(script, "\n12345 0\nEOD");
}

TEST(Plot, HostileNamesAreDrawnAndNotRun) {
  const TempDir dir;
  const std::string bait = (dir / "bait").string();
  RunLog log = log_of(kHeader + row(1, 5, "6.25") + row(2, 4));
  std::vector<PlottedRun> runs;
  for (const std::string& attack :
       {"`touch " + bait + "`", "'; system('touch " + bait + "'); '", "\n!touch " + bait + "\n",
        "\\' \"`touch " + bait + "`\"", std::string("EOD\nexit status 7"), std::string("a\\")})
    runs.push_back({attack, log});
  try {
    const ProcessResult drawn = run_process(
        std::vector<std::string>{"gnuplot", "--default-settings", "-"}, plot_script(runs, "svg"));
    EXPECT_EQ(drawn.exit_code, 0) << drawn.errors;
    EXPECT_HOLDS(drawn.output, "</svg>");
    EXPECT_HOLDS(drawn.output, "exit status 7");
  } catch (const ProgramNotFound&) {
    GTEST_SKIP() << "gnuplot is not installed: scripts/install_deps.sh --tests";
  }
  EXPECT_FALSE(std::filesystem::exists(bait));
}

}  // namespace
}  // namespace axl
