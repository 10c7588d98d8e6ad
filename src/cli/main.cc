#include "cli/run.h"

int main(int argc, char** argv) { return axl::run_cli(argc, argv); }
