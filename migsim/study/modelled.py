"""What migsim makes of each of QEMU's parameters and capabilities: modelled, without effect, named, or refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from migsim.errors import ParameterError
from migsim.qapi import CAPABILITIES, PARAMETERS

__all__ = ["LEFT_OUT", "MODELLED", "NAMED", "REFUSED", "WITHOUT_EFFECT", "check_modelled", "setting_notes"]

MODELLED = frozenset(
    {
        "auto-converge",
        "avail-switchover-bandwidth",
        "cpu-throttle-increment",
        "cpu-throttle-initial",
        "cpu-throttle-tailslow",
        "dirty-limit",
        "downtime-limit",
        "max-bandwidth",
        "max-cpu-throttle",
        "multifd",
        "multifd-channels",
        "return-path",
        "throttle-trigger-threshold",
        "vcpu-dirty-limit",
        "x-cpu-throttle-increment",
        "x-cpu-throttle-initial",
        "x-vcpu-dirty-limit-period",
        "xbzrle",
        "xbzrle-cache-size",
        "zero-page-detection",
    }
)
"""Parameters and capabilities that the laws take."""

_DISKS = "it concerns disks, and a guest's disks are not modelled"
_POSTCOPY = "it acts in postcopy, and postcopy-ram is refused"
_COMPRESS = "it acts with compress, which is refused"
_LEVEL = "it acts with multifd-compression, which is refused"
_ANNOUNCE = "it paces the network announcements after the switchover"

WITHOUT_EFFECT: dict[str, str] = {
    "announce-initial": _ANNOUNCE,
    "announce-max": _ANNOUNCE,
    "announce-rounds": _ANNOUNCE,
    "announce-step": _ANNOUNCE,
    "block-bitmap-mapping": _DISKS,
    "block-incremental": _DISKS,
    "compress-level": _COMPRESS,
    "compress-threads": _COMPRESS,
    "compress-wait-thread": _COMPRESS,
    "cpr-exec-command": "it acts in the mode cpr-exec, which is refused",
    "decompress-threads": _COMPRESS,
    "direct-io": "it acts on migrations to a file with mapped-ram, which is refused",
    "events": "it only reports",
    "late-block-activate": _DISKS,
    "max-postcopy-bandwidth": _POSTCOPY,
    "multifd-qatzip-level": _LEVEL,
    "multifd-zlib-level": _LEVEL,
    "multifd-zstd-level": _LEVEL,
    "postcopy-blocktime": _POSTCOPY,
    "rdma-pin-all": "it acts over RDMA, and migrations here go over a socket",
    "release-ram": _POSTCOPY,
    "tls-authz": "it decides who may connect",
    "tls-hostname": "it decides who may connect",
    "validate-uuid": "it only checks that both sides name one guest",
    "x-checkpoint-delay": "it acts with x-colo, which is refused",
    "x-multifd-channels": "it acts with x-multifd, which is refused",
    "x-multifd-page-count": "it acts with x-multifd, which is refused",
    "x-rdma-pin-all": "it acts over RDMA, and migrations here go over a socket",
    "zero-blocks": _DISKS,
}
"""Parameters and capabilities that change no figure of a prediction, each with the reason."""

NAMED: dict[str, str] = {
    "dirty-bitmaps": "the bitmaps of the disks are sent, too, and count as pending: total time and bytes are too low",
    "pause-before-switchover": "the management's answer is waited for inside the downtime, which is too short here",
    "switchover-ack": "the destination's consent is waited for before the switchover: total time may be too short",
    "tls-creds": "encryption takes processor time: a channel sends less than the host profile says",
}
"""Parameters and capabilities that are not modelled and named in the answer, each with what they change."""

LEFT_OUT = (
    "Disks, vhost and VFIO devices, virtio-mem, the balloon and host pages larger than 4 KiB are left out."
)
"""What a guest may have that no setting of a migration tells, and that is not modelled, as a sentence."""

_OTHER = "a prediction without it would be of another migration"

REFUSED: dict[str, str] = {
    "background-snapshot": "the guest's memory is written to a file while it runs, by write protection",
    "block": "the disks are sent with the memory",
    "compress": "pages are compressed, which changes bytes and speed",
    "mapped-ram": "the memory is written to a file, each page at its place",
    "mode": "the guest is stopped first, and is not migrated live",
    "multifd-compression": "pages are compressed, which changes bytes and speed",
    "postcopy-preempt": "pages that the destination asks for go over a channel of their own",
    "postcopy-ram": "the guest goes on at the destination before its memory is there",
    "x-colo": "it goes on as checkpoints and does not end",
    "x-ignore-shared": "memory that both sides share is not sent",
    "x-multifd": "it is the experiment from which multifd of 4.0 was made",
    "x-postcopy-ram": "the guest goes on at the destination before its memory is there",
    "zero-copy-send": "pages are not copied on their way, which changes speed and processor time",
}
"""Parameters and capabilities that are not modelled, and without which the verdict may be another."""

_OFF = {"mode": "normal", "multifd-compression": "none", "tls-creds": ""}
"""Values of parameters that switch nothing on."""


def check_modelled(parameters: Mapping[str, Any], capabilities: Mapping[str, bool]) -> None:
    """Refuse settings that are not modelled and may change the verdict.

    Raises
    ------
    ParameterError
    """
    for name, value in _switched_on(parameters, capabilities):
        if name in REFUSED:
            raise ParameterError(
                f"{name} is {'on' if value is True else value}.",
                f"migsim does not model it: {REFUSED[name]}; {_OTHER}.",
                "Leave it out to predict the migration without it.",
            )


def setting_notes(parameters: Mapping[str, Any], capabilities: Mapping[str, bool]) -> list[str]:
    """Return what settings change that are not modelled, and which settings change nothing, a sentence each."""
    switched = list(_switched_on(parameters, capabilities))
    named = [f"{name} is set and not modelled: {NAMED[name]}." for name, _ in switched if name in NAMED]
    named += [f"{name} is set and not modelled: {REFUSED[name]}." for name, _ in switched if name in REFUSED]
    idle = [
        f"{name} changes nothing here: {WITHOUT_EFFECT[name]}."
        for name, _ in switched
        if name in WITHOUT_EFFECT and name != "events"
    ]
    return named + idle


def _switched_on(
    parameters: Mapping[str, Any], capabilities: Mapping[str, bool]
) -> Iterator[tuple[str, Any]]:
    for name, on in capabilities.items():
        if on and name in CAPABILITIES:
            yield name, True
    for name, value in parameters.items():
        if name == "multifd-compression" and not capabilities.get("multifd"):
            continue  # QEMU ignores it
        if name in PARAMETERS and value is not None and value is not False and value != _OFF.get(name):
            yield name, value
