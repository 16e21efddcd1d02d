"""Tests the page of `infer serve` in Chromium: python3 run.py INFER FOLDER [SCREENSHOTS]

FOLDER has masks.onnx, labels.onnx (several labels an image), and red.png, wide.jpg, photo.tif and bad.jpg.
INFER finds ONNX Runtime by itself or by ORT_DYLIB_PATH. Needs `chromium` and `chromedriver`; no packages.
"""

import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys

from webdriver import Browser

TAB = "\ue004"
SPACE = " "
ALL = ["red.png", "wide.jpg", "photo.tif", "bad.jpg"]

# Least contrast of text by WCAG 2.2 (https://www.w3.org/TR/WCAG22/#contrast-minimum), of every text that is seen.
CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
const back = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
    if (a === 1) return [r, g, b];
  }
  return [255, 255, 255];
};
const low = [];
for (const node of document.body.querySelectorAll("*")) {
  const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
  if (!own || !node.checkVisibility() || node.closest(".hidden, option")) continue;
  const [a, b] = [parse(getComputedStyle(node).color), back(node)].map(luminance).sort((x, y) => y - x);
  const contrast = (a + 0.05) / (b + 0.05);
  if (contrast < 4.5) low.push(`${node.className || node.tagName}: ${contrast.toFixed(2)}`);
}
return low;
"""


class Server:
    """`infer serve` with `models`, on a free port."""

    started = []  # processes, to be ended whatever happens

    def __init__(self, infer, *args):
        command = [infer, "serve", "--device", "cpu", "--listen", "127.0.0.1:0", *args]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        Server.started.append(self.process)
        self.url = None
        for line in self.process.stderr:
            if found := re.search(r"listening on (http://\S+)", line):
                self.url = found[1]
                break
        assert self.url, f"{command} did not start"

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.stderr.read()
        assert self.process.wait(30) == 0


def classified(infer, model, image):
    """Classes of an image as `infer classify` gives them."""
    command = [infer, "classify", "--device", "cpu", "--model", model, "--format", "json", image]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)[0]["predictions"]


def choose(browser, paths):
    browser.type("#files", "\n".join(str(path) for path in paths))
    done = "!document.querySelector('.busy:not([hidden])')"
    browser.wait(f"document.querySelectorAll('.card').length >= {len(paths)} && {done}")


def card(browser, name):
    """What the card of an image says."""
    return browser.run("""
      const card = [...document.querySelectorAll('.card')].find((one) => one.querySelector('figcaption').textContent === arguments[0]);
      const text = (selector) => [...card.querySelectorAll(selector)].filter((node) => node.checkVisibility()).map((node) => node.textContent);
      return { best: text('.best'), labels: text('.bars .label'), shares: text('.bars .share'), error: text('.error'),
        times: text('.times dt'), layers: text('.layers span'), marks: card.querySelectorAll('.mark').length,
        chosen: text('.chosen .label'), drawn: card.querySelector('canvas').checkVisibility() };
    """, name)


def pixels(browser, name):
    return browser.run("""
      const card = [...document.querySelectorAll('.card')].find((one) => one.querySelector('figcaption').textContent === arguments[0]);
      return card.querySelector('canvas').toDataURL();
    """, name)


def shares(predictions):
    """Probabilities as the page shows them: nothing is called certain or impossible that is not."""
    def share(probability):
        text = f"{100 * probability:.1f} %"
        if text == "100.0 %" and probability < 1:
            return "> 99.9 %"
        return "< 0.1 %" if text == "0.0 %" and probability > 0 else text
    return [share(one["probability"]) for one in predictions]


def test_photos(browser, infer, folder):
    """Predictions, attention, timings and errors."""
    model = folder / "masks.onnx"
    server = Server(infer, str(model), "--allow-uncertified")
    browser.look(1280, "light")
    browser.open(server.url)
    browser.wait("document.querySelector('#state').dataset.state === 'ready'")
    facts = ["#model-name", "#model-facts"]
    assert [browser.run("document.querySelector(arguments[0]).textContent", fact) for fact in facts] == ["masks", "3 classes"]
    choose(browser, [folder / name for name in ALL])

    red = card(browser, "red.png")
    expected = classified(infer, model, folder / "red.png")
    assert red["labels"] == [one["label"] for one in expected] and red["labels"][0] == "red", red
    assert red["shares"] == shares(expected), (red, expected)
    assert red["chosen"] == ["red"] and red["best"][0].startswith("red "), red
    assert red["times"] == ["decode", "preprocess", "queue", "inference", "round trip"], red
    assert red["layers"] == ["photo", "attention"] and red["marks"] == 0, red

    before = pixels(browser, "wide.jpg")
    browser.run("return [...document.querySelectorAll('.layers input')].filter((_, at) => at % 2).forEach((one) => one.click())")
    assert pixels(browser, "wide.jpg") != before, "attention is not drawn"

    tif = card(browser, "photo.tif")
    assert not tif["drawn"] and tif["labels"], "the server reads what the browser cannot"
    bad = card(browser, "bad.jpg")
    assert bad["error"] and bad["error"][0].startswith("This cannot be classified: "), bad
    assert browser.run("document.querySelector('#said').textContent").strip()
    assert [error for error in browser.errors() if "400" not in error] == []
    return server


def test_looks(browser, screenshots):
    """Nothing wider than the window, and text that can be read, in both schemes and widths."""
    for scheme in ("light", "dark"):
        for width in (400, 1280):
            browser.look(width, scheme)
            assert browser.run("document.documentElement.scrollWidth") <= width, (scheme, width)
            low = browser.run(CONTRAST)
            assert low == [], (scheme, width, low)
            if screenshots:
                browser.look(width, scheme, browser.run("document.documentElement.scrollHeight"))
                browser.screenshot(screenshots / f"{scheme}-{width}.png")
    browser.look(1280, "light")


def test_policy(browser):
    """Nothing is loaded from elsewhere, and nothing runs that is not the server's."""
    blocked = browser.run("""
      const script = document.createElement('script');
      script.textContent = 'window.ran = true';
      document.body.append(script);
      const image = document.createElement('img');
      image.src = 'http://127.0.0.2/x.png';
      document.body.append(image);
      [script, image].forEach((node) => node.remove());
      return window.ran === undefined;
    """)
    assert blocked
    errors = "\n".join(browser.errors())
    assert errors.count("Content Security Policy") >= 2, errors


