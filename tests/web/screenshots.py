"""The pictures of the documents: the demonstration of today as a pharmacist sees it. `make screenshots` takes them."""

from __future__ import annotations

import base64
import struct
import sys
import zlib
from collections import Counter
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from playwright.sync_api import Locator, Page

from tests.api.live import ROOT, Server, serving
from tests.web.browser import Browsing, browsing

FOLDER: Final = ROOT / "docs" / "images"
#: Pixels: of the chart, of pages on a screen, of a page on a telephone.
CHART, SCREEN, TELEPHONE = 1100, 1280, 360
HEIGHT: Final = 800
#: So much of the chart stands on the picture of a patient: its uppermost panel.
PART_OF_CHART: Final = 425
TALL: Final = 1500
HEAVIEST: Final = 200_000  # bytes
#: The pixels of an image, four bytes each, in base64: the browser takes PNGs apart.
_PIXELS: Final = """async (png) => {
  const image = new Image();
  image.src = "data:image/png;base64," + png;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height), within = canvas.getContext("2d");
  within.fillStyle = "white";
  within.fillRect(0, 0, image.width, image.height);
  within.drawImage(image, 0, 0);
  const pixels = within.getImageData(0, 0, image.width, image.height).data, parts = [];
  for (let at = 0; at < pixels.length; at += 32766) {
    parts.push(btoa(String.fromCharCode(...pixels.subarray(at, at + 32766))));
  }
  return [image.width, image.height, parts.join("")];
}"""
_COLOURS: Final = 256


def take(browser: Browsing, folder: Path) -> None:
    """All pictures, into a folder; of a patient before anything is signed."""
    case = f"/patients/{browser.server.furnished.case_patient}"
    _chart(browser, f"{case}/chart.svg", folder / "chart.png")
    for name, dark in (("patient", False), ("patient-dark", True)):
        with browser.login("pharmacist", viewport=_size(SCREEN), color_scheme="dark" if dark else "light") as (page, _):
            page.goto(case, wait_until="load")
            _down_to(page, page.locator(".chart-box"), PART_OF_CHART, folder / f"{name}.png")
    with browser.login("pharmacist", viewport=_size(TELEPHONE)) as (page, _):
        page.goto(case, wait_until="load")
        _clipped(page, TALL, folder / "phone.png")
    with browser.login("pharmacist", viewport=_size(SCREEN)) as (page, _):
        _whole(page, "/worklist", folder / "worklist.png")
        _whole(page, _signed(browser.server), folder / "preparation.png")
        page.goto("/protocols/us-itp-adult")
        _clipped(page, TALL, folder / "protocol.png")


def _size(width: int) -> dict[str, int]:
    return {"width": width, "height": HEIGHT}


def _chart(browser: Browsing, path: str, file: Path) -> None:
    """The chart alone, drawn from its SVG."""
    with browser.login("pharmacist", viewport=_size(CHART)) as (page, _):
        source = f"data:image/svg+xml;base64,{base64.b64encode(page.request.get(path).body()).decode()}"
        page.set_content(f'<body style="margin: 0"><img src="{source}" style="display: block; width: {CHART}px">')
        page.locator("img").screenshot(path=file)


def _signed(server: Server) -> str:
    """The address of the preparation sheet of a dose that is signed for this."""
    patient = next(one.id for one in server.furnished.patients if one.name.startswith("Curlew"))
    proposal = server.ask("pharmacist", "GET", f"/patients/{patient}/next-dose").json()
    body = {"decision": "accept", "proposal_sha256": proposal["proposal_sha256"]}
    decision = server.ask("pharmacist", "POST", f"/patients/{patient}/decisions", body).json()
    return f"/patients/{patient}/decisions/{decision['id']}/preparation"


def _whole(page: Page, path: str, file: Path) -> None:
    page.goto(path, wait_until="load")
    page.screenshot(path=file, full_page=True)


def _down_to(page: Page, part: Locator, more: int, file: Path) -> None:
    """A page from its head to the beginning of a part, and so many pixels more."""
    box = part.bounding_box()
    _clipped(page, int(box["y"] if box else 0) + more, file)


def _clipped(page: Page, height: int, file: Path) -> None:
    """A page from its head on; a banner that would stay in view is where it belongs."""
    width = page.viewport_size["width"] if page.viewport_size else SCREEN
    page.screenshot(path=file, full_page=True, clip={"x": 0, "y": 0, "width": width, "height": height})


def lean(page: Page, png: bytes) -> bytes:
    """The same image in at most 256 colours, the most frequent ones: text in grey is a quarter of its size so."""
    width, height, pixels = page.evaluate(_PIXELS, base64.b64encode(png).decode())
    found = memoryview(base64.b64decode(pixels)).cast("I")
    often = Counter(found).most_common()
    palette = [_rgb(pixel) for pixel, _ in often[:_COLOURS]]
    index = {
        pixel: place if place < _COLOURS else _nearest(_rgb(pixel), palette) for place, (pixel, _) in enumerate(often)
    }
    lines = (b"\0" + bytes(map(index.__getitem__, found[at : at + width])) for at in range(0, width * height, width))
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = (b"IHDR", head), (b"PLTE", b"".join(map(bytes, palette))), (b"IDAT", zlib.compress(b"".join(lines), 9))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in (*parts, (b"IEND", b"")))


def _rgb(pixel: int) -> tuple[int, int, int]:
    red, green, blue, _ = pixel.to_bytes(4, sys.byteorder)
    return red, green, blue


def _nearest(colour: tuple[int, int, int], palette: list[tuple[int, int, int]]) -> int:
    return min(range(len(palette)), key=lambda at: sum((a - b) ** 2 for a, b in zip(colour, palette[at], strict=True)))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def main() -> None:
    """Take the pictures anew; none may be heavy."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder, serving(Path(folder), timedelta()) as server, browsing(server) as browser:
        take(browser, FOLDER)
        page = browser.chromium.new_page()
        for file in FOLDER.glob("*.png"):
            file.write_bytes(lean(page, file.read_bytes()))
    heavy = [file.name for file in FOLDER.glob("*.png") if file.stat().st_size > HEAVIEST]
    if heavy:
        raise SystemExit(f"more than {HEAVIEST} bytes: {', '.join(heavy)}")


if __name__ == "__main__":
    main()
