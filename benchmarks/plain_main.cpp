// The peer of the rtl engine: the same array in a plain Verilator loop, operands from a generator
// and nothing written. Prints the cycles per second of +cycles= cycles.
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "Vtop.h"
#include "verilated.h"

int main(int argc, char** argv) {
    VerilatedContext context;
    Vtop top{&context};
    const uint64_t cycles = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100000;
    uint64_t state = 88172645463325252ull, word = 0, sum = 0;
    top.clk = 0;
    top.rst = 1;
    top.eval();
    top.clk = 1;
    top.eval();
    top.rst = 0;
    top.a_valid = top.b_valid = top.sums_ready = 1;
    const auto start = std::chrono::steady_clock::now();
    for (uint64_t cycle = 0; cycle < cycles; ++cycle) {
        top.clk = 0;
        top.eval();
        const bool taken = top.a_ready;
        top.clk = 1;
        top.eval();
        if (taken) {
            ++word;
            for (int i = 0; i < LANE_WORDS; ++i) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                top.a_payload[i] = static_cast<uint32_t>(state) & 0x77777777u;
                top.b_payload[i] = static_cast<uint32_t>(state >> 32) & 0x77777777u;
            }
            const uint32_t last = (word % 256 == 255) << 1;
            top.a_payload[LANE_WORDS] = last;
            top.b_payload[LANE_WORDS] = last;
        }
        if (top.sums_valid) sum += top.sums_payload[0];
    }
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
    std::printf("%.0f %" PRIu64 "\n", cycles / wall.count(), sum);
}
