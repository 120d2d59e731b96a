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
from oleaster.hw.nerf.pipe import Pipe, delayed
from oleaster.hw.nerf.rounding import rounded
from oleaster.models.nerf.fixed.tables import INVERSE_GUARD, inverse_root_table, reciprocal_table

__all__ = ["InverseRoot", "InverseRootStages", "Reciprocal", "ReciprocalStages", "registered"]

_LARGEST_WIDTH = 52  # of the models' inputs


def registered(m: Module, name: str, value: Any) -> Any:
    """`value`, a cycle later, in a register without reset."""
    register = Signal(value.shape(), name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register


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

    def _leading_one(self, m: Module) -> tuple[Any, Any]:
        """x and the place of its leading one, a cycle later."""
        top = Signal(range(self.width))
        rest = self.x
        for i in reversed(range(len(top))):
            high = rest[1 << i :]
            half = Signal(1 << i, name=f"half_of_{1 << i}")
            m.d.comb += [top[i].eq(high.any()), half.eq(Mux(top[i], high, rest[: 1 << i]))]
            rest = half
        return registered(m, "number", self.x), registered(m, "number_top", top)

    def _normal(self, m: Module, number: Any, top: Any, bits: int) -> Any:
        """The first `bits` bits of a number from its leading one on."""
        normal = Signal(self.width)
        m.d.comb += normal.eq(number << (self.width - 1 - top)[: len(top)])
        return normal[max(self.width - bits, 0) :].shift_left(max(bits - self.width, 0))

    def _entry(self, m: Module, mantissa: Any, table: Sequence[int]) -> Any:
        """The table's entry for a mantissa of inverse_bits of fraction, a cycle later."""
        m.submodules.entries = memory = Memory(shape=self.entry_bits, depth=len(table), init=table)
        read = named(memory.read_port(domain="sync"), "entry")
        # The table begins with the mantissa 1.
        address = mantissa >> (self.inverse_bits - self.inverse_address_bits)
        m.d.comb += read.addr.eq(address - (1 << self.inverse_address_bits))
        return read.data


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
        bits = self.inverse_bits
        number, top = self._leading_one(m)
        mantissa = registered(m, "mantissa", self._normal(m, number, top, bits + 1))
        entry = self._entry(m, mantissa, reciprocal_table(self.inverse_address_bits).tolist())
        product = registered(m, "product", delayed(m, mantissa, 1, "mantissa") * entry)
        # One step of Newton's method: y = entry * (2 - mantissa * entry), about entry.
        near_one = rounded(product, self.entry_bits)
        error = registered(m, "error", ((2 << bits) - near_one)[: bits + 1])
        inverse = registered(m, "inverse", delayed(m, entry, 2, "entry") * error)
        m.d.comb += [
            self.y.eq(
                registered(m, "inverse_rounded", rounded(inverse, self.entry_bits)[: bits + 1])
            ),
            self.e.eq(delayed(m, top, self.latency - 1, "top") + bits),
        ]
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
        bits, entry_bits = self.inverse_bits, self.entry_bits
        number, top = self._leading_one(m)
        # Over two octaves, so that what remains of the exponent is even.
        octave = top - self.fraction
        normal = self._normal(m, number, top, bits + 2)
        mantissa = registered(m, "mantissa", Mux(octave[0], normal, normal >> 1))
        half = registered(m, "half", octave >> 1)
        entry = self._entry(m, mantissa, inverse_root_table(self.inverse_address_bits).tolist())
        square = registered(m, "square", entry * entry)
        product = registered(m, "product", delayed(m, mantissa, 2, "mantissa") * square)
        # One step of Newton's method: y = entry * (3 - mantissa * entry^2) / 2, about entry.
        near_one = rounded(product, 2 * entry_bits)
        error = registered(m, "error", ((3 << bits) - near_one)[: bits + 2])
        inverse = registered(m, "inverse", delayed(m, entry, 3, "entry") * error)
        m.d.comb += [
            self.y.eq(
                registered(m, "inverse_rounded", rounded(inverse, entry_bits + 1)[: bits + 1])
            ),
            self.e.eq(delayed(m, half, self.latency - 2, "half") + bits),
        ]
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
