// Drawing of photos, and of attention masks over them: rows of values in [0, 1].

const LONGEST = 900; // longer side of a drawn photo, in pixels

/** Decodes and draws the photo of a card, if the browser can. */
export async function preview(card) {
  const blank = () => {
    card.part("canvas").hidden = true;
    card.part(".blank").hidden = false;
  };
  try {
    const image = await createImageBitmap(card.file);
    const scale = Math.min(1, LONGEST / Math.max(image.width, image.height));
    const size = { width: Math.max(1, Math.round(scale * image.width)), height: Math.max(1, Math.round(scale * image.height)) };
    card.photo = Object.assign(document.createElement("canvas"), size);
    card.photo.getContext("2d").drawImage(image, 0, 0, size.width, size.height);
    card.scale = scale;
    image.close();
    draw(card);
  } catch {
    card.photo = null; // a format that the browser cannot show, as TIFF; the server may read it
    blank();
  }
}

/** Draws the photo, with `mask` over the part that the network saw. */
export function draw(card, mask = null, seen = null) {
  if (!card.photo) return;
  const canvas = card.part("canvas");
  const { width, height } = card.photo;
  // Small photos are shown larger, with sharp pixels.
  const zoom = Math.max(1, Math.floor(320 / Math.max(width, height)));
  Object.assign(canvas, { width: zoom * width, height: zoom * height });
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(card.photo, 0, 0, canvas.width, canvas.height);
  if (!mask) return;
  const [left, top, wide, high] = seen.map((value) => value * card.scale * zoom);
  context.fillStyle = "rgb(0 0 0 / 55%)";
  context.beginPath();
  context.rect(0, 0, canvas.width, canvas.height);
  context.rect(left, top, wide, high);
  context.fill("evenodd");
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.globalAlpha = 0.6;
  context.drawImage(heat(mask), left, top, wide, high);
  context.globalAlpha = 1;
}

/** Colours a mask, its minimum dark and its maximum bright. */
function heat(values) {
  const [height, width] = [values.length, values[0].length];
  const flat = values.flat();
  const low = flat.reduce((a, b) => Math.min(a, b));
  const range = flat.reduce((a, b) => Math.max(a, b)) - low || 1;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  flat.forEach((value, at) => image.data.set([...color((value - low) / range), 255], 4 * at));
  context.putImageData(image, 0, 0);
  return canvas;
}

// Stops of the colour map inferno, from matplotlib.
const STOPS = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];

function color(share) {
  const at = share * (STOPS.length - 1);
  const index = Math.min(Math.floor(at), STOPS.length - 2);
  return STOPS[index].map((low, channel) => low + (at - index) * (STOPS[index + 1][channel] - low));
}

/** Mean of masks of different sizes, each scaled to its range, on the grid of the largest. */
export function mean(masks) {
  const [height, width] = masks.reduce(([h, w], { values }) => [Math.max(h, values.length), Math.max(w, values[0].length)], [0, 0]);
  const scaled = masks.map(({ values }) => {
    const flat = values.flat();
    const low = flat.reduce((a, b) => Math.min(a, b));
    const range = flat.reduce((a, b) => Math.max(a, b)) - low || 1;
    return (y, x) => (values[Math.floor((y * values.length) / height)][Math.floor((x * values[0].length) / width)] - low) / range;
  });
  const at = (y, x) => scaled.reduce((sum, value) => sum + value(y, x), 0) / scaled.length;
  return Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => at(y, x)));
}
