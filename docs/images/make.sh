#!/usr/bin/env bash
# Draws docs/images/demo.webp from the report and the overlays that `cargo xtask demo` leaves in demo/.
# Needs chromium and Python with Pillow.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/page.html" <<HTML
<style>
body { margin: 0; background: #fff; font: 13px sans-serif; color: #444; }
div { position: absolute; overflow: hidden; border: 1px solid #ddd; border-radius: 6px; }
p { position: absolute; margin: 0; }
iframe { width: 1240px; height: 900px; border: 0; transform: scale(.55); transform-origin: 0 0; }
img { width: 300px; display: block; }
</style>
<p style="left: 8px; top: 4px">infer evaluate --report report.html</p>
<div style="left: 8px; top: 24px; width: 682px; height: 396px"><iframe src="file://$PWD/demo/report.html"></iframe></div>
<p style="left: 706px; top: 4px">train explain: what spoke for the class</p>
<div style="left: 706px; top: 24px; width: 300px"><img src="file://$PWD/demo/right.png"></div>
<p style="left: 706px; top: 196px">the same for a 5 that was taken for a 9</p>
<div style="left: 706px; top: 216px; width: 300px"><img src="file://$PWD/demo/wrong.png"></div>
HTML
chromium --headless --no-sandbox --hide-scrollbars --blink-settings=preferredColorScheme=1 --window-size=1016,428 \
    --screenshot="$work/demo.png" "file://$work/page.html"
python3 -c 'import sys; from PIL import Image; Image.open(sys.argv[1]).convert("RGB").save(sys.argv[2], quality=25, method=6)' \
    "$work/demo.png" docs/images/demo.webp
ls -l docs/images/demo.webp
