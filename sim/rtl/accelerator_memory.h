// The memory on the other side of an accelerator's AXI4 master, and the rules that it holds it to.
//
// Its timing is that of sim/accelerator/memory.py; cycle 0 is the first with `busy` high. It is as
// strict as AXI allows: a read sees what was there when its address was taken, a write is there
// only once it is answered.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cinttypes>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <vector>

#include "Vtop.h"

static_assert(std::endian::native == std::endian::little, "ports are copied byte for byte");

constexpr unsigned BEAT = DATA_BITS / 8;
constexpr unsigned BEAT_SIZE = std::countr_zero(BEAT);
constexpr unsigned PERIOD = 1024;
constexpr unsigned BOUNDARY = 4096;
constexpr unsigned OKAY = 0, SLVERR = 2, DECERR = 3, INCR = 1;
enum Place { AR, R, AW, W, B, CHANNELS };
constexpr const char* NAMES[CHANNELS] = {"ar", "r", "aw", "w", "b"};

inline int64_t now = -1;  // cycles since busy rose; -1: idle

[[noreturn]] inline void fail(const char* format, ...) {
    std::printf("error ");
    if (now >= 0) std::printf("in cycle %" PRId64 ": ", now);
    va_list arguments;
    va_start(arguments, format);
    std::vprintf(format, arguments);
    va_end(arguments);
    std::printf("\n");
    std::fflush(stdout);
    std::_Exit(1);  // no destructors: they would run the circuit on
}

template <class Port>
uint8_t* bytes(Port& port) {  // the same for QData and VlWide
    static_assert(sizeof(Port) == BEAT);
    return reinterpret_cast<uint8_t*>(&port);
}

using Beat = std::array<uint8_t, BEAT>;

struct Address {
    uint64_t address = 0, beats = 0, size = 0, burst = 0, id = 0;
    unsigned lock = 0, cache = 0, prot = 0, qos = 0;
    bool operator==(const Address&) const = default;

    void check(const char* name) const {
        if (burst != INCR || size != BEAT_SIZE || lock)
            fail("%s has burst %d, size %d, lock %d; right are %d, %d, 0", name, int(burst),
                 int(size), int(lock), INCR, BEAT_SIZE);
        if (address % BEAT)
            fail("%saddr 0x%" PRIx64 " is no multiple of a beat", name, address);
        if (address % BOUNDARY + beats * BEAT > BOUNDARY)
            fail("%s: %d beats from 0x%" PRIx64 " cross a 4 kB boundary", name, int(beats), address);
        if (beats > BURST_BEATS) fail("%s: %d beats are beyond burst_beats", name, int(beats));
    }
};

struct WriteBeat {
    Beat data{};
    uint64_t strobe = 0;
    bool last = false;
    bool operator==(const WriteBeat&) const = default;
};

struct Burst {
    Address of;
    int64_t due;  // earliest cycle of its answer; of a write, once all its beats are there
    unsigned done = 0;  // beats
    std::vector<uint8_t> data{};  // of a read
    std::vector<WriteBeat> beats{};  // of a write
};

// What the accelerator offers on a channel stays until it is taken.
template <class Payload>
class Offer {
  public:
    void check(Place channel, bool valid, bool ready, const Payload& payload) {
        if (waits_ && !valid) fail("%svalid fell before %sready", NAMES[channel], NAMES[channel]);
        if (waits_ && !(payload_ == payload))
            fail("the payload of %s changed before it was taken", NAMES[channel]);
        waits_ = valid && !ready;
        if (waits_) payload_ = payload;
    }

  private:
    bool waits_ = false;
    Payload payload_{};
};

class Memory {
  public:
    int64_t latency = 1;
    bool gaps[CHANNELS][PERIOD] = {};
    std::map<uint64_t, unsigned> read_faults, write_faults;  // by beat and burst since the start
    uint64_t read_bursts = 0, read_beats = 0, write_bursts = 0, write_beats = 0;
    uint64_t answered = 0;  // write bursts

    Memory(Vtop& top, uint8_t* memory, uint8_t* counts, uint64_t size)
        : top_{top}, memory_{memory}, counts_{counts}, size_{size} {}

    void reset() {
        reads_.clear();
        writes_.clear();
        complete_ = 0;
        read_faults.clear();
        write_faults.clear();
        answered = write_bursts;
        ar_ = {}, aw_ = {}, w_ = {};
    }

    bool idle() const { return reads_.empty() && writes_.empty(); }

    // Inputs of cycle `now`; they depend on earlier cycles only.
    void drive() {
        const auto open = [](const bool* gap) { return now < 0 || !gap[now % PERIOD]; };
        top_.m_axi_arready = open(gaps[AR]);
        top_.m_axi_awready = open(gaps[AW]);
        top_.m_axi_wready = open(gaps[W]);
        top_.m_axi_rvalid = !reads_.empty() && reads_.front().due <= now && open(gaps[R]);
        // What is not valid looks wrong, so that nobody uses it unnoticed.
        std::memset(bytes(top_.m_axi_rdata), 0x5a, BEAT);
        top_.m_axi_rresp = top_.m_axi_bresp = SLVERR;
        top_.m_axi_rlast = 1;
        if (top_.m_axi_rvalid) {
            const Burst& burst = reads_.front();
            const auto fault = read_faults.find(read_beats);
            const uint64_t address = burst.of.address + burst.done * BEAT;
            top_.m_axi_rresp = fault != read_faults.end() ? fault->second
                               : inside(address)          ? OKAY
                                                          : DECERR;
            if (top_.m_axi_rresp == OKAY)
                std::memcpy(bytes(top_.m_axi_rdata), &burst.data[burst.done * BEAT], BEAT);
            top_.m_axi_rid = burst.of.id;
            top_.m_axi_rlast = burst.done + 1 == burst.of.beats;
        }
        top_.m_axi_bvalid = complete_ && writes_.front().due <= now && open(gaps[B]);
        if (top_.m_axi_bvalid) {
            const Burst& burst = writes_.front();
            const auto fault = write_faults.find(answered);
            const uint64_t end = burst.of.address + (burst.of.beats - 1) * BEAT;
            top_.m_axi_bresp = fault != write_faults.end() ? fault->second
                               : inside(end)               ? OKAY
                                                           : DECERR;
            top_.m_axi_bid = burst.of.id;
        }
    }

