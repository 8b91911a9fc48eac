"""Which questions the golden predictions ask: command lines of every verb, by trace, settings, release and seed."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
TRACES = "traces"
RECORDS = "validation/data/records"
CALIBRATED = {
    "kvm-10.0-a": "validation/data/hosts/kvm-10.0-a.json",
    "kvm-7.2-a": "validation/data/hosts/kvm-7.2-a.json",
}
"""Profiles that are not bundled, by name; ``host:NAME`` in a command line stands for one."""

PREDICT = (
    # every traced guest, as its own release migrates it by default
    *(f"{name} --draws 10" for name in sorted(path.stem for path in (ROOT / TRACES).glob("*.trace"))),
    # bandwidth and limit, near the edge and away from it
    "hot-4g --host host:kvm-10.0-a --set max-bandwidth=2Gbps --set downtime-limit=300ms",
    "hot-4g --host host:kvm-7.2-a --qemu-version 7.2 --set max-bandwidth=2500Mbps --set downtime-limit=300ms",
    "hot-4g --set max-bandwidth=500Mbps --deadline 2min",
    "hot-4g --set max-bandwidth=3Gbps --seed 7",
    "hot-4g --link 1Gbps --seed 2",
    "hot-4g --draws 1",
    "hot-4g-dirty-ring --set max-bandwidth=2Gbps",
    "sweep-2g --set max-bandwidth=1Gbps --seed 3",
    "zipf-8g --set max-bandwidth=2Gbps --set downtime-limit=100ms",
    "sparse-128g --set max-bandwidth=2500Mbps",
    "paced-2g --load 40% --set max-bandwidth=1Gbps",
    # releases
    *(
        f"steady-2g --qemu-version {version} --set max-bandwidth=1Gbps"
        for version in ("2.5", "2.12", "4.2", "6.0", "7.2", "8.1", "9.1", "10.0")
    ),
    # XBZRLE
    "delta-2g --set xbzrle=on --set xbzrle-cache-size=64MiB --set max-bandwidth=400Mbps",
    "delta-2g --qemu-version 7.2 --set xbzrle=on --set xbzrle-cache-size=128MiB --set max-bandwidth=400Mbps",
    "rewrite-2g --set xbzrle=on --set xbzrle-cache-size=64MiB --set max-bandwidth=400Mbps --seed 4",
    "mixed-4g --set xbzrle=on --set xbzrle-cache-size=512MiB --set max-bandwidth=1Gbps",
    # throttling
    "hot-4g --set auto-converge=on --set max-bandwidth=700Mbps",
    "hot-4g --qemu-version 7.2 --set auto-converge=on --set cpu-throttle-tailslow=on --set max-bandwidth=700Mbps",
    "hot-4g --qemu-version 2.12 --set auto-converge=on --set max-bandwidth=700Mbps --seed 5",
    "hot-4g --set auto-converge=on --set max-cpu-throttle=50 --set max-bandwidth=500Mbps --deadline 5min",
    "steady-2g --set dirty-limit=on --set vcpu-dirty-limit=10 --dirty-ring-size 4096 --set max-bandwidth=500Mbps",
    "order-2g --set auto-converge=on --set max-bandwidth=400Mbps --load 60%",
    "order-2g --set max-bandwidth=600Mbps --users 75 --think 1s --demand 5ms",
    # multifd
    "hot-4g --set multifd=on --set multifd-channels=2 --set max-bandwidth=2Gbps",
    "hot-4g --qemu-version 7.2 --set multifd=on --set multifd-channels=4 --deadline 20s",
    "sparse-128g --set multifd=on --set multifd-channels=2",
    "page-1g --set multifd=on --set multifd-channels=4 --set max-bandwidth=128Mbps",
    # what is left out of the model, and other accelerators
    "hot-4g --set tls-creds=tls0",
    "steady-2g --qemu-version 11.0",
    "tcg-paced-1g --qemu-version 7.2 --set max-bandwidth=500Mbps",
    "tcg-zipf-2g --set max-bandwidth=800Mbps",
)

REPLAY = (
    "hot-4g --set max-bandwidth=2Gbps",
    "hot-4g --host host:kvm-7.2-a --qemu-version 7.2 --set max-bandwidth=2500Mbps --seed 2",
    "idle-1g",
    "sweep-2g --set max-bandwidth=3Gbps",
    "sparse-128g --set max-bandwidth=2500Mbps",
    "delta-2g --set xbzrle=on --set max-bandwidth=400Mbps",
    "page-1g --set multifd=on --set multifd-channels=4",
    "hot-4g --set auto-converge=on --set max-bandwidth=700Mbps",
    "hot-4g-dirty-ring --set max-bandwidth=2Gbps",
    "steady-2g --set dirty-limit=on --set vcpu-dirty-limit=10 --dirty-ring-size 4096 --set max-bandwidth=500Mbps",
    "tcg-paced-1g --qemu-version 7.2 --set max-bandwidth=500Mbps",
    "steady-2g --qemu-version 11.0 --load 50%",
)

SWEEP = (
    "hot-4g --vary max-bandwidth=1Gbps:10Gbps:6:log --vary downtime-limit=50,300,2000 --draws 12",
    "hot-4g --vary max-bandwidth=1Gbps:10Gbps:8 --vary writes-scale=0.5:2:4",
    "mixed-4g --vary xbzrle=on|off --vary xbzrle-cache-size=64MiB,512MiB --set max-bandwidth=1Gbps --draws 6",
    "hot-4g --vary auto-converge=on|off --vary load=40%,100% --set max-bandwidth=700Mbps --draws 4",
    "steady-2g --vary dirty-ring-size=0,4096 --vary dirty-limit=on|off --set max-bandwidth=500Mbps",
    "page-1g --vary multifd-channels=1,2,4 --set multifd=on --draws 4",
    "zipf-8g --vary max-bandwidth=1Gbps:10Gbps --vary scale.normal_page_s=0.5:2 --samples 16 --seed 3",
    "hot-4g --vary link=1Gbps,10Gbps --engine events --draws 3",
    "order-2g --vary guest-ram=2GiB,4GiB --users 75 --transactions 70 --set max-bandwidth=800Mbps --draws 4",
)

SIZE = (
    "hot-4g --require downtime<500ms --minimise max-bandwidth",
    "hot-4g --require downtime<300ms --require total-time<1min --minimise max-bandwidth=1Gbps:25Gbps --seed 2",
    "hot-4g --require downtime<500ms --maximise writes-scale --set max-bandwidth=10Gbps",
    "sweep-2g --require outcome=completed --minimise downtime-limit --set max-bandwidth=1Gbps --draws 10",
    "hot-4g --require downtime<1ms --minimise max-bandwidth --draws 10",
)

SENSITIVITY = (
    "hot-4g --of downtime --set max-bandwidth=10Gbps --samples 32",
    "hot-4g --of total-time --set max-bandwidth=5Gbps --samples 16 --seed 2",
    "delta-2g --of transferred --set xbzrle=on --set max-bandwidth=2Gbps --samples 16",
    "page-1g --of total-time --set multifd=on --samples 16",
    "hot-4g --of outcome --set max-bandwidth=2Gbps --samples 16",
)

COMPARE = tuple(
    f"{name} --draws 10"
    for name in sorted({path.stem.rpartition("-")[0] for path in (ROOT / RECORDS).glob("*.json")})
)
"""The recorded runs: all repeats of a scenario."""

VERBS = {
    "predict": PREDICT,
    "replay": REPLAY,
    "sweep": SWEEP,
    "size": SIZE,
    "sensitivity": SENSITIVITY,
    "compare": COMPARE,
}
