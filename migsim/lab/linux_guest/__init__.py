"""A small Linux guest with a database: real pages, written by real programs."""

from migsim.lab.linux_guest.build import build_image
from migsim.lab.linux_guest.command_line import kernel_command_line
from migsim.lab.linux_guest.image import LinuxImage

__all__ = ["LinuxImage", "build_image", "kernel_command_line"]
