# amaranth: UnusedElaboratable=no
"""Reciprocals and inverse roots: a table over the mantissa, and one step of Newton's method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, named, place
from oleaster.hw.nerf.flow import Flow
from oleaster.hw.nerf.pipe import Pipe
from oleaster.hw.nerf.rounding import rounded
from oleaster.models.nerf.fixed.tables import INVERSE_GUARD, inverse_root_table, reciprocal_table

__all__ = ["InverseRoot", "InverseRootStages", "Reciprocal", "ReciprocalStages"]

_LARGEST_WIDTH = 52  # of the models' inputs


class _Stages(Unit):
    """Both inverses up to their tables. They take a number in every cycle and never wait.

    Members
    -------
    x: In(width)
        At least 1.
    y: Out(inverse_bits + 1)
    e: Out
        `latency` cycles after x: the inverse is y / 2^e.
    """

    latency: int

    def __init__(
        self, width: int, inverse_bits: int, inverse_address_bits: int, largest_exponent: int
    ) -> None:
        if not 2 <= width <= _LARGEST_WIDTH:
            raise ValueError(f"width is {width}; it must be 2 .. {_LARGEST_WIDTH}")
        self.width = width
        self.inverse_bits = inverse_bits
        self.inverse_address_bits = inverse_address_bits
        self.entry_bits = inverse_address_bits + INVERSE_GUARD
        super().__init__(
            {
                "x": In(width),
                "y": Out(inverse_bits + 1),
                "e": Out(range(largest_exponent + 1)),
            }
        )

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "width": self.width,
            "inverse_bits": self.inverse_bits,
            "inverse_address_bits": self.inverse_address_bits,
        }

    def _normalise(self, m: Module, flow: Flow, bits: int) -> None:
        """In stage 1 `top`, the place of x's leading one, and `normal`, `bits` bits from it on."""
        top = Signal(range(self.width))
        rest = self.x
        for i in reversed(range(len(top))):
            high = rest[1 << i :]
            half = Signal(1 << i, name=f"half_of_{1 << i}")
            m.d.comb += [top[i].eq(high.any()), half.eq(Mux(top[i], high, rest[: 1 << i]))]
            rest = half
        number, top = flow.step("number", self.x, 1), flow.step("top", top, 1)
        normal = Signal(self.width)
        m.d.comb += normal.eq(number << (self.width - 1 - top)[: len(top)])
        cut = normal[max(self.width - bits, 0) :].shift_left(max(bits - self.width, 0))
        flow.add("normal", cut, 1)

    def _look_up(self, m: Module, flow: Flow, table: Sequence[int]) -> None:
        """In stage 3 the table's `entry` for the mantissa, inverse_bits of fraction, of stage 2."""
        m.submodules.entries = memory = Memory(shape=self.entry_bits, depth=len(table), init=table)
        read = named(memory.read_port(domain="sync"), "entry")
        # The table begins with the mantissa 1.
        address = flow.at("mantissa", 2) >> (self.inverse_bits - self.inverse_address_bits)
        m.d.comb += read.addr.eq(address - (1 << self.inverse_address_bits))
        flow.add("entry", read.data, 3)


class ReciprocalStages(_Stages):
    """1 / x = y / 2^e within 2^-17, without a handshake; `Reciprocal` has one.

    Parameters as there.
    """

    latency = 7

    def __init__(self, width: int, inverse_bits: int = 18, inverse_address_bits: int = 8) -> None:
        super().__init__(width, inverse_bits, inverse_address_bits, width - 1 + inverse_bits)

    @property
    def module_name(self) -> str:
        return f"reciprocal_stages_{self.width}_{self.inverse_bits}_{self.inverse_address_bits}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        flow, bits = Flow(m), self.inverse_bits
        self._normalise(m, flow, bits + 1)
        flow.step("mantissa", flow.at("normal", 1), 2)
        self._look_up(m, flow, reciprocal_table(self.inverse_address_bits).tolist())
        near_one = flow.step("near_one", flow.at("mantissa", 3) * flow.at("entry", 3), 4)
        # One step of Newton's method: y = entry * (2 - mantissa * entry), about entry.
        error = (2 << bits) - rounded(near_one, self.entry_bits)
        error = flow.step("error", error[: bits + 1], 5)
        inverse = flow.step("inverse", flow.at("entry", 5) * error, 6)
        y = flow.step("y", rounded(inverse, self.entry_bits)[: bits + 1], self.latency)
        m.d.comb += [self.y.eq(y), self.e.eq(flow.at("top", self.latency) + bits)]
        return m


