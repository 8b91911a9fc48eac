r"""A small Linux guest with a database, whose pages are written by real programs.

It holds Debian 12's cloud kernel, PostgreSQL 15 and redis on a read-only ext4 disk (virtio-blk, no journal). All
written files live in tmpfs, so a migration moves RAM only and both sides may open the same disk. Process 1 is a shell
script. The guest boots with ``-machine pc -cpu max`` and 1 to 8 GiB of RAM. Under TCG it is ready after 20 to 40 s,
with 8 GiB after two minutes. A stock kernel needs instructions that the nested KVM of some hosts lacks; use TCG there.

`build_image` makes the image (340 MB) in one to two minutes from packages that apt fetches (70 MB).

- `build`, `tree`, `packages`, `prepare`: the image made of packages, step by step
- `image`: the folder that holds it; `command_line`: the words that tell the guest its workload

Command line
------------
The kernel's command line, made by `kernel_command_line`, sets ``migsim.workload`` ``users`` ``think_ms``
``shared_buffers_percent`` ``report_ms`` ``seed``.

Users are a closed loop: each thinks for an exponential time, asks for one transaction and waits for the answer. One
process (``users.c``) inside the guest plays all of them.

``order-entry``
    PostgreSQL, with ``shared_buffers`` of the given percentage of the RAM, in huge pages. The data are copies of one
    branch of 120 MB (customers, addresses, cards, products, inventory, orders, order_items, logons): as many as stay
    below 70 % of the buffers and leave the backends their memory. With 75 users that is 1 branch at 1 GiB (where they
    leave little memory), 3 at 2 GiB, 16 at 8 GiB. All are in the buffers when the guest is ready, and grow with the
    orders. A user belongs to one branch. There are five transactions, each one function call: customer-registration
    10 %, browse-products 40 %, order-products 30 %, process-orders 10 %, browse-orders 10 %. Half of the chosen
    customers are of the newest quarter. The WAL is written to tmpfs, where ``fsync`` costs nothing;
    ``checkpoint_timeout`` is 60 s, ``max_wal_size`` 1/32 of the RAM; ``full_page_writes``, ``synchronous_commit`` and
    autovacuum are on, as by PostgreSQL's defaults.
``store``
    redis without persistence, with texts of 1 to 4 KB under numbered keys that fill the given percentage of the RAM.
    Half of the requests get, half set. The hottest 1 % of the keys get a third of the requests, the hottest 10 % more
    than half.
``idle``
    No users, only reports.

Reports
-------
The guest reports on the second serial port; the first one is its console::

    migsim-linux boot version=1 kernel=6.1.0-56-cloud-amd64
    migsim-linux ready clock_us=20462140 workload=order-entry users=75 shared_buffers_bytes=829423616 \
        data_bytes=364861493 think_us=700000
    migsim-linux work clock_us=21465616 customer-registration=7:91034 browse-products=... busy_us=990000
    migsim-linux error ...                    before it gives up

Each kind of transaction has ``count:sum of latencies in us``. These sums and ``busy_us`` (the guest's processor, from
``/proc/stat``, in steps of 10 ms) count from ``ready`` on, so that a lost line loses no transaction. A line that is
being written when the machine moves may be cut in two, one part on each side. ``clock_us`` is CLOCK_MONOTONIC on the
time stamp counter (``clocksource=tsc``), which QEMU stops with the machine and moves with it. It stands still while the
machine is stopped, and so do think times and latencies.

Examples
--------
>>> "migsim.users=75" in kernel_command_line()
True
"""

from migsim.lab.linux_guest.build import build_image
from migsim.lab.linux_guest.command_line import kernel_command_line
from migsim.lab.linux_guest.image import LinuxImage

__all__ = ["LinuxImage", "build_image", "kernel_command_line"]
