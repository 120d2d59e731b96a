// Runs a program through a tensor core: holds its register file, loads registers from a file, writes
// results to another. Clocked from outside by native_main.cpp.
//
// Plusargs: +instructions= (16 bytes each, most significant first: 4 the number of loads before it, 4
// whether its D is a result, 8 the instruction word), +loads= (8 bytes each: 4 register, 4 fragment),
// +fragments= (128 bytes each, last byte first), +results= (128 bytes for each register of a
// result), +count= (instructions), and optionally +gaps= (a $readmemh file of 1024 bits: cycles in
// which no new instruction is offered, repeated) and +trace= (two 32-bit words a cycle:
// {read_address, write_enable, read_enable, busy, taken, valid}, {write_address}).

`ifndef DUT
`define DUT tensor_core_r512
`endif

module mma_harness #(
    parameter int ADDRESS_BITS = 9
) (
    input  logic        clk,
    input  logic        rst,
    output logic        done,       // the last D was written
    output logic [63:0] cycles,     // first instruction taken to last D written, inclusive
    output logic [63:0] words_out,  // registers written
    output logic [1:0]  flags       // the core's sticky {illegal, overflow}
);
  localparam int WORD_BITS = 4 * ADDRESS_BITS + 2;

  int instructions_file, loads_file, fragments_file, results_file, trace_file, count;
  string name;
  logic gaps[1024];

  initial begin
    trace_file = 0;
    for (int i = 0; i < 1024; i++) gaps[i] = 0;
    if ($value$plusargs("instructions=%s", name) == 0) $fatal(1, "+instructions= is missing");
    instructions_file = $fopen(name, "rb");
    if ($value$plusargs("loads=%s", name) == 0) $fatal(1, "+loads= is missing");
    loads_file = $fopen(name, "rb");
    if ($value$plusargs("fragments=%s", name) == 0) $fatal(1, "+fragments= is missing");
    fragments_file = $fopen(name, "rb");
    if ($value$plusargs("results=%s", name) == 0) $fatal(1, "+results= is missing");
    results_file = $fopen(name, "wb");
    if (instructions_file == 0 || loads_file == 0 || fragments_file == 0 || results_file == 0)
      $fatal(1, "a file cannot be opened");
    if ($value$plusargs("count=%d", count) == 0) $fatal(1, "+count= is missing");
    if ($value$plusargs("trace=%s", name) != 0) trace_file = $fopen(name, "wb");
    if ($value$plusargs("gaps=%s", name) != 0) $readmemh(name, gaps);
  end

  logic [1023:0] registers[1 << ADDRESS_BITS];
  logic [1023:0] fragment;
  logic [127:0] entry;
  logic [63:0] load;
  logic [WORD_BITS-1:0] word;
  logic have, held, valid, ready, taken, busy, is_result;
  logic read_enable, write_enable;
  logic [ADDRESS_BITS-1:0] read_address, write_address;
  logic [1023:0] read_data, write_data;
  logic results[4];  // whether D is a result, of the last instructions taken
  int taken_count, got;
  logic [9:0] cycle;
  logic started;

  assign valid = have & (held | ~gaps[cycle]);
  assign taken = valid & ready;

  // The next instruction, after its loads.
  task automatic advance;
    got = $fread(entry, instructions_file);
    word <= entry[WORD_BITS-1:0];
    is_result <= entry[64];
    for (int i = 0; i < entry[127:96]; i++) begin
      got = $fread(load, loads_file);
      if ($fseek(fragments_file, load[31:0] * 128, 0) != 0) $fatal(1, "seek failed");
      got = $fread(fragment, fragments_file);
      registers[load[32+:ADDRESS_BITS]] = fragment;
    end
  endtask

  always_ff @(posedge clk) begin
    if (rst) begin
      cycle <= 0;
      started <= 0;
      done <= 0;
      cycles <= 0;
      words_out <= 0;
      taken_count <= 0;
      held <= 0;
      have <= 1;
      if ($fseek(instructions_file, 0, 0) != 0) $fatal(1, "seek failed");
      if ($fseek(loads_file, 0, 0) != 0) $fatal(1, "seek failed");
      advance();
    end else begin
      cycle <= cycle + 1;
      held <= valid & ~ready;
      // What was not asked for, or is written in this cycle, is not to be used.
      if (read_enable & ~(write_enable & read_address == write_address))
        read_data <= registers[read_address];
      else read_data <= {32{32'hdeadbeef}};
      if (write_enable) begin
        registers[write_address] = write_data;
        words_out <= words_out + 1;
        if (results[words_out[2:1]]) $fwrite(results_file, "%u", write_data);
        if (words_out == 2 * longint'(count) - 1) begin
          done <= 1;
          $fflush(results_file);
        end
      end
      if (taken) begin
        results[taken_count[1:0]] <= is_result;
        taken_count <= taken_count + 1;
        if (taken_count == count - 1) have <= 0;
        else advance();
      end
      started <= started | taken;
      if ((started | taken) & ~done) cycles <= cycles + 1;
      if (trace_file != 0 && !done) begin
        $fwrite(trace_file, "%u", {read_enable ? 27'(read_address) : 27'd0, write_enable,
                                   read_enable, busy, taken, valid});
        $fwrite(trace_file, "%u", write_enable ? 32'(write_address) : 32'd0);
        if (write_enable) $fflush(trace_file);
      end
    end
  end

  `DUT dut (
      .clk(clk),
      .rst(rst),
      .instruction_payload(word),
      .instruction_valid(valid),
      .instruction_ready(ready),
      .read_enable(read_enable),
      .read_address(read_address),
      .read_data(read_data),
      .write_enable(write_enable),
      .write_address(write_address),
      .write_data(write_data),
      .busy(busy),
      .clear(1'b0),
      .overflow(flags[0]),
      .illegal(flags[1])
  );
endmodule
