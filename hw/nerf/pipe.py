"""What most units of the renderer are: a word in, its answer a fixed number of cycles later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth import Module, Shape, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.accelerator.queue import Queue
from oleaster.hw.emit import Unit, place

__all__ = ["Path", "Pipe", "delayed", "queue_depth", "total"]


class Pipe(Unit):
    """Streams a word in every cycle, or every few cycles, through `latency` registers into a queue.

    The registers never wait, so that no signal has to reach all of them at once: a word is accepted
    only if the queue will have room for its answer. `sim/nerf/pipe.py` is the cycle model. The
    queue is deep enough that a receiver that is always ready gets a word in every cycle.

    Parameters
    ----------
    i_shape, o_shape:
        Of the words.
    latency: int
        Registers between them, at least 1.
    members: dict
        Further ports of the unit; what `compute` reads of them must be stable while words are on
        their way.
    interval: int
        Cycles from one word to the next, at least.

    Members
    -------
    i: stream of i_shape, In
    o: stream of o_shape, Out
    """

    def __init__(
        self,
        i_shape: Any,
        o_shape: Any,
        latency: int,
        members: dict[str, Any] | None = None,
        interval: int = 1,
    ) -> None:
        if latency < 1:
            raise ValueError(f"latency is {latency}; it must be at least 1")
        self.latency = latency
        self.interval = interval
        super().__init__(
            {
                "i": In(stream.Signature(i_shape)),
                "o": Out(stream.Signature(o_shape)),
                **(members or {}),
            }
        )

    @property
    def depth(self) -> int:
        """Words that are on their way or wait, at most: a power of two."""
        return queue_depth(self.latency, self.interval)

    def compute(self, m: Module, platform: object, word: Any) -> Any:
        """The answer to `word`, `latency` cycles later; registers have no reset and no enable."""
        raise NotImplementedError

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = Shape.cast(self.o.payload.shape()).width
        answers = Queue(width, self.depth)
        place(m, "answers", answers, platform)
        room = Signal(range(self.depth + 1), init=self.depth)
        takes = Signal()
        gives = Signal()
        ready = room != 0
        if self.interval > 1:
            pause = Signal(range(self.interval))
            with m.If(takes):
                m.d.sync += pause.eq(self.interval - 1)
            with m.Elif(pause != 0):
                m.d.sync += pause.eq(pause - 1)
            ready &= pause == 0
        m.d.comb += [
            self.i.ready.eq(ready),
            takes.eq(self.i.valid & self.i.ready),
            gives.eq(self.o.valid & self.o.ready),
            answers.i.payload.eq(Value.cast(self.compute(m, platform, self.i.payload))),
            answers.i.valid.eq(delayed(m, takes, self.latency, "on_the_way", reset_less=False)),
            Value.cast(self.o.payload).eq(answers.o.payload),
            self.o.valid.eq(answers.o.valid),
            answers.o.ready.eq(self.o.ready),
        ]
        m.d.sync += room.eq(room + gives - takes)
        return m


class Path(Unit):
    """What a `Pipe` computes, without its queue and handshakes: `o` is `latency` cycles after `i`.

    Members
    -------
    i: i_shape of the pipe, In
    o: o_shape of the pipe, Out
    The pipe's further members.
    """

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        pipe._MustUse__used = True  # its path stands for it
        members = {"i": In(pipe.i.payload.shape()), "o": Out(pipe.o.payload.shape())}
        super().__init__({**dict(pipe.signature.members), **members})

    @property
    def module_name(self) -> str:
        return f"{self.pipe.module_name}_path"

    @property
    def parameters(self) -> dict[str, Any]:
        return self.pipe.parameters

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in self.signature.members:
            if name not in ("i", "o"):
                m.d.comb += getattr(self.pipe, name).eq(getattr(self, name))
        m.d.comb += Value.cast(self.o).eq(Value.cast(self.pipe.compute(m, platform, self.i)))
        return m


def queue_depth(latency: int, interval: int = 1) -> int:
    """Words on their way and in the queue, so that a receiver never waits: a power of two.

    interval: cycles from one word to the next, at least.
    """
    return 1 << (-(-(latency + 1) // interval)).bit_length()


def delayed(m: Module, value: Any, cycles: int, name: str, *, reset_less: bool = True) -> Any:
    """`value`, `cycles` cycles later, of the same shape; registers `<name>_1`, `<name>_2` ..."""
    for i in range(1, cycles + 1):
        register = Signal(value.shape(), name=f"{name}_{i}", reset_less=reset_less)
        m.d.sync += register.eq(value)
        value = register
    return value


def total(values: Sequence[Any]) -> Any:
    """The sum of one or more values, as a balanced tree."""
    while len(values) > 1:
        pairs = [a + b for a, b in zip(values[::2], values[1::2], strict=False)]
        values = [*pairs, *values[2 * len(pairs) :]]
    return values[0]
