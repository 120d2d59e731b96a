// An accelerator and its memory, driven by commands on stdin, one a line, with one line in answer:
//
//   write OFFSET VALUE           BRESP
//   read OFFSET                  VALUE RRESP
//   wait CYCLES                  interrupt N or timeout N, after N cycles
//   run CYCLES, reset CYCLES     ok
//   latency CYCLES               ok
//   gaps CHANNEL 0101..          ok; PERIOD digits, 1 is a gap
//   fault read|write INDEX RESP  ok; the INDEX-th read beat, or write burst, from now answers RESP
//   trace on|off                 ok
//   counts                       clocked cycles, read bursts and beats, write bursts and beats
//
// "error SENTENCE" ends the program: the accelerator broke a rule of the bus, or there was no sense
// in a command.
//
//   simulate MEMORY WRITES TRACE BYTES
//
// The first three are numbers of open files that the caller shares: the memory, how often each of
// its bytes was written (up to 255), and the trace: from cycle 0 on a uint16 for each cycle with
// {ready, valid} of ar (in the lowest bits), r, aw, w, b.
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <iostream>
#include <sstream>
#include <string>
#include <utility>

#include "accelerator_memory.h"
#include "verilated.h"

constexpr unsigned REGISTER_CYCLES = 1000;  // far more than any register access takes

class Bench {
  public:
    uint64_t cycles = 0;

    Bench(Vtop& top, Memory& memory, int trace) : top_{top}, memory_{memory}, trace_{trace} {
        reset(2);
    }

    ~Bench() { top_.final(); }

    void reset(uint64_t count) {
        top_.rst = 1;
        top_.clk = 0;
        top_.eval();
        while (count--) edge();
        top_.rst = 0;
        memory_.reset();
        now = -1;
        flush();
    }

    void trace(bool on) {
        flush();
        tracing_ = on;
    }

    // Verilator's name for a port called interrupt, a word that some compilers keep for themselves.
    bool interrupt() const { return top_.__SYM__interrupt; }

    void tick() {
        const bool busy = top_.busy;
        if (!busy && now >= 0) {
            if (!memory_.idle()) fail("busy fell while bursts were in flight");
            flush();
        }
        now = busy ? now + 1 : -1;
        if (now == 0) traced_ = 0;
        memory_.drive();
        top_.eval();
        if (top_.busy != busy) fail("busy depends on inputs of the same cycle");
        const uint16_t word = memory_.step();
        if (busy && tracing_) {
            words_.push_back(word);
            if (words_.size() == 1 << 16) flush();
        }
        lite_ = {top_.s_axi_awready != 0, top_.s_axi_wready != 0,  top_.s_axi_bvalid != 0,
                 top_.s_axi_arready != 0, top_.s_axi_rvalid != 0,  top_.s_axi_bresp,
                 top_.s_axi_rresp,        uint32_t(top_.s_axi_rdata)};
        edge();
    }

    unsigned write(unsigned offset, uint32_t value) {
        top_.s_axi_awaddr = offset;
        top_.s_axi_wdata = value;
        top_.s_axi_wstrb = 15;
        top_.s_axi_awvalid = top_.s_axi_wvalid = top_.s_axi_bready = 1;
        for (unsigned i = 0; i < REGISTER_CYCLES; ++i) {
            tick();
            if (lite_.awready) top_.s_axi_awvalid = 0;
            if (lite_.wready) top_.s_axi_wvalid = 0;
            if (lite_.bvalid) {
                top_.s_axi_bready = 0;
                return lite_.bresp;
            }
        }
        fail("a write of register 0x%02x was not answered", offset);
    }

    std::pair<uint32_t, unsigned> read(unsigned offset) {
        top_.s_axi_araddr = offset;
        top_.s_axi_arvalid = top_.s_axi_rready = 1;
        for (unsigned i = 0; i < REGISTER_CYCLES; ++i) {
            tick();
            if (lite_.arready) top_.s_axi_arvalid = 0;
            if (lite_.rvalid) {
                top_.s_axi_rready = 0;
                return {lite_.rdata, lite_.rresp};
            }
        }
        fail("a read of register 0x%02x was not answered", offset);
    }