    // What happens at the end of cycle `now`; returns the trace's word.
    uint16_t step() {
        const bool valid[CHANNELS] = {top_.m_axi_arvalid != 0, top_.m_axi_rvalid != 0,
                                      top_.m_axi_awvalid != 0, top_.m_axi_wvalid != 0,
                                      top_.m_axi_bvalid != 0};
        const bool ready[CHANNELS] = {top_.m_axi_arready != 0, top_.m_axi_rready != 0,
                                      top_.m_axi_awready != 0, top_.m_axi_wready != 0,
                                      top_.m_axi_bready != 0};
        for (const Place place : {AR, AW, W})
            if (valid[place] && now < 0) fail("%svalid is high while busy is low", NAMES[place]);
        if (!ready[R] || !ready[B]) fail("rready and bready must be high in every cycle");
        step_reads(valid[AR], ready[AR], valid[R]);
        step_writes(valid, ready);
        unsigned word = 0;
        for (unsigned place = 0; place < CHANNELS; ++place)
            word |= (valid[place] | ready[place] << 1) << 2 * place;
        return word;
    }

  private:
    Vtop& top_;
    uint8_t *memory_, *counts_;
    uint64_t size_;
    std::deque<Burst> reads_, writes_;
    size_t complete_ = 0;  // writes that have all their beats
    Offer<Address> ar_, aw_;
    Offer<WriteBeat> w_;

    bool inside(uint64_t address) const { return address < size_; }  // of a whole beat

    void step_reads(bool ar_valid, bool ar_ready, bool r_valid) {
        const Address of{top_.m_axi_araddr, top_.m_axi_arlen + 1u, top_.m_axi_arsize,
                         top_.m_axi_arburst, top_.m_axi_arid, top_.m_axi_arlock,
                         top_.m_axi_arcache, top_.m_axi_arprot, top_.m_axi_arqos};
        ar_.check(AR, ar_valid, ar_ready, of);
        if (r_valid) {
            ++read_beats;
            if (++reads_.front().done == reads_.front().of.beats) reads_.pop_front();
        }
        if (ar_valid && ar_ready) {
            of.check("ar");
            if (reads_.size() == OUTSTANDING) fail("more reads than `outstanding` are in flight");
            ++read_bursts;
            Burst& burst = reads_.emplace_back(Burst{of, now + latency});
            burst.data.resize(of.beats * BEAT);
            if (of.address < size_)
                std::memcpy(burst.data.data(), memory_ + of.address,
                            std::min<uint64_t>(burst.data.size(), size_ - of.address));
        }
    }

    void step_writes(const bool* valid, const bool* ready) {
        WriteBeat beat;
        if (valid[W]) {
            std::memcpy(beat.data.data(), bytes(top_.m_axi_wdata), BEAT);
            beat.strobe = top_.m_axi_wstrb;
            beat.last = top_.m_axi_wlast;
            if (complete_ == writes_.size())
                fail("wvalid is high before the burst's address was taken");
            Burst& burst = writes_[complete_];
            const bool ends = burst.done + 1 == burst.of.beats;
            if (beat.last != ends)
                fail("wlast is %d in beat %d of %d", beat.last, burst.done + 1,
                     int(burst.of.beats));
            if (ready[W]) {
                ++write_beats;
                burst.beats.push_back(beat);
                burst.due = now + latency;
                ++burst.done;
                complete_ += ends;
            }
        }
        w_.check(W, valid[W], ready[W], beat);
        const Address of{top_.m_axi_awaddr, top_.m_axi_awlen + 1u, top_.m_axi_awsize,
                         top_.m_axi_awburst, top_.m_axi_awid, top_.m_axi_awlock,
                         top_.m_axi_awcache, top_.m_axi_awprot, top_.m_axi_awqos};
        aw_.check(AW, valid[AW], ready[AW], of);
        if (valid[B]) {
            if (top_.m_axi_bresp == OKAY) apply(writes_.front());
            ++answered;
            --complete_;
            writes_.pop_front();
        }
        if (valid[AW] && ready[AW]) {
            of.check("aw");
            if (writes_.size() == OUTSTANDING) fail("more writes than `outstanding` are in flight");
            ++write_bursts;
            writes_.emplace_back(Burst{of, 0}).beats.reserve(of.beats);
        }
    }

    void apply(const Burst& burst) {
        uint64_t address = burst.of.address;
        for (const WriteBeat& beat : burst.beats)
            for (unsigned i = 0; i < BEAT; ++i, ++address)
                if (beat.strobe >> i & 1) {
                    memory_[address] = beat.data[i];
                    if (counts_[address] != UINT8_MAX) ++counts_[address];
                }
    }
};
