// Streams the operand words of a tiled GEMM from two files into a systolic array and writes the
// words of sums to a third. Clocked from outside: by native_main.cpp or by a cocotb clock.
//
// Files hold each operand word once, first byte first; the tiles are walked row by row (for each
// tile of A all tiles of B). Plusargs: +a= +b= +sums= (files), +tiles_a= +tiles_b= +words= (operand
// words of a tile), +tile_rows= (words of sums of a tile), +format_a= +format_b=, +table_a= +table_b=
// ($readmemh files of 256 codebook entries, written before the first cycle), and optionally +gaps= (a
// $readmemh file of 1024 entries {sums, b, a}: cycles in which that side holds back, repeated) and
// +trace= (one byte a cycle: {sums_ready, sums_valid, b_ready, b_valid, a_ready, a_valid}).
//
// Defines: DUT, the array; TABLE_A, TABLE_B, FLUSHED if it has those ports.

`ifndef DUT
`define DUT systolic_4x4_olive_acc32
`endif

module gemm_harness #(
    parameter int COLS = 4,
    parameter int WORD_BITS_A = 32,   // of an operand word, what the file holds
    parameter int WORD_BITS_B = 32,
    parameter int FORMAT_BITS_A = 2,  // of its field `format`
    parameter int FORMAT_BITS_B = 2,
    parameter int ACC_BITS = 32
) (
    input  logic        clk,
    input  logic        rst,
    output logic        done,       // the last word of sums was taken
    output logic [63:0] cycles,     // first operand word taken to last word of sums taken, inclusive
    output logic [63:0] words_out,  // words of sums taken
    output logic [3:0]  flags       // the array's sticky {flushed, misaligned, illegal, overflow}
);
  localparam int A_BITS = (WORD_BITS_A + 7) / 8 * 8;
  localparam int B_BITS = (WORD_BITS_B + 7) / 8 * 8;
  localparam int SUMS_BITS = (ACC_BITS + 1) * COLS + 1;
  localparam int SUMS_WORDS = (SUMS_BITS + 31) / 32;
`ifdef TABLE_A
  localparam logic FILLS = 1;
`elsif TABLE_B
  localparam logic FILLS = 1;
`else
  localparam logic FILLS = 0;
