"""Builds the image that migsim ships: ``python -m migsim.lab.guest``."""

import json

from migsim.lab.guest.build import BUILD_RECORD, IMAGE, build_image, build_record

build_image(IMAGE)
BUILD_RECORD.write_text(json.dumps(build_record(IMAGE), indent=1) + "\n")
print(f"{IMAGE}: {IMAGE.stat().st_size} bytes")
