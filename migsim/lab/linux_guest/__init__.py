r"""A small Linux guest with a database: real pages, written by real programs.

Debian 12's cloud kernel, PostgreSQL 15 and redis on a read-only ext4 disk (virtio-blk, no journal); all that is
written lives in tmpfs, so nothing blocks a migration and both sides may open the same disk. Process 1 is a shell
script. It boots with ``-machine pc -cpu max`` and 1 to 8 GiB; under TCG it is ready after 20 to 40 s, with 8 GiB
after two minutes. (A stock kernel needs instructions that some hosts' nested KVM does not give; there TCG is the way.)

`build_image` makes the image in one to two minutes from packages that apt fetches (70 MB); it takes 340 MB.

What it is told
---------------
On the kernel's command line, made by `kernel_command_line`: ``migsim.workload`` ``users`` ``think_ms``
``shared_buffers_percent`` ``report_ms`` ``seed``.

Users are a closed loop: each thinks for an exponential time, asks one thing and waits for the answer. One process
(``users.c``) plays all of them, inside the guest.

``order-entry``
    PostgreSQL, ``shared_buffers`` the given percentage of the RAM (in huge pages, as a database's buffers are),
    warm when the guest is ready. The data are copies of one branch of 120 MB (customers, addresses, cards,
    products, inventory, orders, order_items, logons), as many as stay below 70 % of the buffers and leave the
    backends their memory: with 75 users 1 at 1 GiB (where 75 users leave little memory), 3 at 2 GiB, 16 at 8 GiB,
    all of them in the buffers when the guest is ready; they grow with the orders. A user belongs to one branch.
    Five transactions, each one function call: customer-registration 10 %, browse-products 40 %, order-products 30
    %, process-orders 10 %, browse-orders 10 %. Half of the customers chosen are the newest quarter. WAL is written
    to tmpfs (``fsync`` costs nothing there); ``checkpoint_timeout`` 60 s, ``max_wal_size`` 1/32 of the RAM,
    ``full_page_writes``, ``synchronous_commit`` and autovacuum on, as PostgreSQL has them.
``store``
    redis without persistence; texts of 1 to 4 KB under numbered keys, the given percentage of the RAM in all. Half
    get, half set; the hottest 1 % of the keys get a third of the requests, the hottest 10 % more than half.
``idle``
    Nothing but the reports.

What it says
------------
On the second serial port; the console is the first::

    migsim-linux boot version=1 kernel=6.1.0-56-cloud-amd64
    migsim-linux ready clock_us=20462140 workload=order-entry users=75 shared_buffers_bytes=829423616 \
        data_bytes=364861493 think_us=700000
    migsim-linux work clock_us=21465616 customer-registration=7:91034 browse-products=... busy_us=990000
    migsim-linux error ...                    before it gives up

Each kind's ``count:sum of latencies in us`` and ``busy_us`` (the guest processor's, from ``/proc/stat``, in steps of
10 ms) go on since ``ready``: a lost line loses nothing. A line that is on its way when the machine moves may be cut in
two, half on each side. ``clock_us`` is CLOCK_MONOTONIC on the time stamp counter (``clocksource=tsc``), which QEMU
stops with the machine and moves with it: it stands still while the machine is stopped, and so do thinking and
latencies.

Examples
--------
>>> "migsim.users=75" in kernel_command_line()
True
"""

from migsim.lab.linux_guest.build import build_image
from migsim.lab.linux_guest.command_line import kernel_command_line
from migsim.lab.linux_guest.image import LinuxImage

__all__ = ["LinuxImage", "build_image", "kernel_command_line"]
