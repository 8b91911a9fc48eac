"""migsim's own guest: a small bare-metal program that writes memory in a known way.

It boots with ``-kernel`` (multiboot) under KVM and TCG, on ``-machine pc`` and ``q35``, with 32 MiB to 1 TiB of RAM,
and uses one vCPU. It needs no disk and no interrupts. All its state is in RAM and registers, so it can be migrated at
any time. ``python -m migsim.lab.guest`` builds its image from the sources.

- `command_line`: the words that tell the guest its workload; `pages`: where its pages lie; `zipf`: its Zipf law
- `serial`: the lines that it says; `build`: its image from the sources

Pages
-----
Workload page ``i`` is page ``4096 + i`` of the guest's RAM: of block ``pc.ram``, or of the memory back ends in their
order. The PCI hole is never counted (`workload_page_to_ram_page`; `ram_page_to_guest_address` gives the guest-physical
address). The first 16 MiB hold tables of the firmware and of the guest: a few hundred non-zero pages, among them one
for each GiB of RAM. The firmware leaves a few dozen more in the last 18 MiB of RAM below 4 GiB. With ``check`` the
last ``16 * pages`` bytes of RAM hold the checksums.

Command line
------------
``-append "-- key=value ..."``, made by `guest_command_line`:

=================== ==================================================================================
``touch=N``          pages 0..N-1 get a fresh first word (``fill=word``) or 4096 fresh bytes (``fill=page``)
``class=B:P:S:W:C``  up to 16 times: pages B..B+P-1 get writes with the integer weight S
``pace=closed``      writes as fast as it can, with ``work=N`` turns of an empty loop after each
``pace=clock``       ``rate=W`` writes a second by the TSC; late writes are caught up
``check=1``          keep checksums of all pages and compare them all the time
``report=MS``        time between progress lines, 500
``seed=N``           seed of the random generator
``tsc_khz=N``        frequency of the TSC, which is else measured
``damage=N``         flip a bit of page N after the first progress line (to test ``check``)
=================== ==================================================================================

Classes take turns in a fixed, evenly spread order of 1024 or more writes, so that the shares are exact.
W, which page a write goes to:

``random``
    every byte of the class equally likely.
``sweep``
    page after page, then again from the first; the offset in the page moves by 8 each pass.
``zipf=1000*s``
    the first page is the most popular one. The share of writes below page x is
    ``F(x) = ((1+x)^(1-s) - 1) / ((1+P)^(1-s) - 1)``, for s = 1 ``ln(1+x) / ln(1+P)``, taken at 1024 steps of
    equal share and linear between them (`migsim.lab.guest.zipf.page_shares`).

C, what a write does:

``bytes=K``
    K bytes in a row become random (8 random bytes repeated when K > 8) from an offset that is a multiple
    of 8 (of K for 1, 2, 4); moved down where they would not fit in the page.
``page``
    4096 fresh random-looking bytes: a copy out of a 64 KiB pool from a random place, first word fresh.
``zero``
    a page whose first word is zero gets a fresh first word, any other becomes all zeros: the two alternate.

With ``check=1`` each write also changes the page's first word and the page's checksums (16 bytes), so more pages get
dirty than the classes say, at a lower rate. It serves to prove that no memory is lost; do not time such guests.

Serial line
-----------
See `migsim.lab.guest.serial`.

Rates measured on a host whose KVM emulates every instruction (about 1 µs each): 115,000-145,000 writes/s
(one class, random, 8 bytes), 2,100/s of whole pages; with TCG on the same host 4,300,000/s.

Examples
--------
>>> image_path().name
'migsim-guest.bin'
>>> workload_page_to_ram_page(0)
4096
"""

from __future__ import annotations

from pathlib import Path

from migsim.lab.guest.build import IMAGE, build_image
from migsim.lab.guest.command_line import guest_command_line
from migsim.lab.guest.pages import ram_page_to_guest_address, workload_page_to_ram_page

__all__ = [
    "build_image",
    "guest_command_line",
    "image_path",
    "ram_page_to_guest_address",
    "workload_page_to_ram_page",
]


def image_path() -> Path:
    """Return the path of the guest's image, for QEMU's ``-kernel``."""
    return IMAGE
