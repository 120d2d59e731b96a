// Streams the words of a GEMM from two files through a weight-stationary array, keeps its partial
// sums, and writes the words of sums to a third file. Clocked from outside, as gemm_harness.
//
// Files: +a= has M words for each tile along K, in the order in which the tiles are walked; +b= the
// words of all weight tiles in the order of the passes; first byte first. Passes: for each group of
// +group= tiles of B, for each of +tiles_k= tiles along K, for each tile of B in the group (of
// +tiles_b= in all). Further plusargs: +rows= (M), +words= (weight words of a tile), +repeat=,
// +fuse= (elements of A, of B take two lanes), and +sums= +format_a= +format_b= +table_a= +table_b=
// +gaps= +trace= as for gemm_harness, with entries {sums, partial, b, a} and one byte a cycle
// {sums_ready, sums_valid, partial_ready, partial_valid, b_ready, b_valid, a_ready, a_valid}.
//
// Defines: DUT, the array; TABLE_A, TABLE_B, FLUSHED if it has those ports.

`ifndef DUT
`define DUT weight_stationary_4x4_olive_acc32
`endif

module ws_harness #(
    parameter int COLS = 4,
    parameter int ACC_BITS = 32,
    parameter int WORD_BITS_A = 16,   // of an operand word, what the file holds
    parameter int WORD_BITS_B = 32,
    parameter int FORMAT_BITS_A = 2,  // of its field `format`
    parameter int FORMAT_BITS_B = 2,
    parameter int FUSE_BITS = 1,      // of the fields `fuse` and `repeat`
    parameter int REPEAT_BITS = 1
) (
    input  logic        clk,
    input  logic        rst,
    output logic        done,       // the last word of sums was taken
    output logic [63:0] cycles,     // first weight word taken to last word of sums taken, inclusive
    output logic [63:0] words_out,  // words of sums taken, partial ones too
    output logic [3:0]  flags       // the array's sticky {flushed, misaligned, illegal, overflow}
);
  localparam int A_BITS = (WORD_BITS_A + 7) / 8 * 8;
  localparam int B_BITS = (WORD_BITS_B + 7) / 8 * 8;
  localparam int A_MARKS = FORMAT_BITS_A + 2 + FUSE_BITS;
  localparam int B_MARKS = FORMAT_BITS_B + 1 + REPEAT_BITS;
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
  int rows, words, tiles_k, tiles_b, group, format_a, format_b, is_wide_a, is_wide_b;
  longint words_expected;
  string name;
  logic [3:0] gaps[1024];
  logic [15:0] table_a[256], table_b[256];
  logic [SUMS_BITS-1:0] waiting[];  // the words of partial sums, a ring

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
    if ($value$plusargs("rows=%d", rows) == 0) $fatal(1, "+rows= is missing");
    if ($value$plusargs("words=%d", words) == 0) $fatal(1, "+words= is missing");
    if ($value$plusargs("tiles_k=%d", tiles_k) == 0) $fatal(1, "+tiles_k= is missing");
    if ($value$plusargs("tiles_b=%d", tiles_b) == 0) $fatal(1, "+tiles_b= is missing");
    if ($value$plusargs("group=%d", group) == 0) $fatal(1, "+group= is missing");
    if ($value$plusargs("format_a=%d", format_a) == 0) format_a = 0;
    if ($value$plusargs("format_b=%d", format_b) == 0) format_b = 0;
    if ($value$plusargs("repeat=%d", is_wide_a) == 0) is_wide_a = 0;
    if ($value$plusargs("fuse=%d", is_wide_b) == 0) is_wide_b = 0;
    if ($value$plusargs("table_a=%s", name) != 0) $readmemh(name, table_a);
    if ($value$plusargs("table_b=%s", name) != 0) $readmemh(name, table_b);
    words_expected = longint'(tiles_k) * longint'(tiles_b) * longint'(rows);
    waiting = new[rows * group];
  end

  logic [A_BITS-1:0] a_codes, a_next;
  logic [B_BITS-1:0] b_codes, b_next;
  logic a_have, a_held, a_last, a_start, a_fuse, a_valid, a_ready;
  logic b_have, b_held, b_last, b_valid, b_ready;
  logic partial_held, partial_valid, partial_ready;
  logic sums_valid, sums_ready, sums_is_partial;
  logic [SUMS_BITS-1:0] partial_payload, sums_payload;
  int a_row, a_tile, a_tile_k, a_first;  // row of A; tile of B in its group; along K; group's first
  int b_word, b_tile;
  int out_word, out_tile_k, out_first;  // word of the round, as many as its tiles of B times M
  int count, head, tail, got;
  logic [9:0] cycle;
  logic started;
  logic [7:0] entry;  // of the tables, while they are written
  logic filling;

  always_ff @(posedge clk) begin
    if (rst) {filling, entry} <= {FILLS, 8'd0};
    else if (filling) {filling, entry} <= {entry != 255, entry + 8'd1};
  end

  function automatic int in_group(input int first);
    return tiles_b - first < group ? tiles_b - first : group;
  endfunction

  assign a_valid = a_have & (a_held | ~gaps[cycle][0]) & ~filling;
  assign b_valid = b_have & (b_held | ~gaps[cycle][1]) & ~filling;
  assign partial_valid = (count != 0) & (partial_held | ~gaps[cycle][2]);
  assign sums_ready = ~gaps[cycle][3];
  assign a_last = a_row == rows - 1;
  assign a_start = a_tile_k == 0;
  assign a_fuse = is_wide_b != 0 && a_tile_k == tiles_k - 1;
  assign b_last = b_word == words - 1;
  assign sums_is_partial = out_tile_k != tiles_k - 1;

  always_ff @(posedge clk) begin
    if (rst | filling) begin
      cycle <= 0;
      started <= 0;
      done <= 0;
      cycles <= 0;
      words_out <= 0;
      {a_held, b_held, partial_held} <= 0;
      a_have <= 1;
      b_have <= 1;
      {a_row, a_tile, a_tile_k, a_first, b_word, b_tile} <= 0;
      {out_word, out_tile_k, out_first, count} <= 0;
      head = 0;
      tail = 0;
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
      partial_held <= partial_valid & ~partial_ready;

      if (a_valid & a_ready) begin
        if (!a_last) a_row <= a_row + 1;
        else begin
          a_row <= 0;
          if (a_tile != in_group(a_first) - 1) begin
            a_tile <= a_tile + 1;
            if ($fseek(a_file, a_tile_k * rows * (A_BITS / 8), 0) != 0) $fatal(1, "seek failed");
          end else begin
            a_tile <= 0;
            if (a_tile_k != tiles_k - 1) a_tile_k <= a_tile_k + 1;
            else begin
              a_tile_k <= 0;
              a_first <= a_first + group;
              if (tiles_b - a_first <= group) a_have <= 0;
              if ($fseek(a_file, 0, 0) != 0) $fatal(1, "seek failed");
            end
          end
        end
        got = $fread(a_next, a_file);
        a_codes <= a_next;
      end

      if (b_valid & b_ready) begin
        if (!b_last) b_word <= b_word + 1;
        else begin
          b_word <= 0;
          b_tile <= b_tile + 1;
          if (b_tile == tiles_k * tiles_b - 1) b_have <= 0;
        end
        got = $fread(b_next, b_file);
        b_codes <= b_next;
      end

      if (sums_valid & sums_ready) begin
        if (sums_is_partial) begin
          waiting[tail] = sums_payload;
          tail = tail + 1 == rows * group ? 0 : tail + 1;
        end else $fwrite(sums_file, "%u", (32 * SUMS_WORDS)'(sums_payload));
        if (out_word != rows * in_group(out_first) - 1) out_word <= out_word + 1;
        else begin
          out_word <= 0;
          out_tile_k <= sums_is_partial ? out_tile_k + 1 : 0;
          if (!sums_is_partial) out_first <= out_first + group;
        end
        words_out <= words_out + 1;
        if (words_out == words_expected - 1) begin
          done <= 1;
          $fflush(sums_file);
        end
      end
      if (partial_valid & partial_ready) head = head + 1 == rows * group ? 0 : head + 1;
      partial_payload <= waiting[head];
      count <= count + int'(sums_valid & sums_ready & sums_is_partial)
          - int'(partial_valid & partial_ready);

      started <= started | (b_valid & b_ready);
      if ((started | (b_valid & b_ready)) & ~done) cycles <= cycles + 1;
      if (trace_file != 0 && !done)
        $fwrite(
            trace_file, "%c",
            {sums_ready, sums_valid, partial_ready, partial_valid, b_ready, b_valid, a_ready, a_valid}
        );
      if (trace_file != 0 && words_out == words_expected) $fflush(trace_file);
    end
  end

  // Fields above the codes; those of no bits vanish.
  logic [31:0] a_marks, b_marks;
  assign a_marks = format_a | 32'(a_last) << FORMAT_BITS_A | 32'(a_start) << (FORMAT_BITS_A + 1)
      | 32'(a_fuse) << (FORMAT_BITS_A + 2);
  assign b_marks = format_b | 32'(b_last) << FORMAT_BITS_B
      | 32'(is_wide_a != 0) << (FORMAT_BITS_B + 1);

  `DUT dut (
      .clk(clk),
      .rst(rst),
      .a_payload({a_marks[A_MARKS-1:0], a_codes[WORD_BITS_A-1:0]}),
      .a_valid(a_valid),
      .a_ready(a_ready),
      .b_payload({b_marks[B_MARKS-1:0], b_codes[WORD_BITS_B-1:0]}),
      .b_valid(b_valid),
      .b_ready(b_ready),
      .partial_payload(partial_payload),
      .partial_valid(partial_valid),
      .partial_ready(partial_ready),
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