`endif

  int a_file, b_file, sums_file, trace_file;
  int tiles_a, tiles_b, words, tile_rows, format_a, format_b;
  longint words_expected;
  string name;
  logic [2:0] gaps[1024];
  logic [15:0] table_a[256], table_b[256];

  initial begin
    trace_file = 0;
    for (int i = 0; i < 1024; i++) gaps[i] = 0;
    if ($value$plusargs("a=%s", name) == 0) $fatal(1, "+a= is missing");
    a_file = $fopen(name, "rb");
    if ($value$plusargs("b=%s", name) == 0) $fatal(1, "+b= is missing");
    b_file = $fopen(name, "rb");
    if ($value$plusargs("sums=%s", name) == 0) $fatal(1, "+sums= is missing");
    sums_file = $fopen(name, "wb");
    if (a_file == 0 || b_file == 0 || sums_file == 0) $fatal(1, "a file cannot be opened");
    if ($value$plusargs("trace=%s", name) != 0) trace_file = $fopen(name, "wb");
    if ($value$plusargs("gaps=%s", name) != 0) $readmemh(name, gaps);
    if ($value$plusargs("tiles_a=%d", tiles_a) == 0) $fatal(1, "+tiles_a= is missing");
    if ($value$plusargs("tiles_b=%d", tiles_b) == 0) $fatal(1, "+tiles_b= is missing");
    if ($value$plusargs("words=%d", words) == 0) $fatal(1, "+words= is missing");
    if ($value$plusargs("tile_rows=%d", tile_rows) == 0) $fatal(1, "+tile_rows= is missing");
    if ($value$plusargs("format_a=%d", format_a) == 0) format_a = 0;
    if ($value$plusargs("format_b=%d", format_b) == 0) format_b = 0;
    if ($value$plusargs("table_a=%s", name) != 0) $readmemh(name, table_a);
    if ($value$plusargs("table_b=%s", name) != 0) $readmemh(name, table_b);
    words_expected = longint'(tiles_a) * longint'(tiles_b) * longint'(tile_rows);
  end

  logic [A_BITS-1:0] a_codes, a_next;
  logic [B_BITS-1:0] b_codes, b_next;
  logic a_have, a_held, a_last, a_valid, a_ready;
  logic b_have, b_held, b_last, b_valid, b_ready;
  logic sums_valid, sums_ready;
  logic [SUMS_BITS-1:0] sums_payload;
  int a_word, a_tile, a_repeat, b_word, b_tile, b_round, got;
  logic [9:0] cycle;
  logic started;
  logic [7:0] entry;  // of the tables, while they are written
  logic filling;

  always_ff @(posedge clk) begin
    if (rst) {filling, entry} <= {FILLS, 8'd0};
    else if (filling) {filling, entry} <= {entry != 255, entry + 8'd1};
  end

  assign a_valid = a_have & (a_held | ~gaps[cycle][0]) & ~filling;
  assign b_valid = b_have & (b_held | ~gaps[cycle][1]) & ~filling;
  assign sums_ready = ~gaps[cycle][2];
  assign a_last = a_word == words - 1;
  assign b_last = b_word == words - 1;

  always_ff @(posedge clk) begin
    if (rst | filling) begin
      cycle <= 0;
      started <= 0;
      done <= 0;
      cycles <= 0;
      words_out <= 0;
      {a_held, b_held} <= 0;
      a_have <= 1;
      b_have <= 1;
      {a_word, a_tile, a_repeat, b_word, b_tile, b_round} <= 0;
      if ($fseek(a_file, 0, 0) != 0) $fatal(1, "seek failed");
      if ($fseek(b_file, 0, 0) != 0) $fatal(1, "seek failed");
      got = $fread(a_next, a_file);
      got = $fread(b_next, b_file);
      a_codes <= a_next;
      b_codes <= b_next;
    end else begin
      cycle <= cycle + 1;
      a_held <= a_valid & ~a_ready;
      b_held <= b_valid & ~b_ready;

      if (a_valid & a_ready) begin
        if (!a_last) a_word <= a_word + 1;
        else begin
          a_word <= 0;
          if (a_repeat != tiles_b - 1) begin
            a_repeat <= a_repeat + 1;
            if ($fseek(a_file, a_tile * words * (A_BITS / 8), 0) != 0) $fatal(1, "seek failed");
          end else begin
            a_repeat <= 0;
            a_tile <= a_tile + 1;
            if (a_tile == tiles_a - 1) a_have <= 0;
          end
        end
        got = $fread(a_next, a_file);
        a_codes <= a_next;
      end

      if (b_valid & b_ready) begin
        if (!b_last) b_word <= b_word + 1;
        else begin
          b_word <= 0;
          if (b_tile != tiles_b - 1) b_tile <= b_tile + 1;
          else begin
            b_tile <= 0;
            b_round <= b_round + 1;
            if (b_round == tiles_a - 1) b_have <= 0;
            if ($fseek(b_file, 0, 0) != 0) $fatal(1, "seek failed");
          end
        end
        got = $fread(b_next, b_file);
        b_codes <= b_next;
      end

      if (sums_valid & sums_ready) begin
        $fwrite(sums_file, "%u", (32 * SUMS_WORDS)'(sums_payload));
        words_out <= words_out + 1;
        if (words_out == words_expected - 1) begin
          done <= 1;
          $fflush(sums_file);
        end
      end
      started <= started | (a_valid & a_ready);
      if ((started | (a_valid & a_ready)) & ~done) cycles <= cycles + 1;
      if (trace_file != 0 && !done)
        $fwrite(
            trace_file, "%c", {2'b0, sums_ready, sums_valid, b_ready, b_valid, a_ready, a_valid}
        );
      if (trace_file != 0 && words_out == words_expected) $fflush(trace_file);
    end
  end

  logic [WORD_BITS_A + FORMAT_BITS_A : 0] a_payload;
  logic [WORD_BITS_B + FORMAT_BITS_B : 0] b_payload;
  generate
    if (FORMAT_BITS_A == 0) assign a_payload = {a_last, a_codes[WORD_BITS_A-1:0]};
    else assign a_payload = {a_last, FORMAT_BITS_A'(format_a), a_codes[WORD_BITS_A-1:0]};
    if (FORMAT_BITS_B == 0) assign b_payload = {b_last, b_codes[WORD_BITS_B-1:0]};
    else assign b_payload = {b_last, FORMAT_BITS_B'(format_b), b_codes[WORD_BITS_B-1:0]};
  endgenerate

  `DUT dut (
      .clk(clk),
      .rst(rst),
      .a_payload(a_payload),
      .a_valid(a_valid),
      .a_ready(a_ready),
      .b_payload(b_payload),
      .b_valid(b_valid),
      .b_ready(b_ready),
      .sums_payload(sums_payload),
      .sums_valid(sums_valid),
      .sums_ready(sums_ready),
      .clear(1'b0),
`ifdef TABLE_A
      .a_table_write(filling),
      .a_table_index(entry),
      .a_table_entry(table_a[entry]),
`endif
`ifdef TABLE_B
      .b_table_write(filling),
      .b_table_index(entry),
      .b_table_entry(table_b[entry]),
`endif
`ifdef FLUSHED
      .flushed(flags[3]),
`endif
      .overflow(flags[0]),
      .illegal(flags[1]),
      .misaligned(flags[2])
  );
`ifndef FLUSHED
  assign flags[3] = 0;
`endif
endmodule
