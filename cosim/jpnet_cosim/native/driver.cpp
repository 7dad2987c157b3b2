// Runs a program on the generated accelerator: AXI4 memory, AXI4-Lite host, capture of the
// monitor port. The widths follow from the Verilog's ports; jpnet_registers.h is generated.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "Vtop.h"
#include "jpnet_registers.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_fst_c.h"
#endif

namespace {

constexpr uint64_t kPage = 4096;
constexpr size_t kOutstanding = 4;
constexpr int kIncrementing = 1;
constexpr int kSlaveError = 2;
// From the answer to a write of IRQ_STATUS until the pin has followed.
constexpr int kIrqCycles = 4;

// What the accelerator did wrong on its bus or did not do in time; ends the simulation.
struct Violation : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Timeout : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Options {
 public:
  Options(int argc, char** argv) {
    for (int i = 1; i + 1 < argc; i += 2) values_[argv[i]] = argv[i + 1];
  }
  const std::string& text(const std::string& name) const {
    const auto found = values_.find("--" + name);
    if (found == values_.end()) throw std::invalid_argument("missing option --" + name);
    return found->second;
  }
  uint64_t number(const std::string& name) const { return std::stoull(text(name), nullptr, 0); }

 private:
  std::map<std::string, std::string> values_;
};

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ull + 1) {}
  uint32_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<uint32_t>(state_ >> 32);
  }

 private:
  uint64_t state_;
};

// Decides, transfer by transfer, how many cycles a channel waits: 0, or 1 to `longest`.
class Stall {
 public:
  Stall(uint64_t seed, uint32_t percent, uint32_t longest)
      : random_(seed), percent_(percent), longest_(longest) {}
  bool waits() { return left_ != 0 && left_-- != 0; }
  void transferred() {
    left_ = 0;
    if (percent_ != 0 && random_.next() % 100 < percent_) left_ = 1 + random_.next() % longest_;
  }

 private:
  Random random_;
  uint32_t percent_;
  uint32_t longest_;
  uint32_t left_ = 0;
};

struct Region {
  uint64_t base;
  std::vector<uint8_t> bytes;
  bool holds(uint64_t address, uint64_t count) const {
    return address >= base && address + count <= base + bytes.size();
  }
};

