#include "cli/plot_script.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "axl/base/format.h"

namespace axl {
namespace {

struct Curve {
  std::string name;
  std::vector<std::pair<double, double>> points;
  bool marks = false;  ///< few measured points rather than a dense line
};

struct Panel {
  std::string title, x_label, y_label;
  std::vector<Curve> curves;
  std::string settings = {};
};

// Okabe and Ito's colours (2008), told apart by colour-blind readers; their yellow is too pale for
// a line on white.
constexpr const char* kColours[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                    "#E69F00", "#56B4E9", "#000000"};
constexpr size_t kMaxPoints = 1000;  // more than a panel has pixels

double minutes(const StepReport& r) { return r.seconds / 60; }
double megabytes(const StepReport& r) { return static_cast<double>(r.bytes) / 1e6; }
using XAxis = double (*)(const StepReport&);

/// Exponential mean over about a fortieth of the run, free of the bias towards its beginning
/// (as in arXiv:1412.6980).
std::vector<double> smoothed_bits(const std::vector<StepReport>& steps) {
  const double keep = 1 - 1 / std::max(1.0, static_cast<double>(steps.size()) / 40);
  std::vector<double> bits;
  double sum = 0, weight = 0;
  for (const StepReport& r : steps) {
    sum = keep * sum + r.loss / std::numbers::ln2;
    weight = keep * weight + 1;
    bits.push_back(sum / weight);
  }
  return bits;
}

/// `y` over the steps, thinned to kMaxPoints; the last point stays.
template <class Y>
Curve line_of(const std::string& name, const std::vector<StepReport>& steps, XAxis x, const Y& y) {
  Curve curve{name, {}, steps.size() == 1};
  const size_t stride = (steps.size() + kMaxPoints - 1) / kMaxPoints;
  for (size_t i = 0; i < steps.size(); ++i)
    if ((steps.size() - 1 - i) % stride == 0) curve.points.emplace_back(x(steps[i]), y(i));
  return curve;
}

Curve loss_curve(const PlottedRun& run, XAxis x) {
  const std::vector<double> bits = smoothed_bits(run.log.steps);
  return line_of(run.name, run.log.steps, x, [&](size_t i) { return bits[i]; });
}

Curve holdout_curve(const PlottedRun& run, XAxis x) {
  Curve curve{run.name, {}, true};
  for (const StepReport& r : run.log.steps)
    if (r.holdout_bpb) curve.points.emplace_back(x(r), *r.holdout_bpb);
  return curve;
}

Panel score_panel(std::span<const PlottedRun> runs, const char* title, const char* x_label,
                  Curve (*curve_of)(const PlottedRun&, XAxis), XAxis x) {
  Panel panel{title, x_label, "bits per byte", {}};
  for (const PlottedRun& run : runs) panel.curves.push_back(curve_of(run, x));
  return panel;
}

Panel gate_panel(const PlottedRun& run) {
  Panel panel{"Gate weights: " + run.name, "minutes", "mean weight", {}, "set yrange [0:1]\n"};
  for (size_t s = 0; s < run.log.scales.size(); ++s)
    panel.curves.push_back(line_of("scale " + run.log.scales[s], run.log.steps, minutes,
                                   [&](size_t i) { return run.log.steps[i].alpha[s]; }));
  return panel;
}

std::vector<Panel> panels_of(std::span<const PlottedRun> runs) {
  constexpr const char* kTime = "minutes";
  constexpr const char* kRead = "MB read";
  std::vector<Panel> panels = {
      score_panel(runs, "Training loss (smoothed)", kTime, loss_curve, minutes),
      score_panel(runs, "Training loss (smoothed)", kRead, loss_curve, megabytes),
      score_panel(runs, "Held-out score", kTime, holdout_curve, minutes),
      score_panel(runs, "Held-out score", kRead, holdout_curve, megabytes)};
  for (const PlottedRun& run : runs) panels.push_back(gate_panel(run));
  for (Panel& panel : panels)
    std::erase_if(panel.curves, [](const Curve& c) { return c.points.empty(); });
  std::erase_if(panels, [](const Panel& p) { return p.curves.empty(); });
  return panels;
}

std::string data_block(const std::string& name, const Curve& curve) {
  std::string text = format("{} << EOD\n", name);
  for (const auto& [x, y] : curve.points) text += format("{:.6g} {:.6g}\n", x, y);
  return text + "EOD\n";
}

/// Colours repeat after the seventh curve, dash patterns then differ.
std::string style_of(size_t index, bool marks) {
  const size_t colours = std::size(kColours);
  return format("with {} linecolor rgb '{}' linewidth 2 dashtype {}{}",
                marks ? "linespoints" : "lines", kColours[index % colours], index / colours % 5 + 1,
                marks ? format(" pointtype {} pointsize 0.7", index % 7 + 4) : "");
}

std::string panel_script(const Panel& panel) {
  std::string text, plots;
  for (size_t i = 0; i < panel.curves.size(); ++i) {
    const std::string block = format("$curve{}", i);
    text += data_block(block, panel.curves[i]);
    plots += format("{}{} using 1:2 title {} {}", i == 0 ? "plot " : ", ", block,
                    gnuplot_quote(panel.curves[i].name), style_of(i, panel.curves[i].marks));
  }
  return text +
         format(
             "set title {}\nset xlabel {}\nset ylabel {}\nset autoscale\nset xrange [0:*]\n{}{}\n",
             gnuplot_quote(panel.title), gnuplot_quote(panel.x_label), gnuplot_quote(panel.y_label),
             panel.settings, plots);
}

}  // namespace

std::string gnuplot_quote(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) {
    // gnuplot 5.4 trips over a doubled quote at the beginning of a string.
    if (c == '\'')
      quoted += "\u2019";
    else
      quoted += static_cast<unsigned char>(c) < ' ' || c == '\x7f' ? ' ' : c;
  }
  return quoted + "'";
}

std::string plot_script(std::span<const PlottedRun> runs, const std::string& terminal) {
  constexpr int kColumns = 2, kWidth = 1200, kRowHeight = 380;
  const std::vector<Panel> panels = panels_of(runs);
  const int rows = (static_cast<int>(panels.size()) + kColumns - 1) / kColumns;
  // noenhanced: an underscore of a name is an underscore.
  std::string text = format(
      "set terminal {} noenhanced size {},{} font 'sans,11' background rgb 'white'\n"
      "set encoding utf8\nset grid linetype 1 linewidth 1 linecolor rgb '#d0d0d0'\nset border "
      "3\nset tics nomirror\n"
      "set key top right\nset multiplot layout {},{}\n",
      terminal, kWidth, rows * kRowHeight, rows, kColumns);
  for (const Panel& panel : panels) text += panel_script(panel);
  return text + "unset multiplot\n";
}

}  // namespace axl
