#pragma once

#include "cli/evaluation.h"
#include "cli/json.h"

namespace axl {

/// "a.py: 120 bytes, 1.4 nats per byte, …" on stdout.
void print_file(const EvaluatedFile& file);
/// The same of the few files that score worst.
void print_worst_files(const Evaluation& evaluation);
/// The total of two files or more, with its interval.
void print_total(const Evaluation& evaluation);
/// Tables by kind of byte and by visible context.
void print_breakdown(const Breakdown& breakdown);
void print_baselines(const Evaluation& evaluation);
void print_shared_shingles(const Evaluation& evaluation);

/// Warns on stderr, naming files, when training text holds much of what was evaluated.
void warn_of_shared_shingles(const Evaluation& evaluation);

/// Everything, as the README lists the keys.
Json evaluation_json(const Evaluation& evaluation);

}  // namespace axl