def test_keyboard(browser):
    """All controls are reached by Tab and have names for screen readers."""
    browser.run("document.activeElement.blur()")
    reached = []
    for _ in range(12):
        browser.press(TAB)
        reached.append(browser.run("document.activeElement.id || document.activeElement.className || document.activeElement.type"))
    assert {"files", "clear", "close", "radio"} <= set(reached), reached
    names = browser.command("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "textbox", "radio", "combobox", "link", "image", "heading"}
    nameless = [node["role"]["value"] for node in names
                if not node["ignored"] and node["role"]["value"] in roles and not node.get("name", {}).get("value")]
    assert nameless == [], nameless
    count = browser.run("document.querySelectorAll('.card').length")
    browser.run("document.querySelector('.close').focus()")
    browser.press(SPACE)
    assert browser.run("document.querySelectorAll('.card').length") == count - 1
    assert browser.run("document.activeElement.className") == "close", "the focus stays in the list"


def test_gone(browser, server, folder):
    """A server that has stopped is told in words."""
    browser.click("#clear")
    assert browser.run("document.querySelectorAll('.card').length") == 0
    server.stop()
    choose(browser, [folder / "red.png"])
    assert card(browser, "red.png")["error"] == ["The server cannot be reached. Is it still running?"]
    assert browser.run("document.querySelector('#state').dataset.state") == "wrong"


def test_labels_and_models(browser, infer, folder):
    """A choice of models; several labels an image, each with its threshold."""
    server = Server(infer, str(folder / "masks.onnx"), str(folder / "labels.onnx"), "--allow-uncertified")
    browser.open(server.url)
    browser.wait("document.querySelector('#models').options.length === 2 && !document.querySelector('#models').hidden")
    assert browser.run("[...document.querySelector('#models').options].map((one) => one.text)") == ["labels", "masks"]
    choose(browser, [folder / "red.png"])
    red = card(browser, "red.png")
    expected = classified(infer, folder / "labels.onnx", folder / "red.png")
    assert red["labels"] == [one["label"] for one in expected], (red, expected)
    assert red["chosen"] == [one["label"] for one in expected if one["selected"]], (red, expected)
    assert red["marks"] == 3 and red["layers"] == [], red
    return server


def test_key(browser, infer, folder):
    """A key is asked for, and a wrong one is not taken."""
    keys = folder / "keys.txt"
    keys.write_text("correct-horse\n")
    server = Server(infer, str(folder / "masks.onnx"), "--allow-uncertified", "--api-key-file", str(keys))
    browser.open(server.url)
    browser.wait("!document.querySelector('#key').hidden")
    browser.type("#key-text", "wrong")
    browser.click("#key button")
    browser.wait("document.querySelector('#key-error').textContent.includes('does not know')")
    browser.run("document.querySelector('#key-text').value = ''")
    browser.type("#key-text", "correct-horse")
    browser.click("#key button")
    browser.wait("document.querySelector('#key').hidden && document.querySelector('#state').dataset.state === 'ready'")
    choose(browser, [folder / "red.png"])
    assert card(browser, "red.png")["labels"][0] == "red"
    server.stop()


def main():
    infer, folder = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    screenshots = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else None
    browser = Browser(shutil.which("chromium"), shutil.which("chromedriver"))
    try:
        server = test_photos(browser, infer, folder)
        test_looks(browser, screenshots)
        test_policy(browser)
        test_keyboard(browser)
        test_gone(browser, server, folder)
        server = test_labels_and_models(browser, infer, folder)
        test_looks(browser, screenshots / "labels" if screenshots else None)
        server.stop()
        test_key(browser, infer, folder)
    finally:
        browser.close()
        for process in Server.started:
            process.kill()
    print("the page works")


main()