std::string hex(uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

struct Burst {
  uint64_t address;
  uint32_t beats;
  uint32_t id;
  uint64_t ready_at;
  bool error;
};

// AXI4 memory: program and images are read-only, results are write-only, all else is a violation.
// The answers come in order, `latency` cycles after the request, with random stalls.
class AxiMemory {
 public:
  AxiMemory(Vtop* top, const Options& options)
      : top_(top),
        latency_(options.number("latency")),
        read_error_(options.number("read-error-address")),
        write_error_(options.number("write-error-address")),
        ar_stall_(stall(options, 1)),
        r_stall_(stall(options, 2)),
        aw_stall_(stall(options, 3)),
        w_stall_(stall(options, 4)),
        b_stall_(stall(options, 5)) {}

  Region program, images, results;

  bool idle() const {
    return reads_.empty() && writes_.empty() && beats_.empty() && answers_.empty() &&
           !top_->m_axi_rvalid && !top_->m_axi_bvalid;
  }

  // Notice what is being transferred in this cycle.
  void sample(uint64_t cycle) {
    if (top_->m_axi_arvalid | top_->m_axi_awvalid | top_->m_axi_wvalid | held_) check_stable();
    ar_taken_ = top_->m_axi_arvalid && top_->m_axi_arready;
    aw_taken_ = top_->m_axi_awvalid && top_->m_axi_awready;
    w_taken_ = top_->m_axi_wvalid && top_->m_axi_wready;
    r_taken_ = top_->m_axi_rvalid && top_->m_axi_rready;
    b_taken_ = top_->m_axi_bvalid && top_->m_axi_bready;
    if (ar_taken_) {
      reads_.push_back(burst("read", top_->m_axi_araddr, top_->m_axi_arlen, top_->m_axi_arsize,
                             top_->m_axi_arburst, top_->m_axi_arid, cycle));
      const Burst& added = reads_.back();
      const uint64_t bytes = added.beats * kBeatBytes;
      if (!program.holds(added.address, bytes) && !images.holds(added.address, bytes))
        throw Violation("read of " + std::to_string(bytes) + " bytes at " + hex(added.address) +
                        " is outside program and images");
    }
    if (aw_taken_) {
      writes_.push_back(burst("write", top_->m_axi_awaddr, top_->m_axi_awlen, top_->m_axi_awsize,
                              top_->m_axi_awburst, top_->m_axi_awid, cycle));
      const Burst& added = writes_.back();
      const uint64_t bytes = added.beats * kBeatBytes;
      if (!results.holds(added.address, bytes))
        throw Violation("write of " + std::to_string(bytes) + " bytes at " + hex(added.address) +
                        " is outside the results");
    }
    if (w_taken_) {
      Beat beat;
      std::memcpy(beat.data, &top_->m_axi_wdata, kBeatBytes);
      beat.strobe = top_->m_axi_wstrb;
      beat.last = top_->m_axi_wlast;
      beats_.push_back(beat);
    }
    if (!beats_.empty()) store(cycle);
  }

  // Answer in the next cycle.
  void drive(uint64_t cycle) {
    if (ar_taken_) ar_stall_.transferred();
    if (aw_taken_) aw_stall_.transferred();
    if (w_taken_) w_stall_.transferred();
    top_->m_axi_arready = reads_.size() < kOutstanding && !ar_stall_.waits();
    top_->m_axi_awready = writes_.size() < kOutstanding && !aw_stall_.waits();
    top_->m_axi_wready = beats_.size() < kOutstanding && !w_stall_.waits();
    if (r_taken_) {
      r_stall_.transferred();
      top_->m_axi_rvalid = 0;
      top_->m_axi_rlast = 0;
    }
    if (!top_->m_axi_rvalid && !reads_.empty() && cycle >= reads_.front().ready_at &&
        !r_stall_.waits())
      offer_read();
    if (b_taken_) {
      b_stall_.transferred();
      top_->m_axi_bvalid = 0;
    }
    if (!top_->m_axi_bvalid && !answers_.empty() && cycle >= answers_.front().ready_at &&
        !b_stall_.waits()) {
      top_->m_axi_bvalid = 1;
      top_->m_axi_bid = answers_.front().id;
      top_->m_axi_bresp = answers_.front().error ? kSlaveError : 0;
      answers_.pop_front();
    }
  }

 private:
  static constexpr size_t kBeatBytes = sizeof(Vtop::m_axi_rdata);
  struct Beat {
    uint8_t data[kBeatBytes];
    uint64_t strobe;
    bool last;
  };
  struct Held {
    bool valid;
    uint64_t address;
    uint32_t beats;
  };

  static Stall stall(const Options& options, uint64_t salt) {
    return Stall(options.number("stall-seed") * 8 + salt,
                 static_cast<uint32_t>(options.number("stall-percent")),
                 static_cast<uint32_t>(options.number("stall-longest")));
  }

  Burst burst(const char* what, uint64_t address, uint32_t length, uint32_t size, int kind,
              uint32_t id, uint64_t cycle) const {
    const uint64_t bytes = (length + 1) * kBeatBytes;
    const std::string where = std::string(what) + " burst at " + hex(address);
    if (kind != kIncrementing) throw Violation(where + " is not incrementing");
    if ((1u << size) != kBeatBytes) throw Violation(where + " has beats of another size");
    if (address % kBeatBytes) throw Violation(where + " is not aligned to a beat");
    if (address / kPage != (address + bytes - 1) / kPage)
      throw Violation(where + " crosses a 4 KiB boundary");
    return Burst{address, length + 1, id, cycle + latency_, false};
  }

  // The fourth handshake rule: what is offered stays until it is taken.
  void check_stable() {
    const auto compare = [](const char* channel, Held& held, bool valid, bool ready,
                            uint64_t address, uint32_t beats) {
      if (held.valid && (!valid || address != held.address || beats != held.beats))
        throw Violation(std::string("channel ") + channel + " changed before it was accepted");
      held = Held{valid && !ready, address, beats};
    };
    uint64_t data = 0;
    std::memcpy(&data, &top_->m_axi_wdata, kBeatBytes < 8 ? kBeatBytes : 8);
    compare("AR", ar_held_, top_->m_axi_arvalid, top_->m_axi_arready, top_->m_axi_araddr,
            top_->m_axi_arlen);
    compare("AW", aw_held_, top_->m_axi_awvalid, top_->m_axi_awready, top_->m_axi_awaddr,
            top_->m_axi_awlen);
    compare("W", w_held_, top_->m_axi_wvalid, top_->m_axi_wready, data, top_->m_axi_wlast);
    held_ = ar_held_.valid || aw_held_.valid || w_held_.valid;
  }

  void store(uint64_t cycle) {
    while (!beats_.empty() && !writes_.empty()) {
      Burst& write = writes_.front();
      const Beat& beat = beats_.front();
      if (beat.last != (write.beats == 1))
        throw Violation("write burst at " + hex(write.address) + " has WLAST at the wrong beat");
      const bool error = write_error_ - write.address < kBeatBytes;
      write.error |= error;
      if (!error)
        for (size_t i = 0; i < kBeatBytes; ++i)
          if (beat.strobe >> i & 1) results.bytes[write.address - results.base + i] = beat.data[i];
      write.address += kBeatBytes;
      beats_.pop_front();
      if (--write.beats == 0) {
        answers_.push_back(Burst{0, 0, write.id, cycle + latency_, write.error});
        writes_.pop_front();
      }
    }
  }

  void offer_read() {
    Burst& read = reads_.front();
    const bool error = read_error_ - read.address < kBeatBytes;
    const Region& region = program.holds(read.address, kBeatBytes) ? program : images;
    std::memcpy(&top_->m_axi_rdata, region.bytes.data() + (read.address - region.base),
                kBeatBytes);
    top_->m_axi_rvalid = 1;
    top_->m_axi_rid = read.id;
    top_->m_axi_rresp = error ? kSlaveError : 0;
    top_->m_axi_rlast = read.beats == 1;
    read.address += kBeatBytes;
    if (--read.beats == 0) reads_.pop_front();
  }

  Vtop* top_;
  uint64_t latency_, read_error_, write_error_;
  Stall ar_stall_, r_stall_, aw_stall_, w_stall_, b_stall_;
  std::deque<Burst> reads_, writes_, answers_;
  std::deque<Beat> beats_;
  Held ar_held_{}, aw_held_{}, w_held_{};
  bool held_ = false;
  bool ar_taken_ = false, aw_taken_ = false, w_taken_ = false;
  bool r_taken_ = false, b_taken_ = false;
};

// Appends every drained row and every threshold to a file of fixed-size records.
class Monitor {
 public:
  Monitor(Vtop* top, const std::string& folder)
      : top_(top),
        rows_(folder + "/rows.bin", std::ios::binary),
        thresholds_(folder + "/thresholds.bin", std::ios::binary) {}

  void sample(uint64_t cycle) {
    if (top_->trace_row_valid) {
      uint8_t record[20 + sizeof(Vtop::trace_row_data)];
      const uint32_t image = first_image + top_->trace_row_image;
      const uint16_t place[2] = {static_cast<uint16_t>(top_->trace_row_layer),
                                 static_cast<uint16_t>(top_->trace_row_column)};
      const uint32_t address = top_->trace_row_address;
      const uint64_t banks = top_->trace_row_banks;
      std::memcpy(record, &image, 4);
      std::memcpy(record + 4, place, 4);
      std::memcpy(record + 8, &address, 4);
      std::memcpy(record + 12, &banks, 8);
      std::memcpy(record + 20, &top_->trace_row_data, sizeof(Vtop::trace_row_data));
      rows_.write(reinterpret_cast<const char*>(record), sizeof record);
    }
    if (top_->trace_theta_valid) {
      uint8_t record[16];
      const uint32_t image = first_image + top_->trace_theta_image;
      const uint16_t found[2] = {static_cast<uint16_t>(top_->trace_theta_layer),
                                 static_cast<uint16_t>(top_->trace_theta_value)};
      const uint64_t since = cycle - run_start;
      std::memcpy(record, &image, 4);
      std::memcpy(record + 4, found, 4);
      std::memcpy(record + 8, &since, 8);
      thresholds_.write(reinterpret_cast<const char*>(record), sizeof record);
    }
  }

  void close() {
    rows_.close();
    thresholds_.close();
    if (!rows_ || !thresholds_) throw std::runtime_error("the captured rows cannot be written");
  }

  uint32_t first_image = 0;
  uint64_t run_start = 0;

 private:
  Vtop* top_;
  std::ofstream rows_, thresholds_;
};

class Simulation {
 public:
  explicit Simulation(const Options& options)
      : context_(std::make_unique<VerilatedContext>()),
        top_(std::make_unique<Vtop>(context_.get())),
        memory(top_.get(), options),
        monitor(top_.get(), options.text("out")) {}

  ~Simulation() {
    stop_waves();
    top_->final();
  }

  // One cycle: the ports' values enter the core with the edge, then everything is settled and
  // both sides look at it; what they put on the ports now is for the next cycle.
  void tick() {
    top_->clk = 0;
    top_->eval();
    dump(2 * cycle);
    top_->clk = 1;
    top_->eval();
    dump(2 * cycle + 1);
    aw_taken_ = top_->s_axil_awvalid && top_->s_axil_awready;
    w_taken_ = top_->s_axil_wvalid && top_->s_axil_wready;
    ar_taken_ = top_->s_axil_arvalid && top_->s_axil_arready;
    b_taken_ = top_->s_axil_bvalid && top_->s_axil_bready;
    r_taken_ = top_->s_axil_rvalid && top_->s_axil_rready;
    irq = top_->irq;
    memory.sample(cycle);
    monitor.sample(cycle);
    memory.drive(cycle);
    ++cycle;
  }

  void reset() {
    top_->rst = 1;
    for (int i = 0; i < 4; ++i) tick();
    top_->rst = 0;
    tick();
  }

  void write(uint32_t offset, uint32_t value) {
    top_->s_axil_awaddr = offset;
    top_->s_axil_awvalid = 1;
    top_->s_axil_wdata = value;
    top_->s_axil_wstrb = 0xF;
    top_->s_axil_wvalid = 1;
    for (int wait = 0; top_->s_axil_awvalid || top_->s_axil_wvalid; ++wait) {
      tick();
      if (aw_taken_) top_->s_axil_awvalid = 0;
      if (w_taken_) top_->s_axil_wvalid = 0;
      if (wait > kRegisterCycles) throw Timeout("write of register " + hex(offset));
    }
    top_->s_axil_bready = 1;
    for (int wait = 0;; ++wait) {
      tick();
      if (b_taken_) break;
      if (wait > kRegisterCycles) throw Timeout("answer to a write of register " + hex(offset));
    }
    top_->s_axil_bready = 0;
    if (top_->s_axil_bresp != 0) throw Violation("write of register " + hex(offset) + " was refused");
  }

  uint32_t read(uint32_t offset) {
    top_->s_axil_araddr = offset;
    top_->s_axil_arvalid = 1;
    for (int wait = 0; top_->s_axil_arvalid; ++wait) {
      tick();
      if (ar_taken_) top_->s_axil_arvalid = 0;
      if (wait > kRegisterCycles) throw Timeout("read of register " + hex(offset));
    }
    top_->s_axil_rready = 1;
    for (int wait = 0;; ++wait) {
      tick();
      if (r_taken_) break;
      if (wait > kRegisterCycles) throw Timeout("answer to a read of register " + hex(offset));
    }
    top_->s_axil_rready = 0;
    return top_->s_axil_rdata;
  }

  void wait_for_irq(uint64_t limit, const std::string& what) {
    const uint64_t start = cycle;
    do {
      tick();
      if (cycle - start > limit)
        throw Timeout(what + " did not end within " + std::to_string(limit) + " cycles");
    } while (!irq);
  }

  void start_waves(const std::string& path) {
#if VM_TRACE
    context_->traceEverOn(true);
    waves_ = std::make_unique<VerilatedFstC>();
    top_->trace(waves_.get(), 99);
    waves_->open(path.c_str());
#else
    throw std::invalid_argument("built without waves, cannot write " + path);
#endif
  }

  void stop_waves() {
#if VM_TRACE
    if (waves_) waves_->close();
    waves_.reset();
#endif
  }

  uint64_t cycle = 0;
  bool irq = false;

 private:
  static constexpr int kRegisterCycles = 64;

  std::unique_ptr<VerilatedContext> context_;
  std::unique_ptr<Vtop> top_;

 public:
  AxiMemory memory;
  Monitor monitor;

 private:
  void dump([[maybe_unused]] uint64_t time) {
#if VM_TRACE
    if (waves_) waves_->dump(time);
#endif
  }

  bool aw_taken_ = false, w_taken_ = false, b_taken_ = false;
  bool ar_taken_ = false, r_taken_ = false;
#if VM_TRACE
  std::unique_ptr<VerilatedFstC> waves_;
#endif
};

std::vector<uint8_t> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::invalid_argument("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// What one load or run left behind.
struct Outcome {
  uint64_t images, cycles, images_done, error;
  std::vector<uint64_t> counters;
};

class Session {
 public:
  explicit Session(const Options& options)
      : options_(options), image_bytes_(options.number("image-bytes")),
        result_bytes_(options.number("result-bytes")), simulation(options) {
    AxiMemory& memory = simulation.memory;
    memory.program = {options.number("program-base"), read_file(options.text("program"))};
    memory.images = {options.number("image-base"), read_file(options.text("images"))};
    images_ = image_bytes_ ? memory.images.bytes.size() / image_bytes_ : 0;
    memory.results = {options.number("result-base"),
                      std::vector<uint8_t>(images_ * result_bytes_, 0x5A)};
  }

  void run() {
    simulation.reset();
    simulation.write(JPNET_IRQ_ENABLE, 3);
    simulation.write(JPNET_WATCHDOG, static_cast<uint32_t>(options_.number("watchdog")));
    set_base(JPNET_PROGRAM_BASE_LOW, simulation.memory.program.base);
    load.cycles = command(JPNET_CONTROL_LOAD, options_.number("load-limit"), "the load");
    finish(load);
    if (load.error) return;
    const uint64_t step = options_.number("images-per-run");
    for (uint64_t first = 0; first < images_; first += step) {
      run_images(first, std::min(step, images_ - first));
      if (runs.back().error) return;
    }
  }

  Outcome load{};
  std::vector<Outcome> runs;

 private:
  void set_base(uint32_t offset, uint64_t address) {
    simulation.write(offset, static_cast<uint32_t>(address));
    simulation.write(offset + 4, static_cast<uint32_t>(address >> 32));
  }

  // Returns the cycles from the write of the command to the interrupt.
  uint64_t command(uint32_t bit, uint64_t limit, const std::string& what) {
    const uint64_t start = simulation.cycle;
    simulation.write(JPNET_CONTROL, bit);
    simulation.wait_for_irq(limit, what);
    return simulation.cycle - start;
  }

  void run_images(uint64_t first, uint64_t count) {
    set_base(JPNET_IMAGE_BASE_LOW, simulation.memory.images.base + first * image_bytes_);
    set_base(JPNET_RESULT_BASE_LOW, simulation.memory.results.base + first * result_bytes_);
    simulation.write(JPNET_IMAGE_COUNT, static_cast<uint32_t>(count));
    if (const std::string& path = options_.text("waves"); !path.empty())
      simulation.start_waves(path);
    simulation.monitor.first_image = static_cast<uint32_t>(first);
    simulation.monitor.run_start = simulation.cycle;
    const uint64_t limit = count * options_.number("image-limit") + options_.number("run-limit");
    const uint64_t cycles =
        command(JPNET_CONTROL_RUN, limit, "the run of images from " + std::to_string(first));
    runs.push_back(Outcome{count, cycles, 0, 0, {}});
    finish(runs.back());
    simulation.stop_waves();
  }

  void finish(Outcome& outcome) {
    outcome.error = simulation.read(JPNET_ERROR);
    const uint32_t pending = simulation.read(JPNET_IRQ_STATUS);
    const uint32_t wanted = outcome.error ? JPNET_IRQ_STATUS_ERROR : JPNET_IRQ_STATUS_DONE;
    if (pending != wanted)
      throw Violation("IRQ_STATUS is " + hex(pending) + " where " + hex(wanted) + " is due");
    for (uint64_t wait = 0; simulation.read(JPNET_STATUS) & JPNET_STATUS_BUSY; ++wait)
      if (wait > options_.number("latency") + 1000) throw Timeout("the return to idle");
    if (!simulation.memory.idle()) throw Violation("idle with bus transfers under way");
    outcome.images_done = simulation.read(JPNET_IMAGES_DONE);
    for (uint32_t i = 0; i < JPNET_COUNTERS; ++i) {
      const uint64_t low = simulation.read(JPNET_COUNTER_BASE + 8 * i);
      const uint64_t high = simulation.read(JPNET_COUNTER_BASE + 8 * i + 4);
      outcome.counters.push_back(high << 32 | low);
    }
    simulation.write(JPNET_IRQ_STATUS, pending);
    for (int i = 0; i < kIrqCycles; ++i) simulation.tick();
    if (simulation.irq) throw Violation("irq stays up after IRQ_STATUS was cleared");
  }

  const Options& options_;
  uint64_t image_bytes_, result_bytes_, images_ = 0;

 public:
  Simulation simulation;
};

void write_outcome(std::ostream& out, const Outcome& outcome) {
  out << "{\"images\": " << outcome.images << ", \"cycles\": " << outcome.cycles
      << ", \"images_done\": " << outcome.images_done << ", \"error\": " << outcome.error
      << ", \"counters\": [";
  for (size_t i = 0; i < outcome.counters.size(); ++i)
    out << (i ? ", " : "") << outcome.counters[i];
  out << "]}";
}

void write_summary(const std::string& path, const Session& session, const std::string& failure,
                   double seconds) {
  std::ofstream out(path);
  out << "{\"failure\": \"" << failure << "\", \"seconds\": " << seconds
      << ", \"simulated_cycles\": " << session.simulation.cycle << ", \"load\": ";
  write_outcome(out, session.load);
  out << ", \"runs\": [";
  for (size_t i = 0; i < session.runs.size(); ++i) {
    out << (i ? ", " : "");
    write_outcome(out, session.runs[i]);
  }
  out << "]}\n";
  out.close();
  if (!out) throw std::runtime_error("cannot write " + path);
}

}  // namespace

int main(int argc, char** argv) try {
  const Options options(argc, argv);
  const std::string& folder = options.text("out");
  Session session(options);
  std::string failure;
  const auto start = std::chrono::steady_clock::now();
  try {
    session.run();
  } catch (const Violation& error) {
    failure = std::string("bus: ") + error.what();
  } catch (const Timeout& error) {
    failure = std::string("timeout: ") + error.what();
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  session.simulation.stop_waves();
  session.simulation.monitor.close();
  const std::vector<uint8_t>& results = session.simulation.memory.results.bytes;
  std::ofstream file(folder + "/results.bin", std::ios::binary);
  file.write(reinterpret_cast<const char*>(results.data()),
             static_cast<std::streamsize>(results.size()));
  file.close();
  if (!file) throw std::runtime_error("the results cannot be written");
  write_summary(folder + "/summary.json", session, failure, seconds.count());
  return 0;
} catch (const std::exception& error) {
  std::cerr << "jpnet driver: " << error.what() << "\n";
  return 1;
}
