"""A sample's way, compiled: cells, codes, alpha, light, and where it counts its colour.

Each function takes a word to its unit, in the order of the circuit, and returns the cycle in which
the word is accepted there. Times only ever depend on words before it, so that no unit has to wait
for a later one's decision: all is maxima and sums, word after word.
"""

from __future__ import annotations

from oleaster.models.nerf.fixed.network_shape import COLORS
from oleaster.sim.nerf.renderer.clocks import (
    ACCEPTED_AT,
    LONG_AGO,
    Clock,
    accept,
    answered,
    offers,
    take_slot,
)
from oleaster.sim.nerf.renderer.jit import kernel
from oleaster.sim.nerf.renderer.machine import COUNT, IDLE, STORED, Count, Machine, Pipes, Register
from oleaster.sim.nerf.renderer.values import _AXES, Codes, Curve, Longs, alpha_of, cells

__all__ = ["end_samples", "take_sample"]

DENSITY, COLOR = 0, 1
_SEEN_AFTER = 3  # cycles from a sample's handshake with the shader until its light can be looked at
_SWEEP = 2  # cycles from a sweep's handshake to its first word

# numba takes plain integers of a module, not members of an enumeration.
_SLABS, _ADDRESS, _ALPHA, _PRODUCTS = (
    int(Pipes.SLABS), int(Pipes.ADDRESS), int(Pipes.ALPHA), int(Pipes.PRODUCTS)
)  # fmt: skip
_FINISHER, _TAPS, _LANES = int(Pipes.FINISHER), int(Pipes.TAPS), int(Pipes.LANES)
_EMITTED, _SHADER_IDLE, _SHADER_TAKEN = (
    int(Register.EMITTED), int(Register.SHADER_IDLE), int(Register.SHADER_TAKEN)
)  # fmt: skip
_FEATURES_TAKEN, _COLOR_TURN = int(Register.FEATURES_TAKEN), int(Register.COLOR_TURN)
_COMPOSITOR_IDLE = int(Register.COMPOSITOR_IDLE)
_SAMPLES, _SKIPPED, _COLORED = int(Count.SAMPLE), int(Count.SKIPPED), int(Count.COLORED)
_ASKED, _READ, _TAPS_BUSY = (
    int(Count.ASKED_DENSITY), int(Count.READ_DENSITY), int(Count.TAPS_DENSITY_BUSY)
)  # fmt: skip
_BATCH, _COLOR_BUSY, _COLOR_WAITS = (
    int(Count.BATCH), int(Count.COLOR_BUSY), int(Count.COLOR_WAITS)
)  # fmt: skip


@kernel
def _taps(
    pipes: Clock, groups: Longs, chunks: Longs, counts: Longs, kind: int, emitted: int,
    cell: Longs, cycle: int,
) -> tuple[int, int]:  # fmt: skip
    """A sample through a tap reader: when it is accepted, and from when its codes are complete.

    emitted: when the sample before left. groups, chunks: of this kind.
    """
    last = full = cycle
    busiest = asked_for = read = 0
    for pair in range(3):
        lanes = _LANES + (kind * 3 + pair) * 2
        # When the last look-up was asked for, and from when the next answer can be taken.
        asked, got = cycle - 1, emitted
        reads = 0
        for line in range(2):
            u = cell[_AXES[pair, 2 if line else 0]]
            chunk = chunks[pair, line]
            splits = 1 if chunk >= 0 and (u & chunk) == chunk else 0
            rows = 1 if line else 2
            for _ in range(groups[pair, line]):
                for lane in range(rows):
                    pipe = pipes[lanes + lane]
                    # Of two halves, the second enters in the next cycle.
                    asked = accept(pipe, asked + 1) + splits
                    pipe[ACCEPTED_AT] = asked
                    cycle_of_answer = max(offers(pipe), got)
                    answered(pipe, cycle_of_answer)
                    got = cycle_of_answer + 1
            asked_for += groups[pair, line] * rows
            reads += groups[pair, line] * rows * (1 + splits)
        read += reads
        busiest = max(busiest, reads)
        last, full = max(last, asked), max(full, got)
    counts[_ASKED + kind] += asked_for
    counts[_READ + kind] += read
    counts[_TAPS_BUSY + kind] += busiest
    queue = pipes[_TAPS + kind]
    accepted = accept(queue, last)
    return accepted, max(full, offers(queue))


@kernel
def _compose(m: Machine, cycle: int) -> int:
    """A colour, at the compositor."""
    accepted = max(cycle, m.registers[_COMPOSITOR_IDLE])
    m.registers[_COMPOSITOR_IDLE] = accepted + 1
    return accepted


@kernel
def _color(m: Machine, end: bool, cycle: int) -> int:
    """A sample's products, or the tile's end, at the colour unit: `color_cycles`.

    Of an end the cycle is returned in which the compositor takes it.
    """
    turn = m.registers[_COLOR_TURN]
    r = m.networks[turn]
    accepted = max(cycle, r[IDLE])
    idle = accepted + 1
    count = r[COUNT]
    m.counts[_COLOR_WAITS] += accepted - cycle
    if not end:
        m.counts[_COLOR_BUSY] += 1 + m.load
        idle += m.load
        r[STORED] = idle + m.rescaled
        count += 1
        if count < len(m.batches) - 1:
            r[IDLE], r[COUNT] = idle, count
            return accepted
    if count:
        m.counts[_BATCH] += 1
        m.counts[_COLOR_BUSY] += m.batches[count] + count * COLORS
        idle = max(idle, r[STORED]) + m.batches[count]
        pipe = m.sigmoids[turn]
        taken = idle
        for _ in range(count):
            for color in range(COLORS):
                idle = accept(pipe, idle)
                taken = offers(pipe)
                if color == COLORS - 1:
                    taken = _compose(m, taken)
                answered(pipe, taken)
        idle = taken + 1  # in which it is seen that all is given
    if end:
        accepted = idle = _compose(m, idle)
    r[IDLE], r[COUNT] = idle + 1, 0
    m.registers[_COLOR_TURN] = (turn + 1) % len(m.networks)
    return accepted


