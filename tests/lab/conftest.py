"""What several live tests of the lab need."""

import pytest

from migsim.errors import HostError
from migsim.lab.linux_guest import LinuxImage, build_image
from migsim.lab.linux_machine import image_folder


@pytest.fixture(scope="session")
def linux_image():
    """The Linux guest's image; `make live` has built it, else it is built now (a minute or two)."""
    try:
        return LinuxImage.load(image_folder(), digests=True)
    except HostError:
        return build_image(image_folder())
