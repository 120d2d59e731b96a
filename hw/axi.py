"""AXI as the accelerators speak it: flat ports, registers on AXI4-Lite. The bus rules are Arm's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from oleaster.models.accelerator.registers import Register

__all__ = [
    "AXI_LITE_PORTS",
    "OKAY",
    "SLVERR",
    "RegisterWrite",
    "axi_ports",
    "drive_bursts",
    "read_registers",
    "take_writes",
]

OKAY, SLVERR = 0, 2

_INCR = 1
_NORMAL_NON_CACHEABLE_BUFFERABLE = 0b0011

AXI_LITE_PORTS = {
    "s_axi_awaddr": In(8),
    "s_axi_awprot": In(3),
    "s_axi_awvalid": In(1),
    "s_axi_awready": Out(1),
    "s_axi_wdata": In(32),
    "s_axi_wstrb": In(4),
    "s_axi_wvalid": In(1),
    "s_axi_wready": Out(1),
    "s_axi_bresp": Out(2),
    "s_axi_bvalid": Out(1),
    "s_axi_bready": In(1),
    "s_axi_araddr": In(8),
    "s_axi_arprot": In(3),
    "s_axi_arvalid": In(1),
    "s_axi_arready": Out(1),
    "s_axi_rdata": Out(32),
    "s_axi_rresp": Out(2),
    "s_axi_rvalid": Out(1),
    "s_axi_rready": In(1),
}
"""The flat AXI4-Lite ports of a slave with up to 64 registers of 32 bits."""


def axi_ports(data_bits: int, address_bits: int) -> dict[str, Any]:
    """The flat AXI4 ports of a bus master with one ID."""

    def address(channel: str) -> dict[str, Any]:
        return {
            f"m_axi_{channel}id": Out(1),
            f"m_axi_{channel}addr": Out(address_bits),
            f"m_axi_{channel}len": Out(8),
            f"m_axi_{channel}size": Out(3),
            f"m_axi_{channel}burst": Out(2),
            f"m_axi_{channel}lock": Out(1),
            f"m_axi_{channel}cache": Out(4),
            f"m_axi_{channel}prot": Out(3),
            f"m_axi_{channel}qos": Out(4),
            f"m_axi_{channel}valid": Out(1),
            f"m_axi_{channel}ready": In(1),
        }

    return {
        **address("aw"),
        "m_axi_wdata": Out(data_bits),
        "m_axi_wstrb": Out(data_bits // 8),
        "m_axi_wlast": Out(1),
        "m_axi_wvalid": Out(1),
        "m_axi_wready": In(1),
        "m_axi_bid": In(1),
        "m_axi_bresp": In(2),
        "m_axi_bvalid": In(1),
        "m_axi_bready": Out(1),
        **address("ar"),
        "m_axi_rid": In(1),
        "m_axi_rdata": In(data_bits),
        "m_axi_rresp": In(2),
        "m_axi_rlast": In(1),
        "m_axi_rvalid": In(1),
        "m_axi_rready": Out(1),
    }


def drive_bursts(m: Module, unit: Any) -> None:
    """What never changes on the address channels of `axi_ports`: INCR bursts of whole beats."""
    size = len(unit.m_axi_wstrb).bit_length() - 1
    for channel in ("aw", "ar"):
        m.d.comb += [
            getattr(unit, f"m_axi_{channel}size").eq(size),
            getattr(unit, f"m_axi_{channel}burst").eq(_INCR),
            getattr(unit, f"m_axi_{channel}cache").eq(_NORMAL_NON_CACHEABLE_BUFFERABLE),
        ]


class RegisterWrite(NamedTuple):
    """A write of a register. act: this is its cycle. refused: to be driven, answers SLVERR.

    word: the address without bits 1:0. mask: a bit for each bit of `data` that is written.
    """

    act: Signal
    refused: Signal
    word: Value
    data: Signal
    strobe: Signal
    mask: Value

    def into(self, m: Module, register: Signal) -> None:
        """Write it."""
        with m.If(self.act):
            m.d.sync += register.eq((register & ~self.mask) | (self.data & self.mask))


def take_writes(m: Module, unit: Any) -> RegisterWrite:
    """The write channels of `AXI_LITE_PORTS`: AW and W come in any order, one write at a time.

    A write acts in the cycle in which both halves are there and the response before has left.
    """
    have_address = Signal()
    have_data = Signal()
    address = Signal(len(unit.s_axi_awaddr))
    data = Signal(32)
    strobe = Signal(4)
    act = Signal()
    refused = Signal()
    m.d.comb += [
        unit.s_axi_awready.eq(~have_address),
        unit.s_axi_wready.eq(~have_data),
        act.eq(have_address & have_data & ~unit.s_axi_bvalid),
    ]
    with m.If(unit.s_axi_awvalid & unit.s_axi_awready):
        m.d.sync += [have_address.eq(1), address.eq(unit.s_axi_awaddr)]
    with m.If(unit.s_axi_wvalid & unit.s_axi_wready):
        m.d.sync += [
            have_data.eq(1),
            data.eq(unit.s_axi_wdata),
            strobe.eq(unit.s_axi_wstrb),
        ]
    with m.If(unit.s_axi_bready):
        m.d.sync += unit.s_axi_bvalid.eq(0)
    with m.If(act):
        m.d.sync += [
            have_address.eq(0),
            have_data.eq(0),
            unit.s_axi_bvalid.eq(1),
            unit.s_axi_bresp.eq(Mux(refused, SLVERR, OKAY)),
        ]
    mask = Cat(bit.replicate(8) for bit in strobe)
    return RegisterWrite(act, refused, address[2:], data, strobe, mask)


def read_registers(
    m: Module, unit: Any, registers: Sequence[Register], values: Mapping[str, Value]
) -> None:
    """The read channels of `AXI_LITE_PORTS`: a read shows the cycle in which its address is taken.

    Registers that are only written read as 0; SLVERR where there is none.
    """
    m.d.comb += unit.s_axi_arready.eq(~unit.s_axi_rvalid)
    with m.If(unit.s_axi_rready):
        m.d.sync += unit.s_axi_rvalid.eq(0)
    with m.If(unit.s_axi_arvalid & unit.s_axi_arready):
        m.d.sync += [
            unit.s_axi_rvalid.eq(1),
            unit.s_axi_rdata.eq(0),
            unit.s_axi_rresp.eq(OKAY),
        ]
        with m.Switch(unit.s_axi_araddr[2:]):
            for register in registers:
                with m.Case(register.offset >> 2):
                    if register.access != "wo":
                        m.d.sync += unit.s_axi_rdata.eq(values[register.name])
            with m.Default():
                m.d.sync += unit.s_axi_rresp.eq(SLVERR)