@kernel
def _products(m: Machine, parts: int, end: bool, cycle: int) -> tuple[int, int]:
    """A sample's codes, or an end, at the colour features: when accepted, and, of an end, when the
    compositor takes it."""
    pipe = m.pipes[_PRODUCTS]
    got = m.registers[_FEATURES_TAKEN]
    accepted = cycle
    for _ in range(parts):
        accepted = accept(pipe, accepted)
        got = max(offers(pipe), got)
        answered(pipe, got)
    taken = _color(m, end, got + 1)
    m.registers[_FEATURES_TAKEN] = taken
    return accepted, taken


@kernel
def _shade(m: Machine, pixel: int, alpha: int, last: bool, cycle: int) -> tuple[int, int]:
    """A sample at the shader: when it is accepted, and its weight if it has a colour, or 0."""
    slot = take_slot(m.slots)
    accepted = max(cycle, m.registers[_SHADER_IDLE], m.slots[slot])
    m.registers[_SHADER_IDLE] = accepted + 1
    leaves = accepted + m.shader_latency
    light = m.light[pixel]
    weight = 0
    if light < m.dark:
        m.counts[_SKIPPED] += 1
    elif not last:
        bits = m.transmittance_bits
        weight = (alpha * light + (1 << (bits - 1))) >> bits
        m.light[pixel] = light - weight
        if light - weight < m.dark:
            m.dark_from[pixel] = accepted + _SEEN_AFTER
    if weight <= m.threshold:
        weight = 0
    if weight:
        m.counts[_COLORED] += 1
        first = max(leaves + 1, m.registers[_SHADER_TAKEN] + 1)
        begun, complete = _taps(
            m.pipes, m.groups[COLOR], m.chunks[COLOR], m.counts, COLOR,
            m.registers[_EMITTED + COLOR], m.cell, first,
        )  # fmt: skip
        leaves = begun
        m.registers[_SHADER_TAKEN] = leaves
        emitted, _ = _products(m, m.parts, False, complete)
        answered(m.pipes[_TAPS + COLOR], emitted)
        m.registers[_EMITTED + COLOR] = emitted
    m.slots[slot] = leaves + 1
    return accepted, weight


@kernel
def take_sample(
    m: Machine, codes: Codes, curve: Curve, pixel: int, last: bool, cycle: int
) -> tuple[int, int]:
    """A sample at `m.at`: when it is accepted, and its weight if it has a colour, or 0.

    last: the last k of its ray.
    """
    m.counts[_SAMPLES] += 1
    address = m.pipes[_ADDRESS]
    accepted = accept(address, cycle)
    cells(codes, m.at, m.cell, m.weight)
    begun, complete = _taps(
        m.pipes, m.groups[DENSITY], m.chunks[DENSITY], m.counts, DENSITY,
        m.registers[_EMITTED + DENSITY], m.cell, offers(address),
    )  # fmt: skip
    answered(address, begun)
    alpha = m.pipes[_ALPHA]
    emitted = accept(alpha, complete)
    answered(m.pipes[_TAPS + DENSITY], emitted)
    m.registers[_EMITTED + DENSITY] = emitted
    value = 0 if last else alpha_of(codes, curve, m.cell, m.weight, m.found)
    shaded, weight = _shade(m, pixel, value, last, offers(alpha))
    answered(alpha, shaded)
    return accepted, weight


@kernel
def _pass_taps(m: Machine, kind: int, cycle: int) -> int:
    """An end at a tap reader: from when it can be taken there. It is accepted at once or later."""
    queue = m.pipes[_TAPS + kind]
    accept(queue, cycle)
    return offers(queue)


@kernel
def end_samples(m: Machine, cycle: int) -> int:
    """The end of the walk, from its first cycle at the address unit to the tile's last pixel, whose
    cycle is returned if the receiver always takes."""
    address, alpha = m.pipes[_ADDRESS], m.pipes[_ALPHA]
    accept(address, cycle)
    complete = _pass_taps(m, DENSITY, offers(address))
    answered(address, m.pipes[_TAPS + DENSITY, ACCEPTED_AT])
    answered(m.pipes[_TAPS + DENSITY], accept(alpha, complete))
    slot = take_slot(m.slots)
    ended = max(offers(alpha), m.registers[_SHADER_IDLE], m.slots[slot])
    answered(alpha, ended)
    first = max(ended + m.shader_latency + 1, m.registers[_SHADER_TAKEN] + 1)
    complete = _pass_taps(m, COLOR, first)
    _, taken = _products(m, 1, True, complete)
    finisher = m.pipes[_FINISHER]
    lit = ended + _SWEEP
    taken += _SWEEP
    pixel = LONG_AGO
    for _ in range(len(m.light)):
        taken = accept(finisher, max(taken, lit))
        lit = taken + 1
        pixel = offers(finisher)
        answered(finisher, pixel)
    return pixel
