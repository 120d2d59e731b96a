// Clocks a harness until it is done. Prints "rows N" now and then, and at the end
// "done CYCLES FLAGS"; gives up after +max_cycles=.
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "Vtop.h"
#include "verilated.h"

int main(int argc, char** argv) {
    const std::unique_ptr<VerilatedContext> context{new VerilatedContext};
    context->commandArgs(argc, argv);
    const std::unique_ptr<Vtop> top{new Vtop{context.get()}};
    uint64_t max_cycles = UINT64_MAX;
    for (int i = 1; i < argc; ++i)
        if (!std::strncmp(argv[i], "+max_cycles=", 12))
            max_cycles = std::strtoull(argv[i] + 12, nullptr, 10);

    const auto tick = [&] {
        top->clk = 1;
        top->eval();
        top->clk = 0;
        top->eval();
    };
    top->clk = 0;
    top->rst = 1;
    top->eval();
    tick();
    tick();
    top->rst = 0;
    top->eval();
    uint64_t cycle = 0;
    for (; !top->done && !context->gotFinish() && cycle < max_cycles; ++cycle) {
        tick();
        if (cycle % 65536 == 65535) {
            std::printf("rows %" PRIu64 "\n", static_cast<uint64_t>(top->words_out));
            std::fflush(stdout);
        }
    }
    const bool done = top->done;
    std::printf("%s %" PRIu64 " %d\n", done ? "done" : "stuck",
                static_cast<uint64_t>(top->cycles), static_cast<int>(top->flags));
    top->final();
    return done ? 0 : 1;
}
