"""Models of other tools: each maker trains a small network, writes the file, and predicts with the tool's own means.

A maker takes a folder and yields `Made`s.
"""
import dataclasses
import pathlib
import typing

import numpy as np
import torch
from PIL import Image

import scenes

CLASSES = scenes.CLASSES


@dataclasses.dataclass
class Made:
    """A model, and what the tool says of an image.

    `predict` takes the path of an image and gives the probabilities of the classes, by the tool's own code from the
    file on: reading, resizing, normalising. `prepare` gives the network's input only. `refusal` is a word that `infer`
    may refuse the file with; `tolerance` is a factor for tools that do not resize as Pillow does.
    """
    name: str
    file: pathlib.Path
    predict: typing.Callable
    flags: list = dataclasses.field(default_factory=list)
    prepare: typing.Callable = None
    refusal: str = None
    tolerance: float = 1


def softmax(logits):
    powers = np.exp(np.asarray(logits, np.float64) - np.max(logits))
    return (powers / powers.sum()).reshape(-1)


def runtime(file):
    """A file in ONNX Runtime for Python: one input to the first output."""
    import onnxruntime
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    taken = session.get_inputs()[0]
    kind = np.float16 if "float16" in taken.type else np.float32
    return lambda values: session.run(None, {taken.name: np.asarray(values, kind)})[0]


