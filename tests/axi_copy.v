// Copies bursts, with an accelerator's ports and, when asked, with a breach of AXI's rules: what the
// harness around the accelerator is tested with.
//
// Registers: 0x00 source, 0x04 destination, 0x08 beats of a burst, 0x0c bursts, at most 256 beats
// in all, 0x10 breach, 0x14 start, 0x18 {write errors, read errors}. Others answer an error.
module axi_copy(
  input clk, input rst, output busy, output reg interrupt,
  input [7:0] s_axi_awaddr, input [2:0] s_axi_awprot, input s_axi_awvalid, output s_axi_awready,
  input [31:0] s_axi_wdata, input [3:0] s_axi_wstrb, input s_axi_wvalid, output s_axi_wready,
  output reg [1:0] s_axi_bresp, output reg s_axi_bvalid, input s_axi_bready,
  input [7:0] s_axi_araddr, input [2:0] s_axi_arprot, input s_axi_arvalid, output s_axi_arready,
  output reg [31:0] s_axi_rdata, output reg [1:0] s_axi_rresp, output reg s_axi_rvalid,
  input s_axi_rready,
  output [0:0] m_axi_awid, output [39:0] m_axi_awaddr, output [7:0] m_axi_awlen,
  output [2:0] m_axi_awsize, output [1:0] m_axi_awburst, output m_axi_awlock,
  output [3:0] m_axi_awcache, output [2:0] m_axi_awprot, output [3:0] m_axi_awqos,
  output m_axi_awvalid, input m_axi_awready,
  output [63:0] m_axi_wdata, output [7:0] m_axi_wstrb, output m_axi_wlast, output m_axi_wvalid,
  input m_axi_wready,
  input [0:0] m_axi_bid, input [1:0] m_axi_bresp, input m_axi_bvalid, output m_axi_bready,
  output [0:0] m_axi_arid, output [39:0] m_axi_araddr, output [7:0] m_axi_arlen,
  output [2:0] m_axi_arsize, output [1:0] m_axi_arburst, output m_axi_arlock,
  output [3:0] m_axi_arcache, output [2:0] m_axi_arprot, output [3:0] m_axi_arqos,
  output m_axi_arvalid, input m_axi_arready,
  input [0:0] m_axi_rid, input [63:0] m_axi_rdata, input [1:0] m_axi_rresp, input m_axi_rlast,
  input m_axi_rvalid, output m_axi_rready
);
  localparam
    AR_FALLS = 1, AR_CHANGES = 2, AW_FALLS = 3, W_CHANGES = 4, W_FALLS = 5, LAST_EARLY = 6,
    LAST_NEVER = 7, DATA_FIRST = 8, NARROW = 9, FIXED = 10, NOT_READY = 11, IDLE_READ = 12,
    HASTY = 13, LOOSE_BUSY = 14, UNALIGNED = 15, DEAF = 16;

  reg running;
  reg [31:0] source, destination, beats, bursts, breach;
  reg [8:0] ar_done, aw_done, w_bursts, b_done;
  reg [8:0] r_beats, w_beats, w_place;
  reg [15:0] read_errors, write_errors;
  reg ar_waited, aw_waited, w_waited;
  reg [63:0] buffer[0:255];

  wire [31:0] total = beats * bursts;
  wire have_all = {23'b0, r_beats} == total;
  assign busy = running & ~(breach == LOOSE_BUSY & m_axi_rvalid);

  assign m_axi_arid = 0, m_axi_awid = 0, m_axi_arlock = 0, m_axi_awlock = 0;
  assign m_axi_arcache = 3, m_axi_awcache = 3, m_axi_arprot = 0, m_axi_awprot = 0;
  assign m_axi_arqos = 0, m_axi_awqos = 0;
  assign m_axi_arsize = breach == NARROW ? 2 : 3, m_axi_awsize = 3;
  assign m_axi_arburst = 1, m_axi_awburst = breach == FIXED ? 0 : 1;
  assign m_axi_arlen = beats[7:0] - 1, m_axi_awlen = beats[7:0] - 1;
  assign m_axi_arvalid =
    running ? {23'b0, ar_done} < bursts & ~(breach == AR_FALLS & ar_waited) : breach == IDLE_READ;
  assign m_axi_araddr = {8'b0, source + 8 * beats * ar_done} + (breach == UNALIGNED ? 4 : 0)
    + (breach == AR_CHANGES & ar_waited ? 8 : 0);
  assign m_axi_rready = breach != NOT_READY;
  assign m_axi_awvalid =
    running & have_all & {23'b0, aw_done} < bursts & ~(breach == AW_FALLS & aw_waited);
  assign m_axi_awaddr = {8'b0, destination + 8 * beats * aw_done};
  assign m_axi_wvalid =
    running & have_all & {23'b0, w_bursts} < bursts & (aw_done > w_bursts | breach == DATA_FIRST)
    & ~(breach == W_FALLS & w_waited);
  assign m_axi_wdata = buffer[w_beats[7:0]] ^ {63'b0, breach == W_CHANGES & w_waited};
  assign m_axi_wstrb = 8'hff;
  assign m_axi_wlast =
    breach != LAST_NEVER & {23'b0, w_place} + 1 == beats | breach == LAST_EARLY & w_place == 1;
  assign m_axi_bready = 1;

  wire put = s_axi_awvalid & s_axi_wvalid & ~s_axi_bvalid & breach != DEAF;
  wire get = s_axi_arvalid & ~s_axi_rvalid & breach != DEAF;
  assign s_axi_awready = put, s_axi_wready = put, s_axi_arready = get;

  always @(posedge clk) begin
    ar_waited <= m_axi_arvalid & ~m_axi_arready;
    aw_waited <= m_axi_awvalid & ~m_axi_awready;
    w_waited <= m_axi_wvalid & ~m_axi_wready;
    if (m_axi_arvalid & m_axi_arready) ar_done <= ar_done + 1;
    if (m_axi_awvalid & m_axi_awready) aw_done <= aw_done + 1;
    if (m_axi_rvalid) begin
      buffer[r_beats[7:0]] <= m_axi_rdata;
      r_beats <= r_beats + 1;
      if (m_axi_rresp != 0) read_errors <= read_errors + 1;
    end
    if (m_axi_wvalid & m_axi_wready) begin
      w_beats <= w_beats + 1;
      w_place <= w_place + 1;
      if ({23'b0, w_place} + 1 == beats) begin
        w_place <= 0;
        w_bursts <= w_bursts + 1;
      end
    end
    if (m_axi_bvalid) begin
      b_done <= b_done + 1;
      if (m_axi_bresp != 0) write_errors <= write_errors + 1;
    end
    if (running & ({23'b0, b_done} == bursts | breach == HASTY & {23'b0, w_bursts} == bursts)) begin
      running <= 0;
      interrupt <= 1;
    end
    if (s_axi_bready) s_axi_bvalid <= 0;
    if (put) begin
      s_axi_bvalid <= 1;
      s_axi_bresp <= s_axi_awaddr > 8'h14 ? 2 : 0;
      case (s_axi_awaddr)
        8'h00: source <= s_axi_wdata;
        8'h04: destination <= s_axi_wdata;
        8'h08: beats <= s_axi_wdata;
        8'h0c: bursts <= s_axi_wdata;
        8'h10: breach <= s_axi_wdata;
        8'h14: begin
          running <= 1;
          interrupt <= 0;
          {ar_done, aw_done, w_bursts, b_done, r_beats, w_beats, w_place} <= 0;
          {read_errors, write_errors} <= 0;
        end
        default: ;
      endcase
    end
    if (s_axi_rready) s_axi_rvalid <= 0;
    if (get) begin
      s_axi_rvalid <= 1;
      s_axi_rresp <= s_axi_araddr > 8'h18 ? 2 : 0;
      s_axi_rdata <= s_axi_araddr == 8'h18 ? {write_errors, read_errors} : source;
    end
    if (rst) begin
      {running, interrupt, s_axi_bvalid, s_axi_rvalid, ar_waited, aw_waited, w_waited} <= 0;
      {source, destination, beats, bursts, breach, read_errors, write_errors} <= 0;
      {ar_done, aw_done, w_bursts, b_done, r_beats, w_beats, w_place} <= 0;
    end
  end
endmodule
