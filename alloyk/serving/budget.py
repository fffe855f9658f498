"""A bound on what is in memory at one time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Budget:
    """An amount that several tasks share; a task waits until there is enough left.

    Args:
        total: The amount; a task that wants more waits for all of it.
    """

    def __init__(self, total: int) -> None:
        self._total = self._left = total
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def hold(self, amount: int) -> AsyncIterator[None]:
        """Hold an amount in the block."""
        amount = min(amount, self._total)
        async with self._changed:
            await self._changed.wait_for(lambda: self._left >= amount)
            self._left -= amount
        try:
            yield
        finally:
            async with self._changed:
                self._left += amount
                self._changed.notify_all()