class InverseRootStages(_Stages):
    """1 / sqrt(x / 2^fraction) = y / 2^e within 2^-17, without a handshake; `InverseRoot` has one.

    Parameters as there.
    """

    latency = 8

    def __init__(
        self, width: int, fraction: int, inverse_bits: int = 18, inverse_address_bits: int = 8
    ) -> None:
        if not 0 <= fraction <= 2 * inverse_bits:
            raise ValueError(f"fraction is {fraction}; it must be 0 .. {2 * inverse_bits}")
        self.fraction = fraction
        # Of the largest number; of the least it is not below 0, by the check above.
        largest = ((width - 1 - fraction) >> 1) + inverse_bits
        super().__init__(width, inverse_bits, inverse_address_bits, max(largest, 1))

    @property
    def module_name(self) -> str:
        widths = self.width, self.fraction, self.inverse_bits, self.inverse_address_bits
        return f"inverse_root_stages_{'_'.join(map(str, widths))}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {**super().parameters, "fraction": self.fraction}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        flow, bits, entry_bits = Flow(m), self.inverse_bits, self.entry_bits
        self._normalise(m, flow, bits + 2)
        # Over two octaves, so that what remains of the exponent is even.
        normal, octave = flow.at("normal", 1), flow.at("top", 1) - self.fraction
        flow.step("mantissa", Mux(octave[0], normal, normal >> 1), 2)
        flow.step("half", octave >> 1, 2)
        self._look_up(m, flow, inverse_root_table(self.inverse_address_bits).tolist())
        square = flow.step("square", flow.at("entry", 3) * flow.at("entry", 3), 4)
        near_one = flow.step("near_one", flow.at("mantissa", 4) * square, 5)
        # One step of Newton's method: y = entry * (3 - mantissa * entry^2) / 2, about entry.
        error = (3 << bits) - rounded(near_one, 2 * entry_bits)
        error = flow.step("error", error[: bits + 2], 6)
        inverse = flow.step("inverse", flow.at("entry", 6) * error, 7)
        y = flow.step("y", rounded(inverse, entry_bits + 1)[: bits + 1], self.latency)
        m.d.comb += [self.y.eq(y), self.e.eq(flow.at("half", self.latency) + bits)]
        return m


class _Inverse(Pipe):
    """Either's stages between a stream of numbers and one of (y, e)."""

    def __init__(self, stages: _Stages) -> None:
        self._stages = stages
        layout = data.StructLayout({"y": stages.y.shape(), "e": stages.e.shape()})
        super().__init__(stages.width, layout, stages.latency)

    @property
    def module_name(self) -> str:
        return self._stages.module_name.replace("_stages", "")

    @property
    def parameters(self) -> dict[str, Any]:
        return self._stages.parameters

    def compute(self, m: Module, platform: object, word: Any) -> Any:
        place(m, "stages", self._stages, platform, x=word)
        answer = Signal(self.o.payload.shape())
        m.d.comb += [answer.y.eq(self._stages.y), answer.e.eq(self._stages.e)]
        return answer


class Reciprocal(_Inverse):
    """(y, e) with 1 / x = y / 2^e within 2^-17 of it, as `reciprocal` of `fixed/tables.py`.

    Parameters
    ----------
    width: int
        Bits of x, 2 to 52.
    inverse_bits: int
        Fraction of y.
    inverse_address_bits: int
        The table has 2^inverse_address_bits entries.

    Members
    -------
    i: stream of width bits, In
        At least 1; what is answered to 0 means nothing.
    o: stream of (y: inverse_bits + 1 bits, e), Out
    """

    def __init__(self, width: int, inverse_bits: int = 18, inverse_address_bits: int = 8) -> None:
        super().__init__(ReciprocalStages(width, inverse_bits, inverse_address_bits))


class InverseRoot(_Inverse):
    """(y, e) with 1 / sqrt(x / 2^fraction) = y / 2^e within 2^-17 of it, as `inverse_root`.

    Parameters
    ----------
    width: int
        Bits of x, 2 to 52.
    fraction: int
        Bits of x behind the binary point, 0 to 2 inverse_bits; they may be more than its width.
    inverse_bits: int
        Fraction of y.
    inverse_address_bits: int
        The table has 3 * 2^inverse_address_bits entries.

    Members
    -------
    i: stream of width bits, In
        At least 1; what is answered to 0 means nothing.
    o: stream of (y: inverse_bits + 1 bits, e), Out
    """

    def __init__(
        self, width: int, fraction: int, inverse_bits: int = 18, inverse_address_bits: int = 8
    ) -> None:
        super().__init__(InverseRootStages(width, fraction, inverse_bits, inverse_address_bits))