    void flush() {
        const size_t size = words_.size() * sizeof words_[0];
        const off_t at = traced_ * sizeof words_[0];
        if (!tracing_) return;
        if (pwrite(trace_, words_.data(), size, at) != ssize_t(size) || ftruncate(trace_, at + size))
            fail("the trace could not be written: %s", std::strerror(errno));
        traced_ += words_.size();
        words_.clear();
    }

  private:
    struct Lite {
        bool awready, wready, bvalid, arready, rvalid;
        unsigned bresp, rresp;
        uint32_t rdata;
    };

    Vtop& top_;
    Memory& memory_;
    int trace_;
    bool tracing_ = false;
    std::vector<uint16_t> words_{};
    uint64_t traced_ = 0;  // words in the file
    Lite lite_{};

    void edge() {
        top_.clk = 1;
        top_.eval();
        top_.clk = 0;  // seen by the next eval, which sees the next cycle's inputs too
        ++cycles;
    }
};

uint8_t* shared(const char* descriptor, uint64_t size) {
    void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, std::atoi(descriptor), 0);
    if (at == MAP_FAILED) fail("the memory could not be mapped: %s", std::strerror(errno));
    return static_cast<uint8_t*>(at);
}

void set_gaps(Memory& memory, const std::string& channel, const std::string& pattern) {
    for (unsigned place = 0; place < CHANNELS; ++place)
        if (channel == NAMES[place] && pattern.size() == PERIOD) {
            for (unsigned i = 0; i < PERIOD; ++i) memory.gaps[place][i] = pattern[i] == '1';
            return;
        }
    fail("gaps need a channel and %u digits", PERIOD);
}

void obey(const std::string& line, Bench& bench, Memory& memory) {
    std::istringstream words{line};
    std::string command, word, pattern;
    uint64_t number = 0, index = 0;
    words >> command;
    if (command == "write" && words >> number >> index) {
        std::printf("%u\n", bench.write(number, index));
    } else if (command == "read" && words >> number) {
        const auto [value, response] = bench.read(number);
        std::printf("%" PRIu32 " %u\n", value, response);
    } else if (command == "wait" && words >> number) {
        uint64_t count = 0;
        while (!bench.interrupt() && count < number) bench.tick(), ++count;
        std::printf("%s %" PRIu64 "\n", bench.interrupt() ? "interrupt" : "timeout", count);
    } else if (command == "counts") {
        std::printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", bench.cycles,
                    memory.read_bursts, memory.read_beats, memory.write_bursts,
                    memory.write_beats);
    } else {
        if (command == "run" && words >> number)
            while (number--) bench.tick();
        else if (command == "reset" && words >> number)
            bench.reset(number);
        else if (command == "latency" && words >> number)
            memory.latency = number;
        else if (command == "gaps" && words >> word >> pattern)
            set_gaps(memory, word, pattern);
        else if (command == "fault" && words >> word >> index >> number && word == "read")
            memory.read_faults[memory.read_beats + index] = number;
        else if (command == "fault" && word == "write")
            memory.write_faults[memory.answered + index] = number;
        else if (command == "trace" && words >> word)
            bench.trace(word == "on");
        else
            fail("'%s' is no command", line.c_str());
        std::printf("ok\n");
    }
    bench.flush();
    std::fflush(stdout);
}

int main(int argc, char** argv) {
    if (argc != 5) fail("usage: simulate MEMORY WRITES TRACE BYTES");
    VerilatedContext context;
    Vtop top{&context};
    const uint64_t size = std::strtoull(argv[4], nullptr, 10);
    Memory memory{top, shared(argv[1], size), shared(argv[2], size), size};
    Bench bench{top, memory, std::atoi(argv[3])};
    std::printf("ready\n");
    std::fflush(stdout);
    // The end of stdin ends the program, so it cannot outlive its caller.
    for (std::string line; std::getline(std::cin, line) && line != "quit";)
        obey(line, bench, memory);
}
