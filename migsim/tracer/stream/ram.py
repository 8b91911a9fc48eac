"""Parser for the body of a RAM section: the block table in the setup section, page records in all others.

All numbers are big-endian::

    block table      8-byte word: bytes of all blocks | MEM_SIZE; then a name and 8-byte size for each
    page record      8-byte word: offset in its block | flags; the block's name unless CONTINUE is set; then
                     ZERO one fill byte, PAGE 4096 bytes, XBZRLE 1 + 2 + n bytes, COMPRESS 4 + n bytes
    end              8-byte word EOS

`migsim.tracer.stream.record_runs` finds the records of normal and of zero pages. Mirrors `migration/ram.c`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from migsim.errors import TraceError
from migsim.tracer.stream.buffer import LONGEST_BODY, StreamBuffer
from migsim.tracer.stream.record_runs import NORMAL, NORMAL_RECORD, ZERO, ZERO_RECORD, RecordRuns
from migsim.tracer.stream.sink import PageContents, StreamBlock, StreamSink
from migsim.units import PAGE_BYTES

__all__ = ["RamSection"]

_PAGE_BITS = np.uint64(12)
_ZERO, _MEM_SIZE, _PAGE, _EOS, _CONTINUE, _XBZRLE = 0x02, 0x04, 0x08, 0x10, 0x20, 0x40
_COMPRESS, _MULTIFD_FLUSH = 0x100, 0x200
_FLAGS = PAGE_BYTES - 1


class RamSection:
    """Parses RAM sections; the block table and the current block carry over from one section to the next.

    Parameters
    ----------
    buffer : StreamBuffer
        Parsed from its position on.
    sink : StreamSink
        Receives the block table and the pages.

    Attributes
    ----------
    blocks : list of StreamBlock
        The entries of the block table that have arrived.
    """

    def __init__(self, buffer: StreamBuffer, sink: StreamSink) -> None:
        self.blocks: list[StreamBlock] = []
        self._buffer = buffer
        self._sink = sink
        self._by_name: dict[str, StreamBlock] = {}
        self._block: StreamBlock | None = None
        self._runs = RecordRuns()  # records in the buffer, of the current block, not yet given to the sink
        self._setup = False
        self._pages = 0
        self._table_left = 0
        # Views of the word and the page contents of a record at any position; only requested elements are read.
        data = buffer.data
        self._words = np.ndarray((len(data) - 7,), ">u8", data, 0, (1,))
        self._contents = np.ndarray((len(data) - 8 - PAGE_BYTES + 1, PAGE_BYTES), np.uint8, data, 8, (1, 1))

    def open(self, *, setup: bool) -> None:
        """Begin the body of a section."""
        self._setup, self._pages = setup, 0

    def read(self) -> None:
        """Parse up to the end of the section.

        Raises
        ------
        NeedMoreError
            The section's end has not arrived; call again when more bytes have.
        TraceError
            The bytes are not of a RAM section.
        """
        while self._parse_item():
            pass
        self.hand_over()
        if not self._setup:
            self._sink.section_end(self._pages)

    def _parse_item(self) -> bool:
        """Parse runs of records or one other item; return False at the section's end."""
        if self._table_left:
            self._parse_table_entry()
            return True
        self._buffer.need(8)
        word = self._buffer.u64(0)
        flags = word & _FLAGS
        if flags in (NORMAL, ZERO) and self._block is not None:
            self._buffer.need(NORMAL_RECORD if flags == NORMAL else ZERO_RECORD)
            self._find_runs()
        elif word in (_EOS, _MULTIFD_FLUSH):
            self._buffer.begin += 8
        elif flags & _MEM_SIZE:
            self._open_table(word & ~_FLAGS)
        else:
            self._parse_other_record(word, flags)
        return word != _EOS

    # ---- the block table ----

    def _open_table(self, total: int) -> None:
        if self.blocks or not self._setup or not total:
            raise self._buffer.make_error("A second or empty RAM block table")
        self._table_left = total
        self._buffer.begin += 8

    def _parse_table_entry(self) -> None:
        buffer = self._buffer
        buffer.need(1)
        length = buffer.u8(0)
        buffer.need(1 + length + 8)
        name, used = buffer.text(1, length), buffer.u64(1 + length)
        if used == 0 or used % PAGE_BYTES or used > self._table_left:
            raise buffer.make_error(
                f"RAM block '{name}' has {used} bytes where the table has {self._table_left} bytes left"
            )
        if name in self._by_name:
            raise buffer.make_error(f"RAM block '{name}' is twice in the block table")
        first = self.blocks[-1].first_page + self.blocks[-1].pages if self.blocks else 0
        self._by_name[name] = StreamBlock(name, used, first)
        self.blocks.append(self._by_name[name])
        buffer.begin += 1 + length + 8
        self._table_left -= used
        if not self._table_left:
            self._sink.ram_blocks(tuple(self.blocks))

    # ---- page records ----

    def hand_over(self) -> None:
        """Give the records found so far to the sink; must be called before the buffer's bytes move.

        Raises
        ------
        TraceError
            A page number lies outside its block.
        """
        if not self._runs or self._block is None:
            return
        normal, zero = self._runs.positions()
        self._runs.clear()
        if len(normal):
            self._sink.normal_pages(
                self._page_numbers(self._block, normal), PageContents(self._contents, normal)
            )
        if len(zero):
            self._sink.zero_pages(self._page_numbers(self._block, zero))
        self._pages += len(normal) + len(zero)

    def _find_runs(self) -> None:
        """Find all records of normal and zero pages up to the next record of another kind or block."""
        buffer = self._buffer
        end = self._runs.find(buffer.data, buffer.begin, buffer.end)
        if end == buffer.begin:
            raise buffer.make_error("A zero page whose fill byte is not zero")
        buffer.begin = end
        if not self._pages:
            self.hand_over()  # the first pages of a section at once: the sink notes when they arrived

    def _page_numbers(self, block: StreamBlock, at: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the global page numbers of the records at `at`."""
        words = self._words[at].astype(np.uint64)
        words >>= _PAGE_BITS
        pages = words.view(np.int64)
        highest = int(pages.max())
        if highest >= block.pages:
            raise self._outside_block(block, highest, int(at[pages.argmax()]))
        if block.first_page:
            pages += block.first_page
        return pages

    def _parse_other_record(self, word: int, flags: int) -> None:
        """Parse a record that names its block, or that of an encoded page."""
        self.hand_over()
        buffer, kind, at, block = self._buffer, flags & ~_CONTINUE, 8, self._block
        if kind not in (_ZERO, _PAGE, _XBZRLE, _COMPRESS):
            raise buffer.make_error(f"Page record with unknown flags {flags:#x}")
        if not flags & _CONTINUE:
            buffer.need(9)
            length = buffer.u8(8)
            at = 9 + length
            buffer.need(at)
            name = buffer.text(9, length)
            block = self._by_name.get(name)
            if block is None:
                raise buffer.make_error(f"Page record of RAM block '{name}', which is not in the block table")
        if block is None:
            raise buffer.make_error("Page record without a RAM block")
        page = word // PAGE_BYTES
        if page >= block.pages:
            raise self._outside_block(block, page)
        if kind in (_PAGE, _ZERO):
            # Remove the name: the record then looks like the records that follow it, and is parsed with them.
            buffer.need(at + (PAGE_BYTES if kind == _PAGE else 1))
            buffer.begin += at - 8
            buffer.put_u64(0, word | _CONTINUE)
        else:
            self._parse_encoded_page(block.first_page + page, at, kind)
        self._block = block

    def _parse_encoded_page(self, page: int, at: int, kind: int) -> None:
        buffer, head = self._buffer, 3 if kind == _XBZRLE else 4
        buffer.need(at + head)
        length = buffer.u16(at + 1) if kind == _XBZRLE else buffer.u32(at)
        if length > LONGEST_BODY:
            raise buffer.make_error(f"Encoded page of {length} bytes")
        buffer.need(at + head + length)
        buffer.begin += at + head + length
        self._pages += 1
        self._sink.encoded_page(page, length)

    def _outside_block(self, block: StreamBlock, page: int, at: int | None = None) -> TraceError:
        return self._buffer.make_error(
            f"Page {page} of RAM block '{block.name}', which has {block.pages}", at
        )