def fit(model, prepare, logits=lambda output: output, enough=0.75, rate=1e-3):
    """Trains until the mean top-1 probability is high enough and the classes are right."""
    images, kinds = scenes.training()
    x, y = torch.stack([torch.as_tensor(prepare(image)) for image in images]), torch.as_tensor(kinds)
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    for epoch in range(40):
        model.train()
        for batch in torch.randperm(len(x)).split(48):
            loss = torch.nn.functional.cross_entropy(logits(model(x[batch])), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            chances = torch.cat([logits(model(part)) for part in x.split(48)]).softmax(1)
        sure, right = chances.amax(1).mean().item(), (chances.argmax(1) == y).float().mean().item()
        if sure > enough and right > 0.9:
            return model
    raise RuntimeError(f"not trained: mean probability {sure:.2f}, accuracy {right:.2f}")


def exported(model, example, file, name="input"):
    """By PyTorch's own exporter, with a free batch."""
    torch.onnx.export(model, (example,), file, dynamo=True, external_data=False, input_names=[name],
                      output_names=["logits"], dynamic_shapes=({0: torch.export.Dim("batch")},))
    return file


# Ultralytics


def ultralytics(folder):
    from ultralytics import YOLO
    from ultralytics.data.augment import classify_transforms
    images, kinds = scenes.training()
    for number, (image, kind) in enumerate(zip(images, kinds)):
        split = "val" if number // len(CLASSES) % 10 == 0 else "train"
        path = folder / "data" / split / CLASSES[kind] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    model = YOLO("yolo11n-cls.yaml")
    model.train(data=str(folder / "data"), imgsz=64, epochs=3, batch=48, device="cpu", workers=0, project=str(folder),
                name="run", plots=False, verbose=False, auto_augment=None, erasing=0, scale=0.3, optimizer="AdamW",
                lr0=1e-3)
    best = folder / "run" / "weights" / "best.pt"
    forms = {"fp32": {}, "fp32 dynamic": {"dynamic": True}, "fp16": {"half": True},
             "int8": {"int8": True, "data": str(folder / "data")}, "fp32 batch 4": {"batch": 4},
             "fp32 64x96": {"imgsz": (64, 96)}}
    for name, how in forms.items():
        how = {"imgsz": 64} | how
        written = pathlib.Path(YOLO(best).export(format="onnx", device="cpu", verbose=False, **how))
        file = written.rename(folder / f"{name.replace(' ', '-')}.onnx")
        # Its predictor gives one image at a time, which a fixed batch of 4 refuses: the checkpoint predicts.
        predictor = YOLO(best if "batch" in how else file, task="classify")

        def predict(path, predictor=predictor, size=how["imgsz"]):
            return predictor(str(path), imgsz=size, device="cpu", verbose=False)[0].probs.data.numpy()
        yield Made(name, file, predict, prepare=lambda path: classify_transforms(64)(Image.open(path))[None])


# timm


def timm(folder):
    from timm import create_model
    from timm.data import create_transform, resolve_data_config
    from timm.models._hub import save_config_for_hf
    settings = [
        ("test_resnet", {"input_size": (3, 96, 96)}),
        ("mobilenetv3_small_050", {"input_size": (3, 80, 112), "crop_mode": "squash"}),
        ("test_efficientnet", {"input_size": (3, 96, 96), "crop_mode": "border", "crop_pct": 1.0}),
        ("test_resnet", {"input_size": (3, 80, 112), "interpolation": "bicubic", "crop_pct": 0.9}),
    ]
    for number, (architecture, overlay) in enumerate(settings):
        here = folder / f"{number}-{architecture}"
        here.mkdir()
        torch.manual_seed(0)
        model = create_model(architecture, num_classes=len(CLASSES), pretrained_cfg_overlay=overlay)
        config = resolve_data_config({}, model=model)
        transform = create_transform(**config)
        fit(model, transform)
        save_config_for_hf(model, here / "config.json", model_config={"label_names": CLASSES})
        file = exported(model, torch.zeros(2, *config["input_size"]), here / "model.onnx")

        def prepare(path, transform=transform):
            return transform(Image.open(path).convert("RGB"))[None]

        def predict(path, model=model, prepare=prepare):
            with torch.no_grad():
                return model(prepare(path)).softmax(1)[0].numpy()
        size = "x".join(map(str, config["input_size"][1:]))
        how = f"{config['crop_mode']}, {config['interpolation']}, crop_pct {config['crop_pct']}"
        yield Made(f"{architecture} {size}, {how}", file, predict, prepare=prepare)


# Hugging Face transformers


class Logits(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        return self.model(pixel_values).logits


def transformers(folder):
    from transformers import (ConvNextImageProcessor, ConvNextImageProcessorPil, ResNetConfig,
                              ResNetForImageClassification, ViTConfig, ViTForImageClassification, ViTImageProcessor,
                              ViTImageProcessorPil)
    labels = {"id2label": dict(enumerate(CLASSES)), "label2id": {name: i for i, name in enumerate(CLASSES)}}
    vit = ViTConfig(hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128, image_size=64,
                    patch_size=8, **labels)
    resnet = ResNetConfig(embedding_size=16, hidden_sizes=[16, 32, 64], depths=[1, 1, 1], layer_type="basic", **labels)
    square, crop = {"size": {"height": 64, "width": 64}}, {"size": {"shortest_edge": 80}, "crop_pct": 0.875}
    for kind, config, processors, settings in [
            (ViTForImageClassification, vit, (ViTImageProcessorPil, ViTImageProcessor), square),
            (ResNetForImageClassification, resnet, (ConvNextImageProcessorPil, ConvNextImageProcessor), crop)]:
        torch.manual_seed(0)
        model, here = kind(config), folder / kind.__name__

        def prepare(image, processor=processors[0](**settings)):
            return processor(image, return_tensors="pt")["pixel_values"][0]
        wrapped = fit(Logits(model), prepare)
        file = here / "model.onnx"
        for processor in processors:
            model.save_pretrained(here)
            processor(**settings).save_pretrained(here)
            example = prepare(Image.new("RGB", (90, 70)))
            exported(wrapped, torch.stack([example, example]), file, "pixel_values")

            def predict(path, wrapped=wrapped, processor=processor(**settings)):
                pixels = processor(Image.open(path).convert("RGB"), return_tensors="pt")["pixel_values"]
                with torch.no_grad():
                    return wrapped(pixels).softmax(1)[0].numpy()
            # The default processors resize bytes with PyTorch, which rounds otherwise than Pillow.
            yield Made(f"{kind.__name__}, {processor.__name__}", file, predict,
                       tolerance=1 if processor.__name__.endswith("Pil") else 20)


# Keras


def keras(folder):
    import keras
    from keras import layers
    images, kinds = scenes.training()
    size = (64, 96)
    x = np.stack([np.asarray(image.resize(size[::-1], Image.NEAREST), np.float32) for image in images])
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        layers.Input((*size, 3)), layers.Rescaling(1 / 255), layers.Conv2D(16, 3, 2, activation="relu"),
        layers.Conv2D(32, 3, 2, activation="relu"), layers.Conv2D(32, 3, 2, activation="relu"),
        layers.GlobalAveragePooling2D(), layers.Dense(len(CLASSES), activation="softmax")])
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    for _ in range(30):
        model.fit(x, kinds, batch_size=48, epochs=2, verbose=0)
        if model.predict(x, verbose=0).max(1).mean() > 0.75:
            break
    file = folder / "model.onnx"
    model.export(file, format="onnx", verbose=False,
                 input_signature=[keras.InputSpec(shape=(None, *size, 3), dtype="float32")])
    flags = ["--scale", "255", "--mean", "0,0,0", "--std", "1,1,1", "--labels", labels(folder), "--fit", "squash"]
    for interpolation in ("nearest", "bilinear"):
        def prepare(path, interpolation=interpolation):
            image = keras.utils.load_img(path, target_size=size, interpolation=interpolation)
            return keras.utils.img_to_array(image)[None]

        def predict(path, prepare=prepare):
            return model.predict(prepare(path), verbose=0)[0]
        yield Made(f"load_img, {interpolation}", file, predict, [*flags, "--interpolation", interpolation], prepare)


