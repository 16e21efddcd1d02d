#!/usr/bin/env bash
# Draws docs/images/demo.png from the report and the overlays that `cargo xtask demo` leaves in demo/.
# Needs chromium and Python with Pillow.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/page.html" <<HTML
<style>
body { margin: 0; width: 1240px; height: 560px; background: #fff; font: 15px sans-serif; color: #444; }
div { position: absolute; overflow: hidden; border: 1px solid #ddd; border-radius: 6px; }
p { position: absolute; margin: 0; }
iframe { width: 1240px; height: 900px; border: 0; transform: scale(.62); transform-origin: 0 0; }
img { width: 420px; display: block; }
</style>
<p style="left: 10px; top: 6px">infer evaluate --report report.html</p>
<div style="left: 10px; top: 32px; width: 768px; height: 516px"><iframe src="file://$PWD/demo/report.html"></iframe></div>
<p style="left: 800px; top: 6px">train explain: what in the image spoke for its class</p>
<div style="left: 800px; top: 32px; width: 420px"><img src="file://$PWD/demo/right.png"></div>
<p style="left: 800px; top: 272px">the same for a 5 that was taken for a 9</p>
<div style="left: 800px; top: 298px; width: 420px"><img src="file://$PWD/demo/wrong.png"></div>
HTML
chromium --headless --no-sandbox --hide-scrollbars --blink-settings=preferredColorScheme=1 --window-size=1240,560 \
    --screenshot="$work/demo.png" "file://$work/page.html"
python3 - "$work/demo.png" docs/images/demo.png <<'PYTHON'
import sys
from PIL import Image
image = Image.open(sys.argv[1]).convert("RGB")
image.quantize(64, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(sys.argv[2], optimize=True)
PYTHON
ls -l docs/images/demo.png
