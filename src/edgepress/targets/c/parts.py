"""Microcontrollers by name, and whether a network fits one."""

from __future__ import annotations

from dataclasses import dataclass

from edgepress.targets import NotServedError

CODE = 8 << 10  # bytes of flash that kernels take at most, as measured
STACK = 1 << 10


@dataclass(frozen=True)
class Part:
    """A microcontroller: bytes of RAM and of flash."""

    name: str
    cpu: str
    ram: int
    flash: int


PARTS = {
    part.name: part
    for part in (
        Part("stm32l432kc", "Cortex-M4F", 64 << 10, 256 << 10),
        Part("nrf52840", "Cortex-M4F", 256 << 10, 1 << 20),
        Part("stm32l4r5zi", "Cortex-M4F", 640 << 10, 2 << 20),
    )
}


def check_fits(part: Part, arena: int, constants: int) -> None:
    """Raise NotServedError where a network with an ``arena`` and ``constants`` of so many bytes is too large."""
    needs = {"RAM": (arena + STACK, part.ram), "flash": (constants + CODE, part.flash)}
    for memory, (needed, there) in needs.items():
        if needed > there:
            raise NotServedError(
                f"it needs {needed:,} bytes of {memory}, and {part.name} has {there:,}: take fewer bits or a smaller "
                "network, or another board"
            )