def labels(folder):
    file = folder / "classes-of-this-model.txt"
    file.write_text("\n".join(CLASSES) + "\n")
    return file


# scikit-learn


def sklearn(folder):
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    images, kinds = scenes.training(1500)
    side, names = 24, np.array(CLASSES)[kinds]

    def flat(image, mode="RGB"):
        return np.asarray(image.convert(mode).resize((side, side), Image.BILINEAR), np.float32).reshape(-1) / 255

    common = ["--image-size", str(side), "--fit", "squash", "--labels", labels(folder)]
    color = [*common, "--channels", "rgb", "--layout", "nhwc", "--mean", "0,0,0", "--std", "1,1,1"]
    gray = [*common, "--channels", "gray", "--mean", "0", "--std", "1"]
    network = make_pipeline(StandardScaler(), MLPClassifier((48,), alpha=1, max_iter=60, random_state=0))
    network.fit([flat(image) for image in images], names)
    forest = RandomForestClassifier(60, max_depth=14, random_state=0).fit([flat(image) for image in images], names)
    gray_network = make_pipeline(StandardScaler(), MLPClassifier((48,), alpha=1, max_iter=60, random_state=0))
    gray_network.fit([flat(image, "L") for image in images], kinds)
    forms = {"MLP, no ZipMap": (network, "RGB", color, {"zipmap": False}), "MLP, ZipMap": (network, "RGB", color, {}),
             "forest, no ZipMap": (forest, "RGB", color, {"zipmap": False}),
             "MLP, gray, int64 labels": (gray_network, "L", gray, {"zipmap": False})}
    for name, (model, mode, flags, options) in forms.items():
        size = side * side * len(mode)
        onnx = to_onnx(model, initial_types=[("X", FloatTensorType([None, size]))], options={id(model): options},
                       target_opset={"": 17, "ai.onnx.ml": 3})
        file = folder / f"{name.replace(', ', '-').replace(' ', '-')}.onnx"
        file.write_bytes(onnx.SerializeToString())
        def predict(path, model=model, mode=mode):
            return model.predict_proba([flat(Image.open(path), mode)])[0]
        yield Made(name, file, predict, flags, refusal="ZipMap" if "zipmap" not in options else None)
